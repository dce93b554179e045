"""What people write about their symptoms: cut into clauses, and searched.

A phrase that is found counts unless it is plainly denied. Doubt goes to the side of finding it: see
docs/decisions/0018-red-flags-are-data-asked-before-charging.md.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from domain.symptom_denials import JOINS, DenialReader, Denials
from domain.symptom_phrases import Phrase, cut_out, is_lettered, normalised

_KEPT = JOINS + "'- "

# 胸痛:无, chest pain (-): a form that was filled in. 胸痛:无缓解 is another thing.
_ANSWERED = re.compile(
    r"\s*[:(]\s*(?:无|否|没有|阴性|none|no|negative|-)\s*\)?\s*(?=[,.;、。!?\n]|$)"
)
_NO = "无"


def clauses(text: str) -> list[str]:
    """The text cut at every sign that ends a thought: what is denied before it is not after it."""
    whole = _ANSWERED.sub(_NO, normalised(text))
    cut = "".join(c if _goes_on(whole, at) else "\n" for at, c in enumerate(whole))
    return [_squeezed(clause) for part in cut.split("\n") if (clause := part.strip())]


def _goes_on(text: str, at: int) -> bool:
    if text[at] == ".":  # 38.5 is one number; 1.胸痛 is a list
        return at > 0 and text[at - 1].isdigit() and text[at + 1 : at + 2].isdigit()
    return text[at] in _KEPT or unicodedata.category(text[at])[0] not in "PSCZ"


def _squeezed(clause: str) -> str:
    """Without the blanks beside Chinese characters (胸 痛)."""
    return "".join(
        c
        for index, c in enumerate(clause)
        if c != " " or (is_lettered(clause[index - 1]) and is_lettered(clause[index + 1]))
    )


FOLLOWING = 2  # clauses that may tell that what was never there before is there now


class Reader:
    """Finds phrases. `families` are the words that belong together, by any name; `degrees` the
    words that may stand anywhere in a phrase (呼吸很困难); in `ignored` a word does not mean what
    it says."""

    def __init__(
        self,
        denials: Denials,
        families: Mapping[str, Iterable[str]],
        degrees: Iterable[str] = (),
        ignored: Iterable[str] = (),
    ) -> None:
        self._denials = DenialReader(denials, families)
        self._degrees = _any_of(degrees)
        self._ignored = tuple(Phrase.of(written) for written in ignored)

    def read(self, text: str) -> "Read":
        cut = self._meant(clauses(text))
        return Read(
            tuple(
                Clause(form, self._denials.denied(form, cut[index + 1 : index + 1 + FOLLOWING]))
                for index, clause in enumerate(cut)
                for form in self._forms(clause)
            )
        )

    def _meant(self, cut: list[str]) -> list[str]:
        whole = "\n".join(cut)
        ignored = [phrase for phrase in self._ignored if _may_hold(whole, phrase)]
        return [piece for clause in cut for piece in cut_out(clause, ignored)]

    def _forms(self, clause: str) -> Iterator[str]:
        """As it is written, and without the words of degree."""
        yield clause
        bare = self._degrees.sub("", clause).strip()
        if bare not in ("", clause):
            yield bare


def _may_hold(whole: str, phrase: Phrase) -> bool:
    return all(any(word.text in whole for word in part) for part in phrase.parts)


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Words of letters with the blank after them."""
    written = sorted(map(normalised, words), key=len, reverse=True)
    forms = (
        rf"(?<![a-z0-9]){re.escape(word)} " if is_lettered(word[0]) else re.escape(word)
        for word in written
    )
    return re.compile("|".join(forms) or r"(?!)")


_ANSWERED_NO = re.compile(r" ?(无|否|没有|阴性|none|no|negative)")


@dataclass(frozen=True)
class Clause:
    text: str
    denied: tuple[bool, ...]

    def has(self, phrase: Phrase) -> bool:
        return any(
            not _ANSWERED_NO.fullmatch(self.text, chain[-1][1])
            for chain in phrase.chains(self.text, self.denied)
        )


@dataclass(frozen=True)
class Read:
    clauses: tuple[Clause, ...]

    def has(self, phrase: Phrase) -> bool:
        """Whether the phrase stands in one of the clauses and is not denied there."""
        return any(self.clauses[index].has(phrase) for index in self._holding(phrase))

    def _holding(self, phrase: Phrase) -> frozenset[int]:
        """The clauses with a word of each part. Most phrases stand nowhere and are passed fast."""
        holding = frozenset(range(len(self.clauses)))
        for part in phrase.parts:
            holding &= frozenset[int]().union(*(self._with(word.text) for word in part))
            if not holding:
                break
        return holding

    def _with(self, word: str) -> frozenset[int]:
        if word not in self._whole:
            return frozenset()
        if word not in self._holders:
            self._holders[word] = frozenset(
                index for index, clause in enumerate(self.clauses) if word in clause.text
            )
        return self._holders[word]

    @cached_property
    def _whole(self) -> str:
        return "\n".join(clause.text for clause in self.clauses)

    @cached_property
    def _holders(self) -> dict[str, frozenset[int]]:
        """The clauses in which a word stands, by word."""
        return {}
