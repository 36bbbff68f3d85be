"""Presidio's checksum recognisers, each beside what its match is worth without a word that explains it.

``import presidio_analyzer`` brings spaCy and, where they are installed, transformers and torch: 420 MB for what are
regular expressions and check digits. Only the modules of those recognisers are loaded here, beneath stand-ins for the
packages that hold them; the stand-ins are gone when loading ends, so a later import gets the whole of Presidio.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any, Final

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.shapes import (
    EXACT,
    LIKELY,
    POSSIBLE,
    SURE,
    UNLIKELY,
    Found,
    View,
    any_of,
    only_digits,
    words,
)

_ROOT: Final = "presidio_analyzer"
_LOADING: Final = RLock()


@dataclass(frozen=True, slots=True)
class Loan:
    """One recogniser: where it is, how many digits its numbers have and the score of a match that stands alone."""

    module: str
    name: str
    digits: tuple[int, int]
    checked: float = POSSIBLE  # the check digit is right
    bare: float = UNLIKELY  # of a kind without a check digit
    context: str = ""  # further words, parted by |


LOANS: Final = (
    # a check over many characters, or a format that little else has
    Loan("country_specific.italy.it_fiscal_code_recognizer", "ItFiscalCodeRecognizer", (7, 7), EXACT),
    Loan("country_specific.spain.es_nif_recognizer", "EsNifRecognizer", (7, 8), 0.8),
    Loan("country_specific.spain.es_nie_recognizer", "EsNieRecognizer", (7, 8), 0.8),
    Loan(
        "country_specific.finland.fi_personal_identity_code_recognizer",
        "FiPersonalIdentityCodeRecognizer",
        (9, 10),
        0.95,
    ),
    Loan("country_specific.korea.kr_rrn_recognizer", "KrRrnRecognizer", (13, 13), 0.7, POSSIBLE, "주민등록번호"),
    Loan("country_specific.sweden.se_personnummer_recognizer", "SePersonnummerRecognizer", (10, 12), 0.55),
    Loan("country_specific.poland.pl_pesel_recognizer", "PlPeselRecognizer", (11, 11), 0.7),
    Loan("country_specific.south_africa.za_id_number_recognizer", "ZaIdNumberRecognizer", (13, 13), 0.7),
    Loan("country_specific.germany.de_social_security_recognizer", "DeSocialSecurityRecognizer", (11, 11), 0.8),
    Loan("country_specific.germany.de_health_insurance_recognizer", "DeHealthInsuranceRecognizer", (9, 9), POSSIBLE),
    Loan("country_specific.india.in_pan_recognizer", "InPanRecognizer", (4, 4), bare=0.6),
    Loan("country_specific.india.in_gstin_recognizer", "InGstinRecognizer", (3, 12), 0.8),
    Loan("country_specific.india.in_aadhaar_recognizer", "InAadhaarRecognizer", (12, 12), POSSIBLE, context="आधार"),
    Loan("country_specific.uk.uk_nino_recognizer", "UkNinoRecognizer", (6, 6), bare=0.75),
    Loan("country_specific.uk.uk_driving_licence_recognizer", "UkDrivingLicenceRecognizer", (6, 12), 0.8),
    Loan("country_specific.us.us_mbi_recognizer", "UsMbiRecognizer", (4, 8), bare=0.6),
    Loan("country_specific.us.us_itin_recognizer", "UsItinRecognizer", (9, 9), bare=LIKELY),
    Loan("country_specific.singapore.sg_fin_recognizer", "SgFinRecognizer", (7, 7), bare=0.55),
    Loan("country_specific.turkey.tr_national_id_recognizer", "TrNationalIdRecognizer", (11, 11), 0.6),
    Loan("country_specific.australia.au_abn_recognizer", "AuAbnRecognizer", (11, 11), 0.6),
    # one check digit or none: a number in ten passes, so a word has to explain it
    Loan("country_specific.australia.au_tfn_recognizer", "AuTfnRecognizer", (9, 9)),
    Loan("country_specific.australia.au_acn_recognizer", "AuAcnRecognizer", (9, 9)),
    Loan("country_specific.australia.au_medicare_recognizer", "AuMedicareRecognizer", (10, 10)),
    Loan("country_specific.canada.ca_sin_recognizer", "CaSinRecognizer", (9, 9), bare=POSSIBLE),
    Loan("country_specific.uk.uk_nhs_recognizer", "NhsRecognizer", (10, 10)),
    Loan("country_specific.us.us_npi_recognizer", "UsNpiRecognizer", (10, 10)),
    Loan("country_specific.us.medical_license_recognizer", "MedicalLicenseRecognizer", (7, 8), context="dea number"),
    Loan("country_specific.us.aba_routing_recognizer", "AbaRoutingRecognizer", (9, 9), context="routing number"),
    Loan("country_specific.us.us_passport_recognizer", "UsPassportRecognizer", (8, 9)),
    Loan("country_specific.germany.de_tax_id_recognizer", "DeTaxIdRecognizer", (11, 11)),
    Loan("country_specific.germany.de_id_card_recognizer", "DeIdCardRecognizer", (1, 9)),
    Loan("country_specific.germany.de_passport_recognizer", "DePassportRecognizer", (1, 9)),
    Loan("country_specific.germany.de_vat_id_recognizer", "DeVatIdRecognizer", (9, 9)),
    Loan("country_specific.italy.it_vat_code", "ItVatCodeRecognizer", (11, 11)),
    Loan("country_specific.italy.it_identity_card_recognizer", "ItIdentityCardRecognizer", (5, 9)),
    Loan("country_specific.thai.th_tnin_recognizer", "ThTninRecognizer", (13, 13)),
    Loan("country_specific.nigeria.ng_nin_recognizer", "NgNinRecognizer", (11, 11)),
    Loan("country_specific.philippines.ph_umid_recognizer", "PhUmidRecognizer", (12, 12)),
    Loan("country_specific.philippines.ph_tin_recognizer", "PhTinRecognizer", (9, 12)),
    Loan("country_specific.india.in_voter_recognizer", "InVoterRecognizer", (7, 7)),
    Loan("country_specific.sweden.se_organisationsnummer_recognizer", "SeOrganisationsnummerRecognizer", (10, 10)),
    Loan("country_specific.singapore.sg_uen_recognizer", "SgUenRecognizer", (6, 9)),
)
_COIN: Final = Loan("generic.crypto_recognizer", "CryptoRecognizer", (1, 62), EXACT)
# words that explain nothing: too common, or the names of other things
_GENERIC: Final = words(
    "us united states id auto car pass ag ug kg gmbh firma check save travel document documents reg mot invoice "
    "registration medical certificate provider tax number association"
)


_LOOSE: Final = ("PAN (Low)",)  # any ten characters of which four are digits


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A recogniser with its patterns compiled."""

    loan: Loan
    type: str
    recogniser: Any  # presidio_analyzer.PatternRecognizer, of a package that is not imported as such
    patterns: tuple[tuple[re.Pattern[str], bool], ...]  # and whether Presidio holds the shape for telling
    context: re.Pattern[str]

    def score(self, shown: str, telling: bool = True) -> float:
        """Of a match that stands alone; 0 where its check fails."""
        if self.recogniser.invalidate_result(shown):
            return 0.0
        verdict = self.recogniser.validate_result(shown)
        if verdict is None:
            return self.loan.bare if telling else min(self.loan.bare, UNLIKELY)
        return self.loan.checked if verdict else 0.0


