"""A recorded answer as a device can read it without asking anybody: what it states, its steps, its own arithmetic."""

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 8000
"""Characters of an answer that are read."""

_NUMBER: Final = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_CLOCK: Final = re.compile(r"\b(\d{1,2}):00\b")
_FIELD: Final = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|[^,}\n]*)')
_MARK: Final = re.compile(r"(?:^|\n)\s*(?:####|A:)\s*([^\n]+)\s*$")
_REASONING: Final = re.compile(r'"reasoning"\s*:\s*"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_ENDS: Final = frozenset(".!?)]}*`")


@dataclass(frozen=True, slots=True)
class Answer:
    """``stated``: what was set apart as the answer, by a JSON field or a mark; None where nothing was."""

    body: str  # the reasoning, or all of it
    stated: str | None
    whole: bool  # it ends as it was asked to, or at least a sentence does
    number: float | None  # the last of ``stated``, else of everything


@dataclass(frozen=True, slots=True)
class Equation:
    """``expression = result`` as written; ``value`` is what the expression comes to."""

    value: float
    result: float
    decimals: int  # written behind the result's point

    @property
    def off(self) -> float:
        return abs(self.value - self.result)

    @property
    def wrong(self) -> bool:
        """Beyond what rounding or cutting to the written decimals explains."""
        return self.off >= max(10.0**-self.decimals, 1e-12 * abs(self.value)) * (1 - 1e-9)

    @property
    def rounded(self) -> bool:
        """Not exact, and not wrong."""
        return not self.wrong and self.off > 1e-6


def last_number(text: str) -> float | None:
    """The last number in ``text``: thousands set apart by commas, a full hour without its zeros."""
    found = _NUMBER.findall(_CLOCK.sub(r"\1", text))
    value = float(found[-1].replace(",", "")) if found else math.inf
    return value if math.isfinite(value) else None


def numbers(text: str) -> list[float]:
    """Every number in the first ``LIMIT`` characters, signs aside, in its order."""
    found = (float(each.lstrip("-").replace(",", "")) for each in _NUMBER.findall(text[:LIMIT]))
    return [value for value in found if math.isfinite(value)]


def read(text: str) -> Answer:
    """The first ``LIMIT`` characters."""
    text = text[:LIMIT].strip()
    fields = _FIELD.findall(text)
    if fields:
        reasoning = _REASONING.search(text)
        stated = fields[-1].strip().strip('"')
        body = _unescaped(reasoning[1]) if reasoning else text
        return Answer(body, stated, text.rstrip("`\n ").endswith("}"), _number(stated, text))
    mark = _MARK.search(text)
    if mark:
        return Answer(text[: mark.start()], mark[1].strip(), True, _number(mark[1], text))
    return Answer(_unescaped(text), None, text[-1:] in _ENDS, last_number(text))


def _number(stated: str, text: str) -> float | None:
    found = last_number(stated)
    return last_number(text) if found is None else found


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace('\\"', '"')


# --- arithmetic

_OPERATIONS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_REACH: Final = 160  # characters on one side of an equals sign
_PLAIN: Final = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"<<[^<>]*>>|\*\*|[$\u20ac\u00a3]|\\(?:text|mathrm)\{[^{}]*\}", ""),
        (r"\\frac\{([\d.]+)\}\{([\d.]+)\}", r"(\1/\2)"),
        (r"\\(?:times|cdot)|[\u00d7\u22c5]", "*"),
        (r"\\div|\u00f7", "/"),
        (r"[\u2212\u2013]", "-"),
        (r"\\[()\[\],%]|[\\{}]", " "),
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"\([^()\d]{0,60}\)", " "),  # words in brackets
        (r"(?<=\d)\s?/\s?[A-Za-z]{2,20}", ""),  # per unit
        (r"(\d+(?:\.\d+)?)\s?%", r"(\1/100)"),
        (r"(?<=[\d)])\s{0,2}(?:x|X|times|of)\s{0,2}(?=[\d(])", "*"),
        (r"(?<=[\d)])(?:\s{0,2}[A-Za-z']{2,20}\.?){1,4}\s{0,2}(?=[-+*/=])", " "),  # units before a sign; not 2x
    )
)
_LEFT: Final = re.compile(r"[-\d.()+*/ ]+$")
_RIGHT: Final = re.compile(r"[-\d.()+*/ ]+")
_SIGNS: Final = ("+", "-", "*", "/")


def equations(text: str) -> list[Equation]:
    """Every ``a op b = c`` with numbers alone that ``text`` writes out, units and currency aside.

    What holds an unknown, as in ``x + 4 + 3 = 10`` or ``7 + 4 = 2y``, is passed over: its value is not known.
    """
    for pattern, by in _PLAIN:
        text = pattern.sub(by, text)
    return [found for at, sign in enumerate(text) if sign == "=" and (found := _around(text, at))]


def _around(text: str, at: int) -> Equation | None:
    left = _LEFT.search(text, max(0, at - _REACH), at)
    right = _RIGHT.match(text, at + 1, at + 1 + _REACH)
    if left is None or right is None:
        return None
    expression, written = left[0].strip(), right[0].strip(" .")
    if expression[:1] in (*_SIGNS, ".") or not re.search(r"[\d)]\s*[-+*/]", expression):
        return None
    if written[-1:] in (*_SIGNS, "(") or _goes_on(text, right.end()):
        return None
    value, result = calculated(expression), calculated(written)
    if value is None or result is None:
        return None
    if "/100)" in written and abs(value - 100 * result) < abs(value - result):
        result *= 100  # 8 / 40 * 100 = 20%
    point = re.fullmatch(r"-?\d+\.(\d+)", written)
    return Equation(value, result, len(point[1]) if point else 0)


def _goes_on(text: str, end: int) -> bool:
    """Whether a letter stands at once behind a digit, as in ``2x``."""
    return text[end - 1].isdigit() and text[end : end + 1].isalpha()


def calculated(expression: str) -> float | None:
    """The value of numbers, brackets and the four operations; None for anything else."""
    if "**" in expression or "//" in expression:
        return None
    expression = expression.strip()
    while expression.count(")") < expression.count("(") and expression.startswith("("):
        expression = expression[1:].strip()
    try:
        value = _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None
    return value if math.isfinite(value) else None


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left), _value(right))
    raise ValueError("not arithmetic")
