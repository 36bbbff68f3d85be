"""Numbers that stand for a person: cards, accounts, records, documents, vehicles, devices."""

import re
from collections.abc import Iterator
from typing import Final

from tacit_privacy.pii.detection.shapes import (
    EXACT,
    LIKELY,
    POSSIBLE,
    SURE,
    UNLIKELY,
    Finder,
    Found,
    Shape,
    View,
    any_of,
    luhn,
    only_digits,
    words,
)

_CARD_WORDS: Final = any_of(
    "card|credit|debit|visa|mastercard|amex|american express|discover|jcb|diners|maestro|cc|credit card|card number",
    "karte|kreditkarte|tarjeta|carte|carta|cartão|kaart|karta|kort|карта|карты|カード|信用卡|银行卡|카드",
)


def _card_score(view: View, match: re.Match[str]) -> float:
    """A check digit and an issuer's prefix prove a card; a word beside it explains a number that fails either."""
    digits = only_digits(match.group())
    if len(set(digits)) == 1:
        return 0.0
    known = digits[0] in "3456" or digits[:4] in {"2131", "1800"} or "2221" <= digits[:4] <= "2720"
    if known and luhn(digits) and len(digits) >= 13:
        return EXACT if len(digits) in {15, 16} or (len(digits) == 14 and digits[0] == "3") else LIKELY
    return UNLIKELY


def _grouped_card_score(view: View, match: re.Match[str]) -> float:
    """In groups that no card is printed in, a card needs its check digit as well as a word beside it."""
    digits = only_digits(match.group())
    right = 14 <= len(digits) <= 16 and digits[0] in "3456" and len(set(digits)) > 1 and luhn(digits)
    return UNLIKELY if right else 0.0


_IBAN_LENGTHS: Final = {
    pair[:2]: int(pair[2:])
    for pair in words(
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
        "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
        "LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 "
        "SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
    )
}
_IBAN_HEAD: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ .-]?[0-9]{2}(?=[ .-]?[A-Za-z0-9])")
_IBAN_WORDS: Final = any_of("iban|bank|account|konto|cuenta|compte|conto|transfer|swift|bic|счет|رقم الحساب")


class Iban:
    """International bank account numbers: the country says how long, modulo 97 whether it is one."""

    def may_be_in(self, view: View) -> bool:
        """Two check digits, and an account that is mostly digits."""
        return view.digits >= 6

    def find(self, view: View) -> Iterator[Found]:
        """Each, cut to its country's length."""
        text = view.text
        for head in _IBAN_HEAD.finditer(text):
            shown, end = head.group()[:2].upper() + head.group()[-2:], head.end()
            length = _IBAN_LENGTHS.get(shown[:2], 0)
            while len(shown) < length and end < len(text):
                step = 1 if text[end] in " .-" and end + 1 < len(text) else 0
                char = text[end + step]
                if not (char.isascii() and char.isalnum()):
                    break
                shown, end = shown + char.upper(), end + step + 1
            if not length or len(shown) < length or (end < len(text) and text[end].isalnum()):
                continue
            value = int("".join(str(int(char, 36)) for char in shown[4:] + shown[:4]))
            if value % 97 == 1:
                yield Found(head.start(), end, "IBAN_CODE", EXACT)
            elif view.near(head.start(), end, _IBAN_WORDS):
                yield Found(head.start(), end, "IBAN_CODE", SURE)


def _ssn_score(view: View, match: re.Match[str]) -> float:
    """Areas 000 and 666 and zero groups were never issued; from 900 on they are taxpayers' numbers."""
    digits = only_digits(match.group())
    if digits[3:5] == "00" or digits[5:] == "0000" or digits[:3] == "000" or len(set(digits)) == 1:
        return UNLIKELY
    if len(match.group()) == 9:
        return UNLIKELY
    if digits[0] == "9":
        return 0.7 if match.group()[3] == "-" else 0.52
    return 0.85 if match.group()[3] == "-" else 0.55


def _vin_score(view: View, match: re.Match[str]) -> float:
    """The ninth character of a North American vehicle's number checks the others (49 CFR 565.15)."""
    shown = match.group().upper()
    if not any(char.isdigit() for char in shown) or shown.isdigit():
        return UNLIKELY if shown.isdigit() else 0.0
    values = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True))
    total = sum(
        (int(char) if char.isdigit() else values[char]) * weight
        for char, weight in zip(shown, (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2), strict=True)
    )
    return 0.85 if shown[8] == "0123456789X"[total % 11] else UNLIKELY