@contextmanager
def light() -> Iterator[None]:
    """Within, Presidio's modules are imported without spaCy and torch; where Presidio is there already, as it is."""
    with _LOADING:
        already = _ROOT in sys.modules
        try:
            if not already:
                _stand_in()
            yield
        finally:
            if not already:
                for name in [name for name in sys.modules if name == _ROOT or name.startswith(f"{_ROOT}.")]:
                    del sys.modules[name]


@cache
def borrowed() -> tuple[tuple[Borrowed, ...], Borrowed]:
    """The recognisers of ``LOANS``, and that of crypto-currency addresses."""
    with light():
        return tuple(map(_load, LOANS)), _load(_COIN)


def _stand_in() -> None:
    """Packages that run no code of theirs when a module beneath them is imported."""
    spec = find_spec(_ROOT)
    if spec is None or spec.submodule_search_locations is None:
        raise BadInput("presidio-analyzer is not installed; install tacit's dependencies again")
    where = list(spec.submodule_search_locations)
    packages = {f"predefined_recognizers.{loan.module.rpartition('.')[0]}" for loan in (*LOANS, _COIN)}
    for package in sorted({"", "predefined_recognizers", "predefined_recognizers.country_specific", *packages}):
        module = ModuleType(f"{_ROOT}.{package}".rstrip("."))
        module.__path__ = ["/".join([root, *filter(None, package.split("."))]) for root in where]
        sys.modules[module.__name__] = module
    root = sys.modules[_ROOT]
    for name, members in (
        ("analysis_explanation", ("AnalysisExplanation",)),
        ("recognizer_result", ("RecognizerResult",)),
        ("entity_recognizer", ("EntityRecognizer",)),
        ("local_recognizer", ("LocalRecognizer",)),
        ("pattern", ("Pattern",)),
        ("pattern_recognizer", ("PatternRecognizer",)),
    ):
        loaded = import_module(f"{_ROOT}.{name}")
        for member in members:
            setattr(root, member, getattr(loaded, member))


