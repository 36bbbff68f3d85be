"""Kinds of words that tell what a question asks for. Nothing here was learned from data."""

import re
from typing import Final

_KINDS = {
    "negation": r"\b(?:not|except|false|incorrect|least|never|cannot|no|none|neither|without|wrong|untrue)\b",
    "amount": r"\b(?:how many|how much|how long|how far|calculate|compute|solve|evaluate|find|determine|estimate"
    r"|probability|percent|percentage|ratio|average|total|sum|values?|rate)\b",
    "which": r"\b(?:which|what)\b",
    "who": r"\b(?:who|when|where|whose|whom)\b",
    "why": r"\b(?:why|explain|describe|because|reasons?|how does|how do)\b",
    "hypothesis": r"\b(?:if|suppose|assume|assuming|let|given|consider|would|could|should|might|unless)\b",
    "comparison": r"\b(?:more|less|greater|fewer|higher|lower|larger|smaller|most|least|best|than|increases?|decreases?"
    r"|twice|half|each|every|per)\b",
    "quantifier": r"\b(?:all|some|any|every|each|both|either|neither|only|always|must|at least|at most|exactly)\b",
    "first_person": r"\b(?:i|me|my|we|our|you|your)\b",
    "third_person": r"\b(?:he|she|his|her|him|they|them|their|man|woman|girl|boy)\b",
    "past": r"\b(?:was|were|had|did|been|went|came|said|told|took|made|gave|left|found)\b",
    "present": r"\b(?:is|are|has|have|does|do|can|may|will)\b",
    "reference": r"\b(?:following|above|below|these|those|this|statements?|passage|figure|table|question|scenarios?"
    r"|options?|answer)\b",
    "logic": r"\b(?:therefore|then|and|or|implies|follows|premise|conclusion|argument|true|valid|necessarily|hence"
    r"|thus|since|although|however|whereas)\b",
    "preposition": r"\b(?:of|in|to|for|with|on|at|from|by|about|as|into|through|after|over|between|against|during"
    r"|before|under)\b",
    "article": r"\b(?:the|a|an)\b",
    "law": r"\b(?:court|laws?|contract|plaintiff|defendant|property|state|statute|liable|liability|rights|crime|judge"
    r"|jury|attorney|sued|suit)\b",
    "definition": r"\b(?:called|known as|refers? to|defined as|term|definition|example of|type of|named?)\b",
    "money": r"[$€£¥]|\b(?:dollars?|cents?|costs?|price|paid|pay|income|tax|sells?|sold|buys?|bought)\b",
    "time": r"\b(?:hours?|minutes?|seconds?|days?|weeks?|months?|years?|times?)\b",
    "year": r"\b1[0-9]{3}\b|\b20[0-2][0-9]\b|century",
}

KINDS: Final = {name: re.compile(pattern) for name, pattern in _KINDS.items()}
"""By name; each is matched on lower-case text. English: elsewhere they are silent and the other features decide."""

STRESSED: Final = re.compile(r"\b(?:NOT|EXCEPT|LEAST|FALSE|BEST|MOST|TRUE|INCORRECT)\b")
JOINING: Final = re.compile(r"\b(?:and|or|but|because)\b|,")
WHOLE: Final = re.compile(r"(?:all|none|both|neither) of (?:the|these)|all of|none of|\bonly\b")