def _imei_score(view: View, match: re.Match[str]) -> float:
    return 0.3 if luhn(only_digits(match.group())) else 0.0


# what stands between a label and its value: quotes and marks, "no." or "number", a sign or a verb
_LINK: Final = (
    r"[\"'*_)\]]{0,3}(?P<link>\s{0,3}(?:[(]?(?:no|nr|num|numbers?|nummer|numéro|numero|número|номер|id|ids|code|#|№"
    r"|n°|nº)"
    r"[.):]{0,2}\s{0,2}){0,2}[\"'*_)\]]{0,4}\s{0,2}(?:[:=#]|\bis\b|\bare\b|\bwas\b|\bist\b|\bes\b|\best\b|\bè\b"
    r"|\bto\b)?)"
    r"[\s\"'*#:]{0,4}"
)
_VALUE: Final = (
    r"(?P<v>(?=[A-Za-z/_.-]{0,12}[0-9])[A-Za-z0-9](?:[A-Za-z0-9]|[-_/.](?=[A-Za-z0-9])){2,39}"
    r"(?:(?<=[0-9]) [0-9]{3,6}(?![A-Za-z0-9/.,:])){0,5})(?![\w%€£$])"
)
_SIGN: Final = re.compile(r"[\w#№:=]")
_NO_ID: Final = re.compile(
    r"(?:19|20)[0-9]{2}|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]+(?:\.[0-9]{1,2})|[0-9]{1,2}(?:am|pm|th|st|nd|rd)"
    r"|[0-9]+(?:k|m|mg|ml|kg|g|km|cm|mm|gb|mb|px|min|mins|hrs?|days?|x)",
    re.IGNORECASE,
)


def _labelled_score(view: View, match: re.Match[str]) -> float:
    """A value needs three digits, and either a link to its label or a length that no count of things has."""
    value = match["v"]
    digits = sum(char.isdigit() for char in value)
    if digits < 3 or len(value) < 4 or _NO_ID.fullmatch(value):
        return 0.0
    if _SIGN.search(match["link"]) or digits >= 7:
        return SURE
    return LIKELY if digits >= 5 and not value.isdigit() else UNLIKELY


def labelled(type: str, labels: str, value: str = _VALUE, digits: int = 3) -> Shape:
    """A pattern for ``value`` after one of ``labels``."""
    hints = tuple({re.split(r"[^\w ']", label.lower())[0] for label in labels.split("|")})
    pattern = re.compile(rf"(?<![^\W_])(?:{labels}){_LINK}{value}", re.IGNORECASE)
    return Shape(type, pattern, digits=digits, words=hints, check=_labelled_score)


_OWNED: Final = (
    "accounts?|acct|a/c|customer|client|member|membership|subscriber|policy|claim|case|ticket|order|invoice|booking|"
    "reservation|confirmation|reference|ref|tracking|shipment|transaction|txn|employee|staff|badge|student|pupil|"
    "enrollment|enrolment|contract|serial|loyalty|frequent flyer|registration|application|voter|docket|permit|user"
    "|device|"
    "session|tax|vat|ein|tin|uid|national|identity|identification|personal|id card|card id|file|loan|meter"
    "|prescription|"
    "receipt|purchase|rma|complaint|incident|report|certificate|licen[cs]e|"
    "kundennummer|kundennr|kontonummer|bestellnummer|auftragsnummer|rechnungsnummer|vertragsnummer|versicherungsnummer|"
    "versichertennummer|aktenzeichen|matrikelnummer|personalnummer|mitgliedsnummer|ausweisnummer|steuernummer|"
    "cliente?|compte|commande|dossier|facture|contrat|abonné|étudiant|cuenta|pedido|póliza|expediente|factura"
    "|matrícula|"
    "conto|ordine|pratica|fattura|conta|fatura|klantnummer|bestelnummer|rekeningnummer|zamówienia|klienta|konta|umowy|"
    "заказа|счета|счёта|договора|клиента|订单号|订单|账号|账户|客户编号|学号|工号|注文番号|口座番号|会員番号|주문번호|계좌번호|학번"
)
_HEALTH: Final = (
    "medical records?|medical record numbers?|mrns?|patient|patient id|patient number|chart|hospital number"
    "|health record|"
    "medical number|patientennummer|fallnummer|dossier médical|historia clínica|cartella clinica|病历号|病案号"
)
_RECORD_WORDS: Final = any_of(
    "medical record|medical records|medical record number|medical record numbers|mrn|mrns|patient"
)
_ALNUM: Final = r"(?P<v>(?=[A-Za-z]{0,3}[0-9])[A-Za-z0-9](?:[A-Za-z0-9]|[- ](?=[0-9])){4,19})(?![\w%])"