def _load(loan: Loan) -> Borrowed:
    module = import_module(f"{_ROOT}.predefined_recognizers.{loan.module}")
    recogniser = getattr(module, loan.name)()
    near = [word.strip() for word in recogniser.context or () if word.lower() not in _GENERIC]
    return Borrowed(
        loan,
        recogniser.supported_entities[0],
        recogniser,
        tuple(
            (re.compile(pattern.regex, re.IGNORECASE), pattern.score >= 0.4)
            for pattern in recogniser.patterns
            if pattern.name not in _LOOSE
        ),
        any_of(*near, *filter(None, [loan.context])),
    )


# chunks of letters and digits that single separators join; each has a digit or is a short code
_CHUNK: Final = r"(?:[A-Za-z]{0,6}[0-9][A-Za-z0-9]{0,24}|[A-Z]{1,4})(?![A-Za-z0-9])"
_CANDIDATE: Final = re.compile(rf"(?<![A-Za-z0-9])(?<![0-9][.,]){_CHUNK}(?:[ ./+:-]{_CHUNK}){{0,6}}")
_COIN_LIKE: Final = re.compile(r"(?<![A-Za-z0-9])(?:bc1|[13])[a-zA-Z0-9]{25,59}(?![A-Za-z0-9])")


class NationalNumbers:
    """Runs the borrowed recognisers on runs of text that could be a number of theirs, and on nothing else."""

    def may_be_in(self, view: View) -> bool:
        """The shortest has four digits."""
        return view.digits >= 4

    def find(self, view: View) -> Iterator[Found]:
        """Each kind that a candidate could be; overlaps are settled later."""
        for match in _CANDIDATE.finditer(view.text):
            shown = match.group()
            digits = len(only_digits(shown))
            if digits >= 4 and len(shown) >= 9:
                for lender in _lenders(digits, shown.isalnum(), any(char.isalpha() for char in shown)):
                    yield from _matches(lender, view, shown, match.start())
        coin = borrowed()[1]
        for match in _COIN_LIKE.finditer(view.text):
            if coin.score(match.group()) > 0:
                yield Found(match.start(), match.end(), coin.type, EXACT)


def _matches(lender: Borrowed, view: View, shown: str, at: int) -> Iterator[Found]:
    for pattern, telling in lender.patterns:
        for match in pattern.finditer(shown):
            start, end = match.span()
            score = lender.score(match.group(), telling) if _whole(shown, start, end) else 0.0
            if score > 0 and score < SURE and view.near(at + start, at + end, lender.context):
                score = 0.95
            if score > 0:
                yield Found(at + start, at + end, lender.type, score)


def _whole(shown: str, start: int, end: int) -> bool:
    """Not a part of a longer number or word (some of Presidio's patterns take one), nor the digits of a fraction."""
    if start == end or shown[start - 1 : start].isalnum() or shown[end : end + 1].isalnum():
        return False
    return not (start > 1 and shown[start - 1] == "." and shown[start - 2].isdigit())


@cache
def _lenders(digits: int, whole: bool, letters: bool) -> tuple[Borrowed, ...]:
    """Who could recognise a candidate with so many digits; ``whole``: no separators, so none is left over."""
    return tuple(
        lender
        for lender in borrowed()[0]
        if lender.loan.digits[0] <= digits
        and (not whole or digits <= lender.loan.digits[1])
        and (letters or lender.loan.name not in _LETTERED)
    )


_LETTERED: Final = words(
    "ItFiscalCodeRecognizer EsNifRecognizer EsNieRecognizer DeSocialSecurityRecognizer DeHealthInsuranceRecognizer "
    "InPanRecognizer InGstinRecognizer UkNinoRecognizer UkDrivingLicenceRecognizer UsMbiRecognizer SgFinRecognizer "
    "MedicalLicenseRecognizer DeIdCardRecognizer DePassportRecognizer DeVatIdRecognizer ItIdentityCardRecognizer "
    "InVoterRecognizer SgUenRecognizer"
)
