"""Ways of writing that features look for."""

import re
from typing import Final

NAME: Final = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")  # capital inside a sentence
NAME_IN_OPTION: Final = re.compile(r"[a-z] [A-Z][a-z]|^[A-Z][a-z]+ [A-Z]")
CAPITALS: Final = re.compile(r"\b[A-Z]{2,}\b")
LETTER: Final = re.compile(r"(?<![\w'\u2019])[b-hj-zB-HJ-Z](?![\w'\u2019])")
TOKEN: Final = re.compile(r"\w+")
QUANTITY: Final = re.compile(r"[-+$€£]?\s*[\d.,/ \u00d7x^*e+-]+\s*%?.{0,12}")
LONGEST_QUANTITY: Final = 80  # letters of an option that are looked at for one
QUOTES: Final = "\"\u201c\u201d'\u2019\u2018"
SYMBOLS: Final = "+-*/=^<>|%$\\{}_~\u223c⊃•≡∀∃"
FORMULA: Final = "+-*/=^<>|%$\\{}_()"
