"""Where and when: street addresses, postal codes, coordinates, dates, ages."""

import re
from typing import Final

from tacit_privacy.pii.detection.shapes import LIKELY, POSSIBLE, SURE, UNLIKELY, Finder, Shape, View, any_of, words

_NAME: Final = r"[^\W\d_][\w'.-]{0,30}"
_AFTER_NAME: Final = (  # English kinds of street, which follow the name
    r"street|st|avenue|ave|av|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl|square|sq|terrace|ter|way"
    r"|parkway"
    r"|pkwy|circle|cir|highway|hwy|trail|trl|crescent|cres|close|grove|gardens|row|alley|loop|plaza|mews|heights"
    r"|ridge|quay"
    r"|freeway|expressway|turnpike|crossing|gate|green|hill|mount|park|rise|vale|view|walk|wharf|point|bend|cove|forks?"
)
_BEFORE_NAME: Final = (  # kinds of street that stand before the name
    r"rue|avenue|av\.|boulevard|bd|place|chemin|impasse|allée|quai|route|via|viale|corso|piazza|piazzale|largo"
    r"|vicolo|calle"
    r"|c/|avenida|avda\.?|paseo|plaza|camino|carrera|rua|travessa|praça|alameda|ul\.|ulica|al\.|aleja|pl\.|os\.|ulice|"
    r"strada|str\.|calea|bulevardul|улица|ул\.|проспект|пр\.|переулок|бульвар|пл\.|οδός"
)
_ENDING: Final = (  # kinds of street written as one word with the name
    r"straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|straat|laan|plein|gracht|kade|dreef|singel|gatan"
    r"|vägen|gränd"
    r"|vej|gade|alléen|gata|veien|vegen|svingen|katu|tie|polku|kuja|utca|út|tér|körút|gatvė|iela|tänav|sokak|caddesi"
)
_UNIT: Final = (
    r"(?:,?\s{1,3}(?:apt|apartment|suite|ste|unit|flat|fl|floor|room|rm|building|bldg|#|no|nr|interno|piso|appt|m)\b\.?"
    r"\s?#?[\w-]{1,6}(?![\w@]))"
)
_NUMBER: Final = r"[0-9]{1,6}(?:[/-][0-9]{1,4})?[A-Za-z]?"
_ADDRESS_WORDS: Final = any_of(
    "address|addresses|lives at|live at|living at|located at|location|resides|residing|residence|ship to|shipped to",
    "send to",
    "deliver to|mail to|return to|moved to|new address|corner of|adresse",
    "anschrift|wohnhaft|wohnt|dirección|domicilio|vive en|indirizzo|abita|endereço|mora|adres|mieszka|zamieszkały",
    "адрес|地址|住所|주소",
)
_GAP: Final = r"\s{1,3}"
_ENGLISH: Final = re.compile(
    rf"(?<![\w.,/$€£#-])(?P<v>{_NUMBER},?{_GAP}(?:[0-9]{{1,5}}{_GAP})?"
    rf"(?:(?:[NSEW]|North|South|East|West)\.?{_GAP})?"
    rf"(?:[0-9]{{1,4}}(?:st|nd|rd|th)|(?:{_NAME}{_GAP}){{0,3}}?{_NAME}){_GAP}(?:{_AFTER_NAME})\b(?!['-])\.?"
    rf"(?:\s[NSEW]{{1,2}}\b)?{_UNIT}?)",
    re.IGNORECASE,
)
_CONTINENTAL: Final = re.compile(
    rf"(?<![\w/-])(?P<v>(?:{_NUMBER},?{_GAP})?(?<!\w)(?:{_BEFORE_NAME}){_GAP}(?:{_NAME}{_GAP}){{0,5}}?{_NAME},?{_GAP}"
    rf"{_NUMBER}(?!\w){_UNIT}?"
    rf"|{_NUMBER},?{_GAP}(?:{_BEFORE_NAME}){_GAP}(?:(?:de|du|des|la|le|les|l'|d'|di|del|della|da|do)\s?){{0,3}}{_NAME}"
    rf"(?:[ -][A-ZÀ-Þ][\w'-]{{0,30}}){{0,3}})(?!\w)",
    re.IGNORECASE,
)
_JOINED: Final = re.compile(
    rf"(?<![\w-])(?P<v>(?:[A-ZÀ-Þ][\w.-]{{1,20}}\s){{0,2}}[^\W\d_][\w.-]{{0,30}}?\s?(?i:{_ENDING})\s{{1,2}}{_NUMBER}(?![\w%]))(?!\s(?:Uhr|Euro|km))",
)
_BOX: Final = re.compile(
    r"(?<!\w)(?:p\.? ?o\.? ?box|postfach|apartado|bp|postbus|boîte postale|skrytka pocztowa)[ :#]{1,3}[0-9]{1,6}(?!\w)"
    r"|(?<!\w)(?:psc|unit|cmr|uss|usns|usnv|usnr)\s(?:[0-9]{1,6}|[A-Z]\w{1,20})[,\s]{1,3}(?:box\s[0-9]{1,6}[,\s]{1,3})?"
    r"(?:apo|fpo|dpo)\s(?:aa|ae|ap)(?:\s[0-9]{5})?(?!\w)",
    re.IGNORECASE,
)
_ROOM: Final = re.compile(r"(?<![\w-])(?:apt|apartment|suite|ste)\.?\s#?[0-9]{1,5}[A-Z]?(?![\w%])", re.IGNORECASE)


