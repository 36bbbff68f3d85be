"""The redaction policy: what an empty file means, and that every mistake is one clear sentence that quotes nothing."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.borrowed import borrowed
from tacit_privacy.pii.detection.detector import PATTERNS
from tacit_privacy.pii.detection.recogniser.features import TYPES
from tacit_privacy.pii.detection.shapes import Shape
from tacit_privacy.pii.policy import (
    DEFAULT_ACTIONS,
    FOUND_TYPES,
    DetectionPolicy,
    Plugin,
    RedactionPolicy,
    RestorePolicy,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    assert RedactionPolicy.load(written(tmp_path, "")) == RedactionPolicy.load(None) == RedactionPolicy()


@pytest.mark.parametrize("type", ["PERSON", "EMAIL_ADDRESS", "PERSONAL_URL", "IP_ADDRESS", "NEVER_HEARD_OF"])
def test_what_is_not_named_is_masked(type: str) -> None:
    assert RedactionPolicy().action(type) == "mask"


def test_defaults_keep_dates_and_public_addresses_and_block_secrets() -> None:
    policy = RedactionPolicy()
    assert [policy.action(type) for type in ("DATE_TIME", "AGE", "URL", "SECRET")] == ["keep", "keep", "keep", "block"]


def test_a_type_that_is_named_beats_its_default_and_default_beats_nothing_named(tmp_path: Path) -> None:
    policy = RedactionPolicy.load(
        written(tmp_path, 'default = "surrogate"\n[types]\nSECRET = "mask"\nAGE = "format"\n')
    )
    assert [policy.action(type) for type in ("SECRET", "AGE", "URL", "PERSON")] == [
        "mask",
        "format",
        "keep",
        "surrogate",
    ]


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    policy = RedactionPolicy.load(
        written(
            tmp_path,
            """
            on_error = "refuse"
            placeholder_hint = true
            [detection]
            threshold = 0.4
            thresholds = { PERSON = 0.7 }
            recogniser = "none"
            allow = ["Tacit"]
            deny = ["Projekt Lächeln"]
            [[detection.plugins]]
            kind = "spacy"
            model = "pl_core_news_sm"
            labels = { persName = "PERSON" }
            [restore]
            tools = ["send_mail"]
            [conversation]
            expires_days = 0.5
            """,
        )
    )
    assert (policy.detection.least("PERSON"), policy.detection.least("ID")) == (0.7, 0.4)
    assert policy.detection.plugins[0].labels == {"persName": "PERSON"}
    assert (policy.restore.tool("send_mail"), policy.restore.tool("run"), policy.restore.urls) == (True, False, False)
    assert policy.conversation.expires_days == 0.5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[types]\nPERSON = "hide"\n', "types.PERSON"),
        ('[types]\nperson = "mask"\n', "types.person: a type is written in capitals, such as PERSON"),
        ('[types]\nPERSN = "mask"\n', "types: no recogniser finds PERSN; did you mean PERSON?"),
        ('[types]\nIBAN = "block"\n', "types: no recogniser finds IBAN; did you mean IBAN_CODE?"),
        (
            "[detection]\nthresholds = { PERSN = 0.3 }\n",
            "detection.thresholds: no recogniser finds PERSN; did you mean",
        ),
        ('[types]\nUNHEARD = "mask"\n', "no recogniser finds UNHEARD; docs/detection.md lists what is found"),
        ('types = "mask"\n', "types: input should be a table of settings"),
        ("colour = 1\n", "colour"),
        ('defualt = "mask"\n', "unknown setting defualt; did you mean default?"),
        ("[detecton]\nthreshold = 0.5\n", "unknown setting detecton; did you mean detection?"),
        ('[detection]\ndeny = "a"\n', 'detection.deny: input should be a list, such as ["a", "b"]'),
        (
            '[[detection.plugins]]\nkind = "spacy"\nmodel = "m"\nlables = {}\n',
            "unknown setting detection.plugins.0.lables; did you mean detection.plugins.labels?",
        ),
        ("[detection]\nthreshold = 1.5\n", "detection.threshold"),
        ("[detection]\nthreshold = nan\n", "detection.threshold"),
        ("[conversation]\nexpires_days = inf\n", "conversation.expires_days"),
        ('[[detection.plugins]]\nkind = "gliner"\nmodel = "m"\n', "name its labels"),
        ('[[detection.plugins]]\nkind = "presidio"\nmodel = "module.Class"\n', "module:Class"),
        ('[[detection.plugins]]\nkind = "oracle"\nmodel = "m"\n', "detection.plugins.0.kind"),
        ("default = \n", "not TOML"),
    ],
)
def test_a_mistake_is_refused_by_its_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadInput, match=r"policy\.toml") as caught:
        RedactionPolicy.load(written(tmp_path, text))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value).strip()


PLUGIN = '[[detection.plugins]]\nkind = "spacy"\nmodel = "m"\n'


@pytest.mark.parametrize(
    "text",
    [
        '[types]\nCUSTOM = "block"\nPUBLIC_PLACE = "mask"\nTITLE = "mask"\nPL_PESEL = "format"\n',
        f'[types]\nCHAT_NAME = "block"\n{PLUGIN}labels = {{ chat = "CHAT_NAME" }}\n',
        f'[types]\nWHATEVER = "block"\n{PLUGIN}',  # without labels nobody knows what it finds
    ],
)
def test_a_type_that_something_may_find_is_accepted(tmp_path: Path, text: str) -> None:
    assert RedactionPolicy.load(written(tmp_path, text)).types


def test_a_plug_in_that_names_its_labels_vouches_for_no_other_type(tmp_path: Path) -> None:
    text = f'[types]\nCHAT_NAM = "block"\n{PLUGIN}labels = {{ chat = "CHAT_NAME" }}\n'
    with pytest.raises(BadInput, match=r"no recogniser finds CHAT_NAM; did you mean CHAT_NAME\?"):
        RedactionPolicy.load(written(tmp_path, text))


def test_no_error_quotes_the_lists(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        RedactionPolicy.load(
            written(tmp_path, '[detection]\nallow = ["Zbigniew Canary"]\ndeny = ["zbigniew canary"]\n')
        )
    assert "anary" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(BadInput) as caught:
        RedactionPolicy.load(written(tmp_path, '[detection]\ndeny = "Zbigniew Canary"\n'))
    assert "anary" not in str(caught.value)


def test_a_missing_file_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        RedactionPolicy.load(tmp_path / "nowhere.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        RedactionPolicy.load(path)


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        RedactionPolicy().default = "keep"  # type: ignore[misc]


def test_every_tool_by_a_star_and_none_by_default() -> None:
    assert RestorePolicy(tools=("*",)).tool("anything")
    assert not RestorePolicy().tool("anything")


def test_empty_words_are_refused() -> None:
    with pytest.raises(ValidationError, match="empty"):
        DetectionPolicy(deny=(" ",))
    with pytest.raises(ValidationError):
        Plugin(kind="spacy", model="")


def test_the_page_names_every_type_and_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "detection.md").read_text(encoding="utf-8")
    lenders, coin = borrowed()
    types = {finder.type for finder in PATTERNS if isinstance(finder, Shape)} | {lender.type for lender in lenders}
    types |= {"EMAIL_ADDRESS", "IBAN_CODE", "PERSONAL_URL", "URL", "DOMAIN_NAME", "CUSTOM", coin.type, *DEFAULT_ACTIONS}
    assert {type for type in types if not re.search(rf"\b{type}\b", page)} == set()
    assert types | set(TYPES) == FOUND_TYPES
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.count("|") == 5]
    told = {
        type: row.split("|")[4].strip()
        for row in rows[1:]
        for type in re.findall(r"\b[A-Z][A-Z_]+\b", row.split("|")[1])
    }
    assert {type: action for type, action in told.items() if RedactionPolicy().action(type) != action} == {}
