# ruff: noqa: RUF001
"""Names in scripts that the recogniser reads less surely: after words that introduce one, before forms of address.

Surnames: the commonest of each language, from general knowledge of them; no list was copied.
"""

import re
from collections.abc import Iterator
from typing import Final

from tacit_privacy.pii.detection.shapes import SURE, UNLIKELY, Found, Shape, View, find_all

_HAN: Final = "\u4e00-\u9fff\u3005"
_HANGUL: Final = "\uac00-\ud7a3"
_KOREAN: Final = (
    "김이박최정강조윤장임한오서신권황안송류유홍전고문양손배백허남심노하곽성차주우구민진지"
    "엄채원천방공현함변염추도석선설마길연위표명기반나"
)
_CHINESE: Final = (
    "王李张張刘劉陈陳杨楊赵趙黄黃周吴吳徐孙孫胡朱高林何郭马馬罗羅梁宋郑鄭谢謝韩韓唐冯馮于董萧蕭程曹袁邓鄧许許傅"
    "沈曾彭吕呂苏蘇卢盧蒋蔣蔡贾賈丁魏薛叶葉阎余潘杜戴夏钟鍾汪田任姜范方石姚谭譚廖邹鄒熊金陆陸郝孔白崔康毛邱秦江史顾顧侯"
    "邵孟龙龍万萬段雷钱錢汤湯尹黎易常武乔喬贺賀赖賴龚龔文"
)
_NO_PERSON: Final = frozenset("者員员師师手生客社屋方長长人名")  # who ends so is called by a trade, not by a name


def _japanese(view: View, match: re.Match[str]) -> float:
    return UNLIKELY if match["v"][-1] in _NO_PERSON else SURE


def _introduced(script: str, words: str, most: int, joint: str = " ", stop: str = "") -> Shape:
    """Up to ``most`` words of ``script`` after one of ``words``, none of them ``stop``."""
    word = rf"(?!(?:{stop})(?![{script}]))[{script}]{{2,20}}+" if stop else rf"[{script}]{{2,20}}+"
    pattern = rf"(?<![{script}])(?:{words})[ :\uff1a]{{0,2}}(?P<v>{word}(?:{joint}{word}){{0,{most - 1}}})"
    return Shape("PERSON", re.compile(pattern), SURE)


_SHAPES: Final = (
    Shape(
        "PERSON",
        re.compile(
            rf"(?<![{_HAN}])(?P<v>[{_HAN}]{{2,5}}?)(?=さん|さま|様(?![々式子])|氏(?!名)|と申します|くん|ちゃん)"
        ),
        check=_japanese,
    ),
    Shape(
        "PERSON",
        re.compile(
            rf"(?<![{_HANGUL}])(?P<v>[{_KOREAN}][{_HANGUL}]{{2}})(?= ?(?:씨|님|과장|대리|부장|차장|팀장|교수|박사|의원)"
            rf"(?:[은는이가을를의과와도께에,. ]|$))"
        ),
        SURE,
    ),
    Shape(
        "PERSON",
        re.compile(
            rf"(?:저는|나는|이름은|성함은|성명[은:]?) ?(?P<v>[{_KOREAN}][{_HANGUL}]{{1,2}})"
            "(?=입니다|이에요|예요|이고|이라고|라고)"
        ),
        SURE,
    ),
    Shape(
        "PERSON",
        re.compile(rf"(?P<v>[{_CHINESE}][{_HAN}]{{1,2}})(?=先生|女士|小姐|老师|老師|医生|經理|经理|律师|教授)"),
        SURE,
    ),
    Shape(
        "PERSON",
        re.compile(
            rf"(?:[我他她名]叫|姓名[:\uff1a]?|联系人[:\uff1a]?|聯絡人[:\uff1a]?|太太|妻子|丈夫|女儿|儿子|同事|经理|朋友)"
            rf"(?P<v>[{_CHINESE}][{_HAN}]{{1,2}}?)(?=[\uff0c\u3002\uff01\uff1f\u3001\uff1b\uff1a,.;:\s和与跟在住是说的]|$)"
        ),
        SURE,
    ),
    Shape(
        "PERSON",
        re.compile(
            r"(?<![А-ЯЁа-яё-])(?P<v>[А-ЯЁ][а-яё]{2,15} "
            r"(?:[А-ЯЁ][а-яё]{2,15}(?:ович|евич|овн|евн|ич)(?:а|у|ем|ой|ы|е)? )?"
            r"[А-ЯЁ][а-яё]{1,15}(?:ов|ев|ёв|ин|ын|ск|цк|енк|чук|юк)(?:а|у|ым|ом|е|ой|ая|ую|ий|ого|ому|о)?)(?![А-ЯЁа-яё-])"
        ),
        0.6,
        check=lambda view, match: 0.0 if match["v"].endswith(("ский", "ская", "ской", "цкий")) else 0.6,
    ),
    _introduced("А-ЯЁа-яё", "[Мм]еня зовут|[Ее]го зовут|[Её]ё зовут|[Мм]ене звати|[Мм]ене звуть", 2),
    _introduced(
        "\u0620-\u064a",
        "اسمي|إسمي|اسمه|اسمها|السيد|السيدة|الدكتور|الدكتورة|الأستاذ|الأستاذة",
        4,
        stop="و[\u0620-\u064a]{2,}|هو|هي|في|من|على",
    ),
    _introduced("\u05d0-\u05ea'\u05f3", "שמי|קוראים לי|מר|גברת|גב'|ד\"ר|ל?פרופ'", 2),
    _introduced("\u0900-\u0963", "मेरा नाम|उनका नाम|उसका नाम|श्री|श्रीमती|डॉ\\.?", 3, stop="है|हैं|और|से|को|का|की|के|ने"),
    _introduced("\u0b82-\u0bcd", "என் பெயர்|எனது பெயர்|திரு\\.?|திருமதி", 2),
    _introduced("\u0e01-\u0e4e", "ผมชื่อ|ฉันชื่อ|ดิฉันชื่อ|นางสาว|คุณชื่อ", 2),
)


class Introductions:
    """All of these, tried on texts that are more than ASCII."""

    def may_be_in(self, view: View) -> bool:
        """Whether there is another script at all."""
        return not view.text.isascii()

    def find(self, view: View) -> Iterator[Found]:
        """Every name with its score."""
        return find_all(_SHAPES, view)
