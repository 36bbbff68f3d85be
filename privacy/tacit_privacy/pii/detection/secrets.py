"""Keys, tokens and passwords: what opens something must not leave, whoever it belongs to."""

import re
from collections.abc import Iterator
from typing import Final

from tacit_privacy.pii.detection.shapes import EXACT, LIKELY, POSSIBLE, SURE, Finder, Found, Shape, View, words

_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BODY: Final = re.compile(r"(?:[A-Za-z0-9+/=\s:,-]|\\[nr])*+")


class PrivateKey:
    """PEM blocks, whole; one that is cut off counts as far as it goes."""

    def may_be_in(self, view: View) -> bool:
        """The header says so."""
        return "PRIVATE KEY" in view.text

    def find(self, view: View) -> Iterator[Found]:
        """Each block from header to footer."""
        text, at = view.text, 0
        while begin := _BEGIN.search(text, at):
            body = _BODY.match(text, begin.end())
            at = body.end() if body else begin.end()
            if end := _END.search(text, max(begin.end(), at - 100), at + 100):
                at = end.end()
            yield Found(begin.start(), at, "SECRET", EXACT)


_PREFIXED: Final = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16,24}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[\w-]{20,64}"
    r"|sk-(?:proj-|ant-|or-|svcacct-)?[A-Za-z0-9_-]{20,255}|[spr]k_(?:live|test)_[A-Za-z0-9]{16,255}"
    r"|whsec_[A-Za-z0-9]{24,128}|xox[abeoprs]-[A-Za-z0-9-]{10,255}|xapp-[A-Za-z0-9-]{10,255}"
    r"|AIza[0-9A-Za-z_-]{33,64}|ya29\.[0-9A-Za-z_-]{20,512}|GOCSPX-[\w-]{20,64}|1//[0-9A-Za-z_-]{40,128}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,512}|hf_[A-Za-z0-9]{30,64}|gsk_[A-Za-z0-9]{40,64}"
    r"|xai-[A-Za-z0-9]{40,128}"
    r"|SG\.[\w-]{16,64}\.[\w-]{16,64}|key-[0-9a-f]{32}|dckr_pat_[\w-]{20,64}|dop_v1_[0-9a-f]{64}"
    r"|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|hvs\.[\w-]{24,256}|tskey-[\w-]{20,128}|lin_api_[A-Za-z0-9]{40}"
    r"|ntn_[A-Za-z0-9]{40,60}|EAA[A-Za-z0-9]{60,255}|AGE-SECRET-KEY-1[0-9A-Z]{58}|[0-9]{8,10}:AA[\w-]{33}"
    r"|eyJ[\w-]{8,4000}\.[\w-]{8,8000}(?:\.[\w-]{0,4000})?"  # JWT
    r")"
)
_HOOKS: Final = re.compile(
    r"https://(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks"
    r"|[\w-]{1,63}\.webhook\.office\.com)/[\w/@.-]{8,500}"
)
_BEARER: Final = re.compile(
    r"\b(?:bearer|basic|token|apikey)[ \t]+(?P<v>(?=[A-Za-z.~+/_-]{0,200}[0-9=])[A-Za-z0-9._~+/-]{16,4000}={0,2})",
    re.IGNORECASE,
)
_CONNECTION: Final = re.compile(
    r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}:(?P<word>[^\s/@\"'<>]{1,200})"
    r"@[^\s\"'<>`]{1,2000}"
)
_NOT_GIVEN: Final = re.compile(
    r"(?:[*x•.#_-]{3,}|<.*>?|\$\{?\w*\}?|\{\{?.*|%\w+%?|\[.*"
    r"|(?:your|my|the|some|new|old|enter|insert)[-_ ]?.*|\.\.\.|…+)$",
    re.IGNORECASE,
)


def _connection_score(view: View, match: re.Match[str]) -> float:
    return 0.0 if _NOT_GIVEN.match(match["word"]) else 0.99


_KEYS: Final = (
    r"pass ?word|passwd|pwd|pass ?phrase|pass ?code|secret(?:[_ -]?(?:access[_ -]?)?key)?|api[_ -]?key|access[_ -]?key"
    r"|(?:access|auth|refresh|bearer|session|id)[_ -]?token"
    r"|client[_ -]?secret|private[_ -]?key|account[_ -]?key|token"
    r"|encryption[_ -]?key|signing[_ -]?key|passwort|kennwort|contraseña|clave|mot de passe|senha|hasło|wachtwoord"
    r"|lösenord|şifre|parola|пароль|密码|密碼|パスワード|비밀번호"
)
_ASSIGNED: Final = re.compile(
    rf"(?<![^\W_])(?P<key>{_KEYS})[\"'\]]{{0,2}}\s{{0,4}}(?:(?P<sign>=>|:=|==?|:)|\b(?:is|ist|est|es|è"
    rf"|jest)\b)\s{{0,4}}"
    r"(?P<quote>[\"'`]?)(?P<v>[^\s\"'`]{1,400})",
    re.IGNORECASE,
)
_WORDS: Final = words(
    "required optional string str none null nil true false text varchar min max must invalid incorrect wrong reset "
    "empty "
    "undefined hidden encrypted hash hashed protected forgotten changed expired missing given stored sent here there "
    "and "
    "or not the a an in on to for too very weak strong case same needed bytes any object int number boolean bool input "
    "yes no field type label placeholder value values self this user key keys name default it what why how when if"
)
_EXPRESSION: Final = re.compile(r"[\w.]*[(\[]|\w+\.\w+(?:\.\w+)*[,;)]*$|[A-Z]\w*\[|\w+->")
_VARIABLE: Final = re.compile(rf"[a-z_]*(?:{_KEYS})", re.IGNORECASE)  # password=password, token=access_token


def _assigned_score(view: View, match: re.Match[str]) -> float:
    """A value of mixed characters is a secret; a word may be one; program text and placeholders are none."""
    value = match["v"].rstrip(",;.)]}>\\!?")
    quoted, key = bool(match["quote"]), match["key"].lower()
    if len(value) < 3 or value.lower() in _WORDS or _NOT_GIVEN.match(value):
        return 0.0
    if not quoted and (_EXPRESSION.match(match["v"]) or (match["sign"] and _VARIABLE.fullmatch(value))):
        return 0.0
    kinds = sum(any(test(char) for char in value) for test in (str.islower, str.isupper, str.isdigit)) + any(
        not char.isalnum() and char not in "_-" for char in value
    )
    if kinds >= 2 and (len(value) >= 6 or quoted) and any(not char.isalpha() for char in value):
        return SURE
    if key.endswith("token") or "key" in key or "secret" in key:
        return LIKELY if quoted and len(value) >= 16 else POSSIBLE
    if match["sign"] is None:
        return POSSIBLE if value.isalpha() else LIKELY
    return 0.6 if quoted or len(value) >= 5 else POSSIBLE


_WITHIN: Final = ("-", "_", "eyJ", "AKIA", "ASIA", "AROA", "AIDA", "AIza", "ya29", "1//", "SG.", "hvs.", "EAA", ":AA")
_HINTS: Final = (
    "pass|pwd|secret|key|token|kennwort|contraseña|clave|senha|hasło|wachtwoord|lösenord|şifre|parola|пароль|密码|密碼"
    "|パスワード|비밀번호"
)
SECRETS: Final[tuple[Finder, ...]] = (
    PrivateKey(),
    Shape("SECRET", _PREFIXED, EXACT, digits=1, words=tuple(hint.lower() for hint in _WITHIN)),
    Shape("SECRET", _HOOKS, EXACT, words=("hooks.slack.com", "/api/webhooks/", "webhook.office.com")),
    Shape("SECRET", _BEARER, 0.95, words=("bearer", "basic", "token", "apikey")),
    Shape("SECRET", _CONNECTION, words=("://",), needs="@", check=_connection_score),
    Shape("SECRET", _ASSIGNED, words=tuple(_HINTS.split("|")), check=_assigned_score),
    Shape(
        "PIN",
        re.compile(
            r"(?<![^\W_])(?:pin|pin code|pin number|otp|one[- ]time (?:code|password)|cvv2?|cvc|security code|passcode"
            r"|verification code|tan)(?: ?(?:is|was|:|=|to|#"
            r"|of)){1,2}[ \"']{0,2}(?P<v>[0-9]{3,8})(?![\w.,:][0-9])(?!\w)",
            re.IGNORECASE,
        ),
        LIKELY,
        digits=3,
        words=("pin", "otp", "code", "cvv", "cvc", "tan", "one-time", "one time"),
    ),
)
