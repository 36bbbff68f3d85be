"""How redaction is scored: hits and misses by hand, laws of counting, leaks, and what each subject lets out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import DetectionPolicy, RedactionPolicy
from tacit_simulations.evaluation.pii import detectors, sets, subjects
from tacit_simulations.evaluation.pii.evaluate import Measure, evaluate
from tacit_simulations.evaluation.pii.leakage import LeakTally, folded, leaked, scorable
from tacit_simulations.evaluation.pii.scoring import CRITERIA, Counts, Span, SpanTally, canonical, shared
from tacit_simulations.evaluation.pii.sets import DataSet, Sample
from tacit_simulations.evaluation.pii.subjects import Annotated, Capitals, Outcome, Reference, Tacit

PATTERNS = RedactionPolicy(detection=DetectionPolicy(recogniser="none"))
TYPES = ("PERSON", "LOCATION", "ID")


class Says:
    """A detector that finds given words."""

    def __init__(self, **words: str) -> None:
        self.words = words

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        return [
            sorted(
                Entity(text.index(word), text.index(word) + len(word), type, 0.9)
                for type, word in self.words.items()
                if word in text
            )
            for text in texts
        ]


def tally(gold: list[Span], found: list[Span], marks: frozenset[str] | None = None) -> SpanTally:
    made = SpanTally()
    made.add(gold, found, marks)
    return made


# --- spans


@pytest.mark.parametrize(
    ("gold", "found", "hit"),
    [
        ((0, 10, "PERSON"), (0, 10, "PERSON"), "overlap presidio_types any_type one_to_one exact"),
        ((0, 10, "PERSON"), (0, 10, "LOCATION"), "any_type"),
        ((0, 10, "PERSON"), (0, 20, "PERSON"), "overlap presidio_types any_type one_to_one"),
        ((0, 10, "PERSON"), (0, 21, "PERSON"), "overlap presidio_types any_type"),  # and the found one is extra
        ((0, 10, "PERSON"), (0, 5, "PERSON"), "overlap presidio_types any_type one_to_one"),
        ((0, 10, "PERSON"), (0, 4, "PERSON"), ""),
        ((0, 10, "PERSON"), (10, 20, "PERSON"), ""),
        ((0, 10, "PER"), (0, 10, "PERSON"), "overlap presidio_types any_type one_to_one exact"),
        ((0, 10, "GPE"), (0, 10, "PUBLIC_PLACE"), "overlap presidio_types any_type one_to_one exact"),
        ((0, 10, "GPE"), (0, 10, "ADDRESS"), "presidio_types any_type"),
    ],
)
def test_what_hits_what(gold: Span, found: Span, hit: str) -> None:
    made = tally([gold], [found])
    assert {name for name in CRITERIA if made.counts(name).hits == 1} == set(hit.split())
    assert all(made.counts(name).hits + made.counts(name).missed == 1 for name in CRITERIA)


def test_a_mask_over_everything_is_extra() -> None:
    gold = [(0, 4, "PERSON"), (20, 24, "PERSON")]
    assert tally(gold, [(0, 24, "PERSON")]).counts("overlap") == Counts(hits=2, extra=1)


def test_an_address_may_be_found_whole_or_in_parts() -> None:
    whole, parts = [(0, 20, "ADDRESS")], [(0, 3, "ADDRESS"), (4, 12, "ADDRESS"), (13, 20, "ADDRESS")]
    assert tally(parts, whole).counts("overlap") == Counts(hits=3)
    assert tally(whole, parts).counts("overlap") == Counts(hits=1)
    assert tally(whole, parts[:1]).counts("overlap") == Counts(missed=1)
    assert tally(parts, whole).counts("one_to_one") == Counts(missed=3, extra=1)
    twice = [(0, 6, "ADDRESS"), (0, 6, "ADDRESS")]
    assert tally(whole, twice).counts("overlap") == Counts(missed=1), "what lies over each other covers once"


def test_f2_weighs_misses_four_times() -> None:
    assert Counts(hits=8, missed=2, extra=0).f() == pytest.approx(40 / 48)
    assert Counts(hits=8, missed=0, extra=2).f() == pytest.approx(40 / 42)
    assert Counts().f() is None
    assert Counts(extra=3).f() == 0.0
    assert Counts(hits=3, missed=1, extra=2).f(1.0) == pytest.approx(2 * 0.6 * 0.75 / 1.35)


def test_pairs_take_each_span_once_and_the_closest_first() -> None:
    gold = [(0, 10, "PERSON"), (11, 14, "PERSON")]
    assert tally(gold, [(0, 12, "PERSON")]).counts("one_to_one") == Counts(hits=1, missed=1)
    twice = [(0, 9, "PERSON"), (0, 10, "PERSON")]
    made = tally(gold[:1], twice)
    assert made.counts("one_to_one") == made.counts("exact") == Counts(hits=1, extra=1)


def test_extras_of_types_that_nobody_marks_count_for_nothing() -> None:
    gold, found = [(0, 4, "PERSON")], [(0, 4, "PERSON"), (5, 9, "USERNAME"), (10, 12, "PERSON")]
    assert tally(gold, found).counts("overlap") == Counts(hits=1, extra=1)
    assert tally(gold, found, frozenset({"PER", "USERNAME"})).counts("overlap") == Counts(hits=1, extra=2)
    late = tally([], found)  # the set marks people, as a later text shows
    late.add([(0, 3, "PERSON")], [], None)
    assert late.counts("overlap") == Counts(missed=1, extra=2)


def test_a_report_has_every_criterion_and_type() -> None:
    made = tally([(0, 4, "PERSON"), (5, 9, "GPE")], [(0, 4, "PERSON"), (5, 9, "PERSON")]).report()
    assert made["overlap"] == {"f2": 0.5, "precision": 0.5, "recall": 0.5, "hits": 1, "missed": 1, "extra": 1}
    assert made["any_type"]["f2"] == 1.0
    assert set(made["by_type"]) == {"PERSON", "LOCATION"}
    assert made["by_type"]["LOCATION"]["recall"] == 0.0
    assert made["by_type"]["LOCATION"]["precision"] is None


spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from(TYPES)).map(lambda t: (t[0], t[0] + t[1], t[2])),
    max_size=6,
)


@given(gold=spans, found=spans)
def test_every_span_is_counted_once(gold: list[Span], found: list[Span]) -> None:
    made = tally(gold, found, frozenset(TYPES))
    for name in CRITERIA:
        whole = made.counts(name)
        assert whole.hits + whole.missed == len(gold)
        assert sum((made.counts(name, type).extra for type in TYPES), 0) == whole.extra <= len(found)
        if name in ("one_to_one", "exact"):
            assert whole.hits + whole.extra == len(found)
    order = ("exact", "one_to_one", "overlap", "presidio_types", "any_type")
    hits = [made.counts(name).hits for name in order]
    assert hits == sorted(hits)


@given(one=spans, other=spans)
def test_texts_add_up_in_any_order(one: list[Span], other: list[Span]) -> None:
    made = SpanTally()
    made.add(one, other, None)
    made.add(other, one, None)
    turned = SpanTally()
    turned.add(other, one, None)
    turned.add(one, other, None)
    assert made.report() == turned.report()


@given(gold=spans)
def test_finding_exactly_what_is_marked_is_perfect(gold: list[Span]) -> None:
    apart = sorted(set(gold))
    made = tally(apart, apart)
    assert all(made.counts(name).f() in (1.0, None) for name in CRITERIA)


@given(st.tuples(*[st.integers(0, 30)] * 4))
def test_sharing_is_symmetric_and_at_most_one(ends: tuple[int, int, int, int]) -> None:
    one, other = (min(ends[:2]), max(ends[:2]) + 1, "A"), (min(ends[2:]), max(ends[2:]) + 1, "A")
    chars = set(range(*one[:2])), set(range(*other[:2]))
    assert shared(one, other) == pytest.approx(len(chars[0] & chars[1]) / len(chars[0] | chars[1]))
    assert shared(one, other) == shared(other, one)


def test_a_type_has_one_name() -> None:
    assert canonical("street_address") == "ADDRESS"
    assert canonical("MADE_UP") == "MADE_UP"
    assert all(canonical(canonical(name)) == canonical(name) for name in ("GPE", "PREFIX", "DOMAIN_NAME", "MRN"))


# --- leakage


def test_a_unit_leaks_in_any_case_and_spacing_and_inside_words() -> None:
    units, excluded = scorable("Ask Anna  Kowalska\nof Łódź, not <PRESIDIO_ANONYMIZED_PERSON>.", [])
    assert (units, excluded) == (frozenset(), 0)
    text = "Ask Anna  Kowalska\nof ŁÓDŹ, not <PRESIDIO_ANONYMIZED_PERSON>."
    units, excluded = scorable(
        text, ["anna kowalska", "łódź", "Łódź", "", "berlin", "<presidio_anonymized_person>", "anna kowalska of"]
    )
    assert units == {"anna kowalska", "łódź", "anna kowalska of"}
    assert excluded == 2
    assert leaked(units, "to ANNA\tKOWALSKA's house") == {"anna kowalska"}
    assert leaked({"ann"}, "Johanna") == {"ann"}
    assert leaked(units, "") == frozenset()


def test_leaks_add_up() -> None:
    made = LeakTally()
    made.add("Anna met Bob", ["anna", "bob"], "PERSON_a met Bob")
    made.add("Carl", ["carl", "dora"], "PERSON_b")
    made.add("nobody", ["erik"], "nobody")
    found = made.report()
    assert found == {"strict": 1 / 3, "any_leak": 0.5, "leaked": 1, "n": 3, "texts": 2, "excluded": 2}
    assert LeakTally().report()["strict"] is None


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)


# --- subjects


def test_the_real_redactor_is_what_is_measured() -> None:
    text = "Mail anna@example.org on Monday"
    policy = RedactionPolicy()
    (out,) = Tacit(Says(EMAIL_ADDRESS="anna@example.org", DATE_TIME="Monday"), policy).read([Sample("1", text)])
    assert {type for _, _, type in out.found} == {"EMAIL_ADDRESS", "DATE_TIME"}
    assert out.masked == ((5, 21),), "what the policy keeps is found, not masked"
    assert "Monday" in out.outbound and "anna" not in out.outbound
    assert out.restored is True and not out.refused


def test_a_refused_text_leaves_nothing_and_is_masked_whole() -> None:
    sample = Sample("1", "key sk-123456 of Anna", units=("anna",))
    (out,) = Tacit(Says(SECRET="sk-123456"), RedactionPolicy()).read([sample])
    assert (out.refused, out.outbound, out.restored) == (True, "", None)
    made = Measure()
    made.add(sample, out)
    found = made.report()
    assert (found["refused"], found["masked_share"], found["leakage"]["strict"]) == (1, 1.0, 0.0)
    assert found["round_trip"] is None


def test_a_way_back_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        text = "something else"

    monkeypatch.setattr(subjects, "restore", lambda text, conversation: Wrong)
    made = Measure()
    sample = Sample("1", "Anna")
    made.add(sample, Tacit(Says(PERSON="Anna"), RedactionPolicy()).read([sample])[0])
    assert made.report()["round_trip"] == {"texts": 1, "exact": 0}


def test_characters_masked_for_nothing() -> None:
    made = Measure()
    text = "Anna went to Rome"
    made.add(
        Sample("1", text, spans=((0, 4, "PERSON"),)), Outcome(((0, 4, "PERSON"), (13, 17, "X")), ((0, 4), (13, 17)), "")
    )
    found = made.report()
    assert found["masked_share"] == pytest.approx(8 / 17)
    assert found["over_redaction"] == pytest.approx(4 / 13)
    assert found["leakage"] is None


def test_the_crude_rule_the_ideal_and_the_published() -> None:
    sample = Sample(
        "1",
        "I asked Anna Maria Kowalska-Nowak. Then Bob, in Łódź\nIn june.",
        units=("anna maria", "maria kowalska-nowak", "bob", "june"),
        reference="I asked someone. Then Bob",
    )
    (crude,) = Capitals().read([sample])
    assert [sample.text[start:end] for start, end, _ in crude.found] == [
        "I",
        "Anna Maria Kowalska-Nowak",
        "Then Bob",
        "Łódź",
        "In",
    ]
    assert crude.outbound == "<NAME> asked <NAME>. <NAME>, in <NAME>\n<NAME> june."
    (ideal,) = Annotated().read([sample])
    assert ideal.masked == ((8, 33), (40, 43), (56, 60))
    assert not leaked(scorable(sample.text, sample.units or ())[0], ideal.outbound)
    (published,) = Reference().read([sample])
    made = Measure()
    made.add(sample, published)
    assert made.report()["leakage"]["leaked"] == 1
    assert made.report()["masked_share"] is None, "nobody knows which characters it took"


def test_thresholds_share_one_run_of_a_model() -> None:
    calls = []

    class Counting(Says):
        def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
            calls.append(list(texts))
            return super().detect(texts)

    model = detectors._Remembered(Counting(PERSON="Anna"))
    assert model.detect(["Anna"]) == model.detect(["Anna"]) == [[Entity(0, 4, "PERSON", 0.9)]]
    model.detect(["Bob"])
    assert calls == [["Anna"], ["Bob"]]


def test_a_curve_is_the_policy_at_every_threshold() -> None:
    rows = [Sample(str(n), f"card 4111 1111 1111 1111, mail a{n}@example.org", spans=()) for n in range(70)]
    (found,) = evaluate([DataSet("mine", lambda: iter(rows))], PATTERNS, curve=True)
    assert [point["threshold"] for point in found["curve"]] == list(detectors.THRESHOLDS)
    shares = [point["masked_share"] for point in found["curve"]]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0
    (other,) = detectors.at_thresholds(PATTERNS, [0.5])
    assert found["masked_share"] == found["curve"][5]["masked_share"]
    assert other[0].detection.threshold == 0.5
    assert found["round_trip"] == {"texts": 70, "exact": 70}
    (some,) = evaluate([DataSet("mine", lambda: iter(rows))], PATTERNS, limit=65)
    assert some["texts"] == 65


# --- sets


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a row"),
        ('{"id": 1, "text": 3, "spans": []}', "line 2: not a row"),
        ('{"text": "x", "spans": []}', '"id"'),
        ('{"id": 1, "text": "x"}', 'neither "spans" nor "units"'),
        ('{"id": 1, "text": "x", "units": "x"}', "no list of strings"),
        ('{"id": 1, "text": "x", "spans": {}}', '"spans" is no list'),
        ('{"id": 1, "text": "x", "spans": [[0, 1, "A"]]}', "a span is"),
        ('{"id": 1, "text": "x", "spans": [{"start": true, "end": 1, "type": "A"}]}', "whole numbers"),
        ('{"id": 1, "text": "xy", "spans": [{"start": 1, "end": 3, "type": "A"}]}', "1 to 3"),
        ('{"id": 1, "text": "xy", "spans": [{"start": 1, "end": 1, "type": "A"}]}', "1 to 1"),
        ('{"id": 1, "text": "x", "units": [' + 5000 * "7" + "]}", "line 2: a number of more than 4,300 digits"),
        ('{"id": 1, "text": "x", "units": ' + 10**5 * "[" + 10**5 * "]" + "}", "line 2: JSON that is nested too deep"),
        (
            r'{"id": 1, "text": "xy", "spans": [{"start": 0, "end": 1, "type": "\ud800"}]}',
            "line 2: half of a surrogate",
        ),
    ],
)
def test_a_row_that_is_none_is_said_by_its_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "a", "text": "ok", "spans": []}\n' + line + "\n")
    with pytest.raises(BadInput) as caught:
        list(sets.from_file(file).samples())
    assert said in str(caught.value)


def test_rows_are_read_as_they_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('\n{"id": "a", "text": "Zoë", "spans": [{"start": 0, "end": 3, "type": "PERSON"}]}\nbroken\n')
    first = next(iter(sets.from_file(file).samples()))
    assert first == Sample("a", "Zoë", ((0, 3, "PERSON"),))
    with pytest.raises(BadInput, match="cannot read"):
        list(sets.from_file(tmp_path / "nowhere").samples())
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="UTF-8"):
        list(sets.from_file(file).samples())


def test_public_sets_are_found_where_they_lie(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none of presidio_synth"):
        sets.public_sets(tmp_path)
    with pytest.raises(BadInput, match="no folder"):
        sets.public_sets(tmp_path / "nowhere")
    (tmp_path / "clinc150").mkdir()
    (tmp_path / "clinc150" / "data_full.json").write_text(json.dumps({"test": [["call anna", "call"]], "train": []}))
    (tmp_path / "wnut17").mkdir()
    (tmp_path / "wnut17" / "emerging.dev.conll").write_text("Anna\tB-person\nsings\tO\n\nHi\tO\n")
    (tmp_path / "pupa").mkdir()
    (tmp_path / "pupa" / "PUPA_TNB.csv").write_text(
        "conversation_hash,user_query,pii_units,redacted_query\nh,Ask Anna,anna||bob,Ask [NAME]\n"
    )
    found = {each.name: list(each.samples()) for each in sets.public_sets(tmp_path)}
    assert list(found) == ["wnut17", "pupa_tnb", "clinc150"]
    assert found["wnut17"][0].spans == ((0, 4, "PERSON"),)
    assert found["pupa_tnb"] == [Sample("h", "Ask Anna", units=("anna", "bob"), reference="Ask [NAME]")]
    assert found["clinc150"] == [Sample("0", "call anna")]


def test_no_measured_template_is_one_that_was_trained_on(tmp_path: Path) -> None:
    rows = [
        {
            "full_text": f"{word} Anna",
            "masked": f"{word} {{{{PERSON}}}}",
            "spans": [{"entity_type": "PERSON", "start_position": len(word) + 1, "end_position": len(word) + 5}],
        }
        for word in ("call", "ask", "see", "tell", "find", "meet", "greet", "phone", "write", "thank")
    ]
    for name in ("generated_large", "synth_dataset_v2", "generated_small"):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    from tacit_simulations.pretraining.recogniser import texts

    measured = {sample.text for sample in sets.presidio_synth(tmp_path)}
    trained = {example.text for example in texts.presidio(tmp_path, held=False)}
    assert measured and trained and not measured & trained
    assert len(measured | trained) == len(rows)
