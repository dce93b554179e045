"""How a rule writes what it looks for, and where that stands in what somebody wrote.

A phrase is written `胸口|心口~疼|痛`: one of the first, then with a small gap one of the second. In
it, `10+片` is ten or more of them, in figures or in words, and 。 is where the clause begins or
ends: 。没有反应, 从来没有过。
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

# Traditional characters of the words that matter, each above its simplified form.
_TRADITIONAL = (
    "悶氣頭臉說話無沒暈過嘔發燒熱癲癇驚藥殺農懷婦產腫視見聽難壓緊劇傷斷燙車禍電擊觸腦風癱瘓嗆異紅"
    "腸陰墜樓膽脹顫頸項時個歲寶嬰兒體溫認識喚應嚨條邊側動彈噴髮輕顆點開關閉覺後來劑農誤濃煙廢淚"
    "頻絞撕壞亂響鳴當場麼腳膚蒼陣張嚴從還對經現濕喪輪黃綠滿連繼續轉偏臟斃勁"
    "這樣會結橋媽爺親兒閨孫週禮厲嗎適陽"
)
_SIMPLIFIED = (
    "闷气头脸说话无没晕过呕发烧热癫痫惊药杀农怀妇产肿视见听难压紧剧伤断烫车祸电击触脑风瘫痪呛异红"
    "肠阴坠楼胆胀颤颈项时个岁宝婴儿体温认识唤应咙条边侧动弹喷发轻颗点开关闭觉后来剂农误浓烟废泪"
    "频绞撕坏乱响鸣当场么脚肤苍阵张严从还对经现湿丧轮黄绿满连继续转偏脏毙劲"
    "这样会结桥妈爷亲儿闺孙周礼厉吗适阳"
)
SIMPLER = str.maketrans(_TRADITIONAL, _SIMPLIFIED) | {ord("’"): "'", ord("‘"): "'"}

GAP_CHARACTERS = 8  # between the parts of a phrase in Chinese
GAP_LETTERS = 24  # in words written with letters


def normalised(text: str) -> str:
    """Half-width, lower-case, simplified, runs of blanks as one."""
    simple = unicodedata.normalize("NFKC", text).casefold().translate(SIMPLER)
    return re.sub(r"[^\S\n]+", " ", simple).replace("°c", "度")


def is_lettered(character: str) -> bool:
    return character.isascii() and character.isalnum()


def fits(clause: str, word: str, at: int) -> bool:
    """Words of letters are whole words, with a plural at most: `fit` is not in `fitness`."""
    if is_lettered(word[0]) and at > 0 and is_lettered(clause[at - 1]):
        return False
    return _ends_well(clause, word, at + len(word))


def _ends_well(clause: str, word: str, end: int) -> bool:
    if not is_lettered(word[-1]) or end == len(clause) or not is_lettered(clause[end]):
        return True
    after = clause[end + 1 : end + 2]
    return clause[end] == "s" and not (after and is_lettered(after))


# Numbers in figures, in Chinese and in English. 几 is two: 几片 is no overdose, 几十片 is one.
_DIGITS = {character: float(n) for n, character in enumerate("零一二三四五六七八九")}
_DIGITS |= {"两": 2.0, "几": 2.0, "半": 0.5}
_TENS = {"十": 10, "百": 100, "千": 1000}
_ENGLISH = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "dozen": 12, "fifteen": 15,
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "hundred": 100,
}  # fmt: skip
NUMBER = (
    rf"(?:(?<![0-9.a-z])[0-9]{{1,6}}(?:\.[0-9]{{1,3}})?|[{''.join((*_DIGITS, *_TENS))}]{{1,7}}"
    rf"|(?<![a-z])(?:{'|'.join(sorted(_ENGLISH, key=len, reverse=True))})(?![a-z]))"
)
_COUNT = re.compile(rf"({NUMBER})[多来余]?[ -]?")


def number(written: str) -> float:
    """What `NUMBER` found: 30, 三十, 一两 (two), 几十 (twenty at least)."""
    if written in _ENGLISH:
        return _ENGLISH[written]
    if written[0].isascii():
        return float(written)
    total = digit = 0.0
    for character in written:
        if character in _TENS:
            total, digit = total + (digit or 1) * _TENS[character], 0.0
        else:
            digit = _DIGITS[character]
    return total + digit


@dataclass(frozen=True)
class Word:
    text: str
    least: float | None = None  # so many of them, or so much where there is no text
    begins: bool = False  # the clause
    ends: bool = False  # the clause

    @classmethod
    def of(cls, written: str) -> "Word":
        """Raises ValueError when it says nothing."""
        bare = normalised(written).strip()
        text = bare.strip("。")
        counted = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)\+(.*)", text)
        least = float(counted[1]) if counted else None
        text = counted[2].strip() if counted else text
        if not text and counted is None:
            raise ValueError("a part of it is empty")
        return cls(text, least, bare.startswith("。"), bare.endswith("。"))

    @property
    def stands_free(self) -> bool:
        """It means the same wherever it stands."""
        return self.least is None and not self.begins and not self.ends

    @property
    def gap(self) -> int:
        """How far it may stand from the word before it."""
        return GAP_LETTERS if not self.text or is_lettered(self.text[0]) else GAP_CHARACTERS

    def places(self, clause: str) -> Iterator[tuple[int, int]]:
        """Where it begins and ends."""
        for at, end in self._plain(clause) if self.least is None else self._counted(clause):
            if (not self.begins or at == 0) and (not self.ends or end == len(clause)):
                yield at, end

    def _plain(self, clause: str) -> Iterator[tuple[int, int]]:
        at = clause.find(self.text)
        while at >= 0:
            if fits(clause, self.text, at):
                yield at, at + len(self.text)
            at = clause.find(self.text, at + 1)

    def _counted(self, clause: str) -> Iterator[tuple[int, int]]:
        for count in _COUNT.finditer(clause):
            end = count.end() + len(self.text)
            if number(count[1]) < (self.least or 0):
                continue
            if not self.text:
                yield count.start(), count.end(1)
            elif clause.startswith(self.text, count.end()) and _ends_well(clause, self.text, end):
                yield count.start(), end


Chain = tuple[tuple[int, int], ...]  # where the parts of a phrase begin and end


@dataclass(frozen=True)
class Phrase:
    parts: tuple[tuple[Word, ...], ...]

    @classmethod
    def of(cls, written: str) -> "Phrase":
        """Raises ValueError when a part says nothing."""
        return cls(tuple(tuple(map(Word.of, part.split("|"))) for part in written.split("~")))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The symptoms in it, for what reads denials."""
        return tuple(word.text for part in self.parts for word in part if word.stands_free)

    def chains(self, clause: str, denied: Sequence[bool] = ()) -> list[Chain]:
        """Where it stands with no part of it `denied`. Part by part and not by trying each way
        through it: in "胸口胸口胸口…" there are very many."""
        found: list[Chain] | None = None
        for part in self.parts:
            places = {
                (at, end): word.gap
                for word in part
                for at, end in word.places(clause)
                if not (denied and denied[at])
            }
            found = [(place,) for place in places] if found is None else _joined(found, places)
            if not found:
                return []
            found.sort(key=lambda chain: chain[-1][1])
        return found or []


def _joined(found: list[Chain], places: dict[tuple[int, int], int]) -> list[Chain]:
    """Each place behind the nearest of `found`, which lie in the order of their ends."""
    ends = [chain[-1][1] for chain in found]
    joined = []
    for (at, end), gap in places.items():
        before = bisect_right(ends, at) - 1
        if before >= 0 and at - ends[before] <= gap:
            joined.append((*found[before], (at, end)))
    return joined


def cut_out(clause: str, phrases: Iterable[Phrase]) -> list[str]:
    """What is left of it without the words of these phrases; what stood in their gaps stays."""
    for phrase in phrases:
        for chain in phrase.chains(clause):
            for at, end in chain:
                clause = clause[:at] + "\n" * (end - at) + clause[end:]
    return [piece for cut in clause.split("\n") if (piece := cut.strip())]