NUMBERS: Final[tuple[Finder, ...]] = (
    Shape(
        "CREDIT_CARD",
        re.compile(
            r"(?<![\w.-])(?:[0-9]{4}([ -]{1,2})[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}"
            r"|[0-9]{4}[ -]{1,2}[0-9]{6}[ -]{1,2}[0-9]{4,5}"
            r"|[0-9]{12,19})(?![\w-])(?!\.[0-9])"
        ),
        digits=12,
        check=_card_score,
        context=_CARD_WORDS,
        beside=0.95,
    ),
    Shape(
        "CREDIT_CARD",
        re.compile(r"(?<![\w.-])(?:[0-9]{1,6}+[ .-]){2,18}[0-9]{1,6}+(?![\w-])(?!\.[0-9])"),
        digits=14,
        check=_grouped_card_score,
        context=_CARD_WORDS,
        beside=0.95,
    ),
    Iban(),
    Shape(
        "US_SSN",
        re.compile(r"(?<![\w.-])(?:[0-9]{3}([- .])[0-9]{2}\1[0-9]{4}|[0-9]{9})(?![\w-])(?!\.[0-9])"),
        digits=9,
        check=_ssn_score,
        context=any_of(
            "ssn|ssns|social security|social sec|social number|soc number|social num|socialnum|ssid|social insurance",
            "social",
        ),
        beside=0.95,
    ),
    labelled(
        "US_DRIVER_LICENSE", r"driver'?s?'? ?licen[cs]e|driving licen[cs]e|drivers? permit|dl|cdl|führerschein", _ALNUM
    ),
    labelled(
        "PASSPORT", "passport|reisepass|passeport|pasaporte|passaporto|paszport|паспорт|护照号?|パスポート", _ALNUM, 5
    ),
    labelled(
        "US_BANK_NUMBER",
        "bank account|checking account|savings account|routing|aba|sort code|checking|savings",
        digits=6,
    ),
    labelled("MEDICAL_RECORD", _HEALTH),
    Shape("MEDICAL_RECORD", re.compile(r"(?<![\w-])(?:MRN|MED|PAT)[-:#]? ?[0-9]{4,12}(?![\w-])"), 0.85, digits=4),
    Shape(
        "MEDICAL_RECORD",
        re.compile(r"(?<![\w-])[A-Z]{1,3}-?[0-9]{5,10}(?![\w-])"),
        UNLIKELY,
        digits=5,
        context=_RECORD_WORDS,
    ),
    labelled("ID", _OWNED),
    Shape(
        "ID",
        re.compile(r"(?<![\w-])[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?![\w-])"),
        POSSIBLE,
        needs="-",
        digits=1,
        context=any_of(
            "user|customer|client|account|device|session|patient|employee|member|owner|tenant|subscription|order"
        ),
    ),
    Shape(
        "ID",
        re.compile(r"(?<![\w-])(?:[0-9]{15}|[0-9]{2}-[0-9]{6}-[0-9]{6}-[0-9])(?![\w-])"),
        digits=15,
        check=_imei_score,
        context=any_of("imei|device|phone|handset"),
    ),
    Shape(
        "VIN",
        re.compile(r"(?<![A-Za-z0-9-])[A-HJ-NPR-Z0-9]{17}(?![A-Za-z0-9-])"),
        digits=3,
        check=_vin_score,
        context=any_of("vin|vehicle|chassis|car|truck|fahrgestellnummer"),
    ),
    Shape(
        "LICENSE_PLATE",
        re.compile(
            r"(?<![^\W_])(?:licen[cs]e plate|number plate|plate|plates|vehicle registration|registration plate|vrm"
            r"|vrn|reg"
            r"|kennzeichen|matrícula|plaque|immatriculation|targa|kenteken|rejestracyjny|номерной знак"
            r"|车牌号?)(?: (?:no|number"
            r"|num|nr))?[.:#]{0,2}(?: (?:is|ist|es|est"
            r"|was))?[\s:\"'*#]{0,3}(?P<v>(?=[A-ZÄÖÜ -]{0,7}[0-9])[A-ZÄÖÜ0-9]{1,4}"
            r"(?:[ -]?[A-Z0-9]{1,4}){1,3})(?![\w-])"
        ),
        0.85,
        digits=1,
    ),
    Shape("CRYPTO", re.compile(r"(?<![A-Za-z0-9])0x[0-9a-fA-F]{40}(?![A-Za-z0-9])"), 0.9, words=("0x",)),
)
