"""Made-up values and other digits: plausible, consistent, nobody's, and always restored."""

import re
from collections.abc import Sequence

import pytest

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms import Conversation, fictions, fpe
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import StreamRestorer, restore

KEY = bytes(range(32))
AES_128 = "2B7E151628AED2A6ABF7158809CF4F3C"
AES_192 = AES_128 + "EF4359D8D580AA4F"
AES_256 = AES_192 + "7F036D6F04FC6A94"
TEN, MIXED = "0123456789", "0123456789abcdefghi"
SHORT, LONG = "39383736353433323130", "3737373770717273373737"
NUMERALS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Words:
    """Finds the words it was given, each as its type."""

    def __init__(self, **words: str) -> None:
        self.words = words

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        found = []
        for text in texts:
            each = [
                Entity(match.start(), match.end(), type, 0.9)
                for type, words in self.words.items()
                for word in words.split("|")
                for match in re.finditer(re.escape(word), text)
            ]
            longest = sorted(each, key=lambda e: (e.start, -e.end))
            kept: list[Entity] = []
            for entity in longest:
                if not kept or kept[-1].end <= entity.start:
                    kept.append(entity)
            found.append(kept)
        return found


def redactor(action: str = "surrogate", **words: str) -> Redactor:
    return Redactor(Words(**words), RedactionPolicy.model_validate({"default": action}))


@pytest.mark.parametrize(
    ("key", "radix", "tweak", "plain", "cipher"),
    [  # NIST's examples for SP 800-38G, FF1, samples 1 to 9
        (AES_128, 10, "", TEN, "2433477484"),
        (AES_128, 10, SHORT, TEN, "6124200773"),
        (AES_128, 36, LONG, MIXED, "a9tv40mll9kdu509eum"),
        (AES_192, 10, "", TEN, "2830668132"),
        (AES_192, 10, SHORT, TEN, "2496655549"),
        (AES_192, 36, LONG, MIXED, "xbj3kv35jrawxv32ysr"),
        (AES_256, 10, "", TEN, "6657667009"),
        (AES_256, 10, SHORT, TEN, "1001623463"),
        (AES_256, 36, LONG, MIXED, "xs8a0azh2avyalyzuwd"),
    ],
)
def test_ff1_gives_what_nist_publishes(key: str, radix: int, tweak: str, plain: str, cipher: str) -> None:
    numerals = [int(character, 36) for character in plain]
    encrypted = fpe.ff1_encrypt(bytes.fromhex(key), bytes.fromhex(tweak), numerals, radix)
    assert "".join(NUMERALS[numeral] for numeral in encrypted) == cipher
    assert fpe.ff1_decrypt(bytes.fromhex(key), bytes.fromhex(tweak), encrypted, radix) == numerals


@pytest.mark.parametrize("length", [6, 7, 31, 32, 33, 100, 1001])
def test_ff1_is_undone_at_any_length(length: int) -> None:
    numerals = [(7 * place + length) % 10 for place in range(length)]
    encrypted = fpe.ff1_encrypt(KEY, b"t", numerals)
    assert encrypted != numerals and all(0 <= numeral < 10 for numeral in encrypted)
    assert fpe.ff1_decrypt(KEY, b"t", encrypted) == numerals


@pytest.mark.parametrize(("numerals", "radix"), [([1] * 5, 10), ([11] * 9, 10), ([1] * 9, 1), ([0] * 5000, 10)])
def test_ff1_refuses_what_it_cannot_hide(numerals: list[int], radix: int) -> None:
    with pytest.raises(BadInput):
        fpe.ff1_encrypt(KEY, b"", numerals, radix)


@pytest.mark.parametrize("card", ["4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005"])
def test_a_card_keeps_its_shape_and_checksum(card: str) -> None:
    made = fpe.encrypted_digits(KEY, b"", card)
    assert made is not None and made != card
    assert re.sub(r"\d", "0", made) == re.sub(r"\d", "0", card)
    assert fpe.luhn_holds(re.sub(r"\D", "", made))
    assert fpe.decrypted_digits(KEY, b"", made) == card


@pytest.mark.parametrize(
    "iban", ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR1420041010050500013M02606"]
)
def test_an_iban_keeps_its_country_and_checksum(iban: str) -> None:
    made = fpe.encrypted_digits(KEY, b"", iban)
    assert made is not None and made[:2] == iban[:2] and made != iban
    assert fpe.iban_holds(made.replace(" ", ""))
    assert fpe.decrypted_digits(KEY, b"", made) == iban


def test_few_digits_are_not_encrypted() -> None:
    assert fpe.encrypted_digits(KEY, b"", "12345") is None
    assert fpe.encrypted_digits(KEY, b"", "none") is None


def test_format_keeps_separators_in_the_text_and_is_restored() -> None:
    conversation = Conversation("c", KEY)
    text = "Card 4111 1111 1111 1111, phone +48 600 123 456, id 12."
    made = redactor("format", CREDIT_CARD="4111 1111 1111 1111", PHONE_NUMBER="+48 600 123 456", ID="12")
    redaction = made.redact(text, conversation)
    assert re.fullmatch(r"Card (\d{4} ){3}\d{4}, phone \+\d\d \d{3} \d{3} \d{3}, id ID_\w+\.", redaction.text)
    assert "4111" not in redaction.text and "600 123" not in redaction.text
    assert restore(redaction.text, conversation).text == text
    card = redaction.text[5:24]
    assert restore(f"charged {card.replace(' ', '')}", conversation).text == "charged 4111111111111111"


def test_format_never_lets_letters_of_a_name_stay() -> None:
    conversation = Conversation("c", KEY)
    redaction = redactor("format", ID="Anna 12345678").redact("x Anna 12345678 y", conversation)
    assert re.fullmatch(r"x ID_\w+ y", redaction.text)


