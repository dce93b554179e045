"""What people write about their symptoms: brought into one form, cut into clauses, searched.

A word that is found counts unless it is plainly denied. Doubt goes to the side of finding it: see
docs/decisions/0018-red-flags-are-data-asked-before-charging.md.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Traditional characters of the words that matter, each above its simplified form.
_TRADITIONAL = (
    "悶氣頭臉說話無沒暈過嘔發燒熱癲癇驚藥殺農懷婦產腫視見聽難壓緊劇傷斷燙車禍電擊觸腦風癱瘓嗆異紅"
    "腸陰墜樓膽脹顫頸項時個歲寶嬰兒體溫認識喚應嚨條邊側動彈噴髮輕顆點開關閉覺後來劑農誤濃煙廢淚"
    "頻絞撕壞亂響鳴當場麼腳膚蒼陣張嚴從還對經現濕喪輪黃綠滿連繼續轉偏臟斃勁"
)
_SIMPLIFIED = (
    "闷气头脸说话无没晕过呕发烧热癫痫惊药杀农怀妇产肿视见听难压紧剧伤断烫车祸电击触脑风瘫痪呛异红"
    "肠阴坠楼胆胀颤颈项时个岁宝婴儿体温认识唤应咙条边侧动弹喷发轻颗点开关闭觉后来剂农误浓烟废泪"
    "频绞撕坏乱响鸣当场么脚肤苍阵张严从还对经现湿丧轮黄绿满连继续转偏脏毙劲"
)
SIMPLER = str.maketrans(_TRADITIONAL, _SIMPLIFIED) | {ord("’"): "'", ord("‘"): "'"}

GAP_CHARACTERS = 8  # between the parts of a phrase in Chinese
GAP_LETTERS = 24  # in words written with letters
JOINS = "、/"  # in a list: what was denied before is still denied after them
_KEPT = JOINS + "'- "


def normalised(text: str) -> str:
    """Half-width, lower-case, simplified, runs of blanks as one."""
    simple = unicodedata.normalize("NFKC", text).casefold().translate(SIMPLER)
    return re.sub(r"[^\S\n]+", " ", simple)


# 胸痛:无, chest pain (-): a form that was filled in. 胸痛:无缓解 is another thing.
_ANSWERED = re.compile(
    r"\s*[:(]\s*(?:无|否|没有|阴性|none|no|negative|-)\s*\)?\s*(?=[,.;、。!?\n]|$)"
)
_NO = "无"


def clauses(text: str) -> list[str]:
    """The text cut at every sign that ends a thought: what is denied before it is not after it."""
    cut = "".join(
        c if c in _KEPT or unicodedata.category(c)[0] not in "PSCZ" else "\n"
        for c in _ANSWERED.sub(_NO, normalised(text))
    )
    return [_squeezed(clause) for part in cut.split("\n") if (clause := part.strip())]


def is_lettered(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _squeezed(clause: str) -> str:
    """Without the blanks beside Chinese characters (胸 痛)."""
    return "".join(
        c
        for index, c in enumerate(clause)
        if c != " " or (is_lettered(clause[index - 1]) and is_lettered(clause[index + 1]))
    )


# A phrase is written `胸口|心口~疼|痛`: one of the first, then with a small gap one of the second.


@dataclass(frozen=True)
class Phrase:
    parts: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, written: str) -> "Phrase":
        """Raises ValueError when a part says nothing."""
        parts = tuple(
            tuple(normalised(word).strip() for word in part.split("|"))
            for part in written.split("~")
        )
        if not all(word for part in parts for word in part):
            raise ValueError("a part of it is empty")
        return cls(parts)

    @property
    def words(self) -> Iterable[str]:
        return (word for part in self.parts for word in part)


def _fits(clause: str, word: str, at: int) -> bool:
    """Words of letters are whole words, with a plural at most: `fit` is not in `fitness`."""
    end = at + len(word)
    if is_lettered(word[0]) and at > 0 and is_lettered(clause[at - 1]):
        return False
    if not is_lettered(word[-1]) or end == len(clause) or not is_lettered(clause[end]):
        return True
    after = clause[end + 1 : end + 2]
    return clause[end] == "s" and not (after and is_lettered(after))


def _places(clause: str, word: str, after: int, until: int) -> Iterable[int]:
    """Where the word begins, from `after` to `until`."""
    at = clause.find(word, after, until + len(word))
    while at >= 0:
        if _fits(clause, word, at):
            yield at
        at = clause.find(word, at + 1, until + len(word))


@dataclass(frozen=True)
class Denials:
    """The words of denying, by what they do to what follows."""

    deny: tuple[str, ...]  # 没有, no
    still: tuple[str, ...]  # 明显, any: may stand between the denial and the symptom
    other: tuple[str, ...]  # symptoms that are no red flag, in a list that denies one after another
    never: tuple[str, ...]  # look like denials and are none: 有没有, 不得不, not only


ASKING = ("吗", "吧", "么", "呢")  # 不是心梗吧 denies nothing
ORDINARY = frozenset({"ordinary"})


class Reader:
    """Finds phrases. `families` are the words that belong together, by any name."""

    def __init__(self, denials: Denials, families: Mapping[str, Iterable[str]]) -> None:
        symptoms = {normalised(word): ORDINARY for word in denials.other}
        for name, words in families.items():
            for word in words:
                symptoms[word] = symptoms.get(word, frozenset()) | {name}
        self._deny = frozenset(map(normalised, denials.deny))
        self._still = frozenset(map(normalised, denials.still)) | frozenset(JOINS)
        self._symptoms = {
            word: families
            for word, families in symptoms.items()
            if word not in self._deny | self._still
        }
        self._tokens: dict[str, list[str]] = {}  # by first character, longest first
        never = frozenset(map(normalised, denials.never))
        for word in sorted(self._deny | self._still | never | set(self._symptoms)):
            self._tokens.setdefault(word[0], []).append(word)
        for words in self._tokens.values():
            words.sort(key=len, reverse=True)

    def read(self, text: str, ignored: Iterable[str] = ()) -> "Read":
        """`ignored` are phrases in which a word does not mean what it says."""
        whole = normalised(text)
        for phrase in ignored:
            whole = whole.replace(normalised(phrase), "\n")
        return Read(tuple(Clause(clause, self._denied(clause)) for clause in clauses(whole)))

    def _denied(self, clause: str) -> tuple[bool, ...]:
        """For each character whether a symptom that begins there is denied.

        A denial reaches as far as every word after it is known: fillers, joins, and symptoms in a
        list. Any other word ends it (没有好转的胸痛, 无明显诱因胸痛). Two symptoms that follow each
        other without a join are one list only when they are of one family (没有胸闷胸痛); else the
        second may well be what the person has (没有发烧胸口疼).
        """
        if clause.endswith(ASKING):
            return (False,) * len(clause)
        denied: list[bool] = []
        on, family = False, frozenset[str]()
        while (at := len(denied)) < len(clause):
            word = self._token(clause, at)
            if word in self._deny:
                on, family = True, frozenset()
            elif word in self._still:
                family = frozenset()
            elif word != " ":
                own = self._symptoms.get(word, frozenset())
                family = family & own if family else own
                on = on and bool(family)
            denied += [on and word not in self._deny] * len(word)
        return tuple(denied)

    def _token(self, clause: str, at: int) -> str:
        for word in self._tokens.get(clause[at], ()):
            if clause.startswith(word, at) and _fits(clause, word, at):
                return word
        end = at + 1  # an unknown word of letters is passed whole
        if is_lettered(clause[at]):
            while end < len(clause) and is_lettered(clause[end]):
                end += 1
        return clause[at:end]


_ANSWERED_NO = re.compile(r" ?(无|否|没有|阴性|none|no|negative)")


@dataclass(frozen=True)
class Clause:
    text: str
    denied: tuple[bool, ...]

    def has(self, phrase: Phrase) -> bool:
        return self._goes_on(phrase, 0, 0)

    def _goes_on(self, phrase: Phrase, part: int, after: int) -> bool:
        if part == len(phrase.parts):
            return not _ANSWERED_NO.fullmatch(self.text, after)
        return any(
            self._goes_on(phrase, part + 1, at + len(word))
            for word in phrase.parts[part]
            for at in _places(
                self.text, word, after, after + _gap(word) if part else len(self.text)
            )
            if not self.denied[at]
        )


def _gap(word: str) -> int:
    return GAP_LETTERS if is_lettered(word[0]) else GAP_CHARACTERS


@dataclass(frozen=True)
class Read:
    clauses: tuple[Clause, ...]

    def has(self, phrase: Phrase) -> bool:
        """Whether the phrase stands in one of the clauses and is not denied there."""
        return any(clause.has(phrase) for clause in self.clauses)