_PARTICLES: Final = words(
    "de du des la le les di del della da do dos van von der den of the and und et och ter ten op el los las"
)
_NO_NUMBER: Final = re.compile(r"\S+\s(?:and|the|of|in|to|on)\s")  # "322 and the Atlantic City Expressway"
_OF_LAW: Final = re.compile(r"(?:district|supreme|high|circuit|appeals?|federal|county|crown) court", re.IGNORECASE)


def _named(shown: str) -> bool | None:
    """Whether every word but particles has a capital; None where none has."""
    names = [word for word in re.findall(r"(?<![\w'])[^\W\d_]{2,}", shown) if word.lower() not in _PARTICLES]
    capitals = [word for word in names if word[0].isupper()]
    return None if not capitals else len(capitals) == len(names)


def _street_score(view: View, match: re.Match[str]) -> float:
    """Capitals tell a street from "5 minutes to drive"; without any, a word such as "address" has to."""
    shown = match["v"]
    named = _named(shown)
    if named is None:
        return 0.3
    return 0.85 if named and not _OF_LAW.search(shown) and not _NO_NUMBER.match(shown) else 0.0


def _continental_score(view: View, match: re.Match[str]) -> float:
    """Some kinds of street are English words: "via 12 servers" is no address, "Via Roma 12" is."""
    shown = match["v"].lstrip("0123456789,/- \t\n")
    kind, _, name = shown.partition(" ")
    if kind in {"via", "place", "route", "largo", "os."} or _TECHNICAL.search(name):
        return 0.0
    named = _named(name)
    if named is None:
        return 0.3 if kind[:1].islower() else 0.0
    return 0.6 if named else 0.0


def _joined_score(view: View, match: re.Match[str]) -> float:
    """A street's name is a noun, with a capital; "during 12" is none."""
    return 0.7 if match["v"][:1].isupper() else 0.3


_TECHNICAL: Final = re.compile(r"\b(?:ip|ipv[46]|mac|address|api|http|port|username|version|email)\b", re.IGNORECASE)
_ZIP_WORDS: Final = any_of(
    "zip|zip code|zipcode|postal code|postcode|post code|postal|plz|postleitzahl|code postal|código postal",
    "codigo postal",
    "kod pocztowy|psč|irányítószám|postnummer|postinumero|индекс|почтовый индекс|邮编|郵便番号",
    "우편번호|pincode|pin code",
)
_STATES: Final = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]"
    "|W[AIVY]"
)
_UK: Final = r"(?:[A-PR-UWYZ][0-9][0-9A-HJKPS-UW]?|[A-PR-UWYZ][A-HK-Y][0-9][0-9ABEHMNPRV-Y]?|GIR)"

_MONTH: Final = (
    r"(?:jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|février|mar(?:ch|s)?|märz|apr(?:il)?|avril|may|mai|june?|juin|juni"
    r"|july?"
    r"|juillet|juli|aug(?:ust)?|août|sept?(?:ember|embre)?|o[ck]t(?:ober|obre)?|nov(?:ember|embre)?|de[cz](?:ember"
    r"|embre)?"
    r"|décembre|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)"
)
_DATE: Final = re.compile(
    r"(?<![\w./-])(?P<v>(?:(?:1[5-9]|20|21)[0-9]{2})[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12][0-9]|3[01])"
    r"(?:[T ][0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[+-][0-2][0-9]:?[0-5][0-9])?)?"
    r"|(?:0?[1-9]|[12][0-9]|3[01])[-/.](?:0?[1-9]|[12][0-9]|3[01])[-/.](?:(?:1[5-9]|20|21)[0-9]{2}|[0-9]{2})"
    rf"|(?:0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th|\.)?[ -](?:of )?{_MONTH}\.?(?:,?[ -](?:1[5-9]|20|21)[0-9]{{2}})?"
    rf"|{_MONTH}\.? (?:0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?(?:,? (?:1[5-9]|20|21)[0-9]{{2}})?"
    rf"|{_MONTH}\.?,? (?:1[5-9]|20|21)[0-9]{{2}})(?![\w/-])(?!\.[0-9])",
    re.IGNORECASE,
)
_BIRTH: Final = any_of(
    "born|birth|dob|d.o.b|date of birth|birthday|birthdate|geboren|geburtsdatum|geb|née|né|date de naissance|nacido",
    "nacida",
    "nacimiento|nato|nata|data di nascita|nascimento|nascido|geboortedatum|urodzony|urodzona|data urodzenia|родился",
    "рождения",
    "出生|生年月日|생년월일",
)
_MAP_WORDS: Final = any_of(
    "gps|coordinates|coords|lat|latitude|lon|lng|longitude|location|located|geo|map|position|koordinaten"
)