def test_a_person_keeps_one_made_up_name_in_all_its_forms() -> None:
    conversation = Conversation("c", KEY)
    text = "Anna Kowalska, ANNA KOWALSKA, Anna, Kowalska's, A. Kowalska and Adam Nowak."
    words = "Anna Kowalska|ANNA KOWALSKA|Anna|Kowalska|A. Kowalska|Adam Nowak"
    redaction = redactor(PERSON=words).redact(text, conversation)
    full, capitals, first, last, short = re.match(r"(.*?), (.*?), (.*?), (.*?)'s, (.*?) and", redaction.text).groups()  # type: ignore[union-attr]
    assert full.split() == [first, last] and capitals == full.upper() and short == f"{first[0]}. {last}"
    assert first in fictions.FIRST_NAMES and last in fictions.LAST_NAMES
    assert not re.search("anna|kowalska|adam|nowak", redaction.text, re.IGNORECASE)
    assert restore(redaction.text, conversation).text == text
    assert redactor(PERSON=words).redact(text, conversation).text == redaction.text


def test_an_answer_may_use_the_first_name_alone() -> None:
    conversation = Conversation("c", KEY)
    made = redactor(PERSON="Anna Kowalska").redact("I am Anna Kowalska", conversation).text.removeprefix("I am ")
    first, last = made.split()
    assert restore(f"Dear {first}, or Ms {last}", conversation).text == "Dear Anna, or Ms Kowalska"
    stream = StreamRestorer(conversation)
    answer = f"Dear {first}. {first}x {made}"
    assert "".join(map(stream.feed, answer)) + stream.close() == f"Dear Anna. {first}x Anna Kowalska"


@pytest.mark.parametrize(
    ("type", "value", "form"),
    [
        ("EMAIL_ADDRESS", "anna@kowalska.pl", r"[a-z]+\.[a-z]+\d\d@example\.org"),
        ("PHONE_NUMBER", "+48 600 123 456", r"[2-8]\d\d-555-01\d\d"),
        ("IP_ADDRESS", "10.1.2.3", r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+"),
        ("MAC_ADDRESS", "aa:bb:cc:dd:ee:ff", r"00:00:5E:00:53:[0-9A-F]{2}"),
        ("LOCATION", "Warszawa", r"[A-Za-z-]+"),
        ("ADDRESS", "ul. Długa 5", r"\d+ \w+ (Lane|Street|Road|Close|Way)"),
        ("USERNAME", "annak", r"[a-z]+\d{3}"),
        ("PERSONAL_URL", "http://anna.pl", r"https://example\.org/[a-z]+\d{3}"),
        ("ORGANIZATION", "Bracia Kowalscy GmbH", r"\w+ GmbH"),
        ("CREDIT_CARD", "4111 1111 1111 1111", r"(\d{4} ){3}\d{4}"),
        ("NRP", "Polish", r"NRP_\w+"),
    ],
)
def test_each_type_has_its_kind_of_made_up_value(type: str, value: str, form: str) -> None:
    conversation = Conversation("c", KEY)
    text = f"<{value}> is it"
    redaction = redactor("surrogate", **{type: value})
    redaction_text = (
        Redactor(Words(**{type: value}), RedactionPolicy(types={type: "surrogate"})).redact(text, conversation).text
    )
    assert re.fullmatch(f"<{form}> is it", redaction_text)
    assert redaction is not None
    assert restore(redaction_text, conversation).text == text
    assert restore(f"So: {redaction_text[1:-7]}.", conversation).text == f"So: {value}."


def test_a_made_up_value_is_never_one_that_the_text_or_the_conversation_knows() -> None:
    everybody = " ".join((*fictions.FIRST_NAMES, *fictions.LAST_NAMES))
    conversation = Conversation("c", KEY)
    text = f"{everybody}. Anna Kowalska"
    redaction = redactor(PERSON="Anna Kowalska").redact(text, conversation)
    assert re.search(r"PERSON_\w+$", redaction.text)  # nothing was left to make up
    assert restore(redaction.text, conversation).text == text


def test_words_of_earlier_turns_are_not_made_up_later() -> None:
    conversation = Conversation("c", KEY)
    made = redactor(PERSON="Anna Kowalska")
    earlier = [" ".join(fictions.FIRST_NAMES[:-1]), " ".join(fictions.LAST_NAMES[:-1])]
    before = [made.redact(text, conversation).text for text in earlier]
    assert made.redact("Anna Kowalska", conversation).text == f"{fictions.FIRST_NAMES[-1]} {fictions.LAST_NAMES[-1]}"
    assert [restore(text, conversation).text for text in before] == earlier


def test_a_made_up_name_that_somebody_then_bears_is_escaped_and_replaced() -> None:
    conversation = Conversation("c", KEY)
    fiction = redactor(PERSON="Anna Kowalska").redact("Anna Kowalska", conversation).text
    typed = redactor(PERSON="Anna Kowalska").redact(f"I like {fiction}.", conversation)
    assert re.fullmatch(r"I like ESCAPED_\w+\.", typed.text)
    assert restore(typed.text, conversation).text == f"I like {fiction}."
    real = redactor(PERSON=f"{fiction}|Anna Kowalska").redact(f"{fiction} met Anna Kowalska", conversation)
    assert fiction not in real.text
    assert restore(real.text, conversation).text == f"{fiction} met Anna Kowalska"


def test_titles_stay_and_a_single_surname_gets_a_surname() -> None:
    conversation = Conversation("c", KEY)
    redaction = redactor(PERSON="Mr Smith").redact("Mr Smith", conversation)
    title, name = redaction.text.split()
    assert title == "Mr" and name in fictions.LAST_NAMES