def _coordinates_score(view: View, match: re.Match[str]) -> float:
    """A latitude and a longitude to within ten metres; a list of decimals looks the same, a hemisphere does not."""
    if abs(float(match["lat"])) > 90 or abs(float(match["lon"])) > 180:
        return 0.0
    return SURE if match["north"] or match["east"] else POSSIBLE


PLACES: Final[tuple[Finder, ...]] = (
    Shape("ADDRESS", _ENGLISH, digits=1, check=_street_score, context=_ADDRESS_WORDS, beside=0.88),
    Shape("ADDRESS", _CONTINENTAL, digits=1, check=_continental_score, context=_ADDRESS_WORDS, beside=0.88),
    Shape(
        "ADDRESS",
        _JOINED,
        digits=1,
        words=tuple(_ENDING.lower().replace("\\", "").split("|")),
        check=_joined_score,
        context=_ADDRESS_WORDS,
        beside=0.88,
    ),
    Shape("ADDRESS", _BOX, 0.9, digits=1, words=("box", "po", "bp", "ost", "apartado", "skrytka")),
    Shape("ADDRESS", _ROOM, LIKELY, digits=1, words=("apt", "apartment", "suite", "ste")),
    Shape(
        "ZIP_CODE",
        re.compile(r"(?<![\w.,/$€£#:-])[0-9]{3}(?:[0-9]{0,3}(?:-[0-9]{3,4})?| [0-9]{2})(?![\w%])(?![.,:/-][0-9])"),
        UNLIKELY,
        digits=3,
        context=_ZIP_WORDS,
        beside=0.85,
        reach=(24, 6),
    ),
    Shape(
        "ZIP_CODE",
        re.compile(rf"(?<!\w)(?:{_STATES})[ ,]{{1,2}}(?P<v>[0-9]{{5}}(?:-[0-9]{{4}})?)(?![\w-])"),
        digits=5,
    ),
    Shape(
        "ZIP_CODE",
        re.compile(
            rf"(?<![\w-]){_UK} [0-9][ABD-HJLNP-UW-Z]{{2}}(?![\w-])"
            r"|(?<![\w-])[ABCEGHJ-NPRSTVXY][0-9][A-Z] [0-9][A-Z][0-9](?![\w-])"
        ),
        0.7,
        digits=2,
    ),
    Shape(
        "GPS_COORDINATES",
        re.compile(
            r"(?<![\w.,-])(?P<lat>[+-]?[0-9]{1,2}\.[0-9]{4,12}) ?°? ?(?P<north>[NS])?[,;]? {0,2}"
            r"(?P<lon>[+-]?[0-9]{1,3}\.[0-9]{4,12}) ?°? ?(?P<east>[EW])?(?![\w.])(?!, ?[0-9-])"
        ),
        digits=10,
        needs=".",
        check=_coordinates_score,
        context=_MAP_WORDS,
    ),
    Shape(
        "GPS_COORDINATES",
        re.compile(
            r"(?<!\w)[0-9]{1,2}° ?[0-9]{1,2}' ?(?:[0-9]{1,2}(?:\.[0-9]{1,6})?\" ?)?[NS][, ]{1,3}"
            r"[0-9]{1,3}° ?[0-9]{1,2}' ?(?:[0-9]{1,2}(?:\.[0-9]{1,6})?\" ?)?[EW](?!\w)"
        ),
        SURE,
        needs="°",
        digits=4,
    ),
    Shape(
        "DATE_OF_BIRTH",
        _DATE,
        UNLIKELY,
        digits=1,
        words=(
            "born",
            "birth",
            "dob",
            "d.o.b",
            "geb",
            "né",
            "nac",
            "nasc",
            "nat",
            "uro",
            "родил",
            "рожд",
            "生",
            "생년",
        ),
        context=_BIRTH,
        reach=(32, 0),
    ),
    Shape("DATE_TIME", _DATE, 0.7, digits=1),
    Shape(
        "AGE",
        re.compile(
            r"(?<![\w.,/:-])1?[0-9]{1,2}"
            r"(?= ?-?(?:years?|yrs?)[ -]old(?!\w)| ?y/?o(?!\w)| Jahre alt| ans(?!\w)| años| anni(?!\w))"
        ),
        LIKELY,
        digits=1,
        words=("year", "yr", "yo", "y/o", "jahre", "ans", "años", "anni"),
    ),
    Shape(
        "AGE",
        re.compile(
            r"(?<!\w)(?:aged|age:?|turned|turning)\s(?P<v>1?[0-9]{1,2})(?![\w%])(?![.,:/-][0-9])", re.IGNORECASE
        ),
        LIKELY,
        digits=1,
        words=("age", "turn"),
    ),
)
