"""What of a clause is denied: 没有胸痛、胸闷, no chest pain.

In doubt nothing is: see docs/decisions/0018-red-flags-are-data-asked-before-charging.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from domain.symptom_phrases import (
    GAP_CHARACTERS,
    GAP_LETTERS,
    Phrase,
    fits,
    is_lettered,
    normalised,
)

JOINS = "、/"  # in a list: what was denied before is still denied after them


@dataclass(frozen=True)
class Denials:
    """The words of denying, by what they do to what follows."""

    deny: tuple[str, ...]  # 没有, no
    still: tuple[str, ...]  # 明显, any: may stand between the denial and the symptom
    other: tuple[str, ...]  # symptoms that are no red flag, in a list that denies one after another
    never: tuple[str, ...]  # look like denials and are none: 有没有, 不得不, not only
    such: tuple[str, ...] = ()  # 这样, like this: never so bad as now
    past: tuple[str, ...] = ()  # 以前, 从没, never: says nothing of now,
    now: tuple[str, ...] = ()  # where one of these phrases follows: 第一次, 今天~开始


ASKING = ("吗", "吧", "么", "呢")  # 不是心梗吧 denies nothing
ORDINARY = frozenset({"ordinary"})


@dataclass
class _Reach:
    """How far denials reach in a clause, as it is walked through."""

    denied: list[bool] = field(default_factory=list)
    on: bool = False
    family: frozenset[str] = frozenset()  # of the symptom before, where no join stood between
    last: int = 0  # behind what was denied last; 0 where nothing was
    begun: int = 0  # where the last denial begins,
    before: int = 0  # and what `last` was then
    past: bool = False

    def begin(self) -> None:
        self.on, self.family = True, frozenset()
        self.begun, self.before = len(self.denied), self.last

    def go_on(self, length: int, denied: bool) -> None:
        self.denied += [denied] * length
        if denied:
            self.last = len(self.denied)

    def lift(self, gap: int) -> None:
        """Nothing of the last denial holds, if it ended no more than `gap` before."""
        at, self.on = len(self.denied), False
        if self.last > self.before and at - self.last <= gap:
            self.denied[self.begun :] = [False] * (at - self.begun)
            self.last = self.before


class DenialReader:
    """`families` are the words that belong together, by any name."""

    def __init__(self, denials: Denials, families: Mapping[str, Iterable[str]]) -> None:
        self._deny = _words(denials.deny)
        self._still = _words(denials.still) | frozenset(JOINS)
        self._such, self._past = _words(denials.such), _words(denials.past)
        self._now = tuple(Phrase.of(written) for written in denials.now)
        symptoms = dict.fromkeys(_words(denials.other), ORDINARY)
        for name, words in families.items():
            for word in words:
                symptoms[word] = symptoms.get(word, frozenset()) | {name}
        self._symptoms = {
            word: names
            for word, names in symptoms.items()
            if word not in self._deny | self._still and not self._denies_the_past(word)
        }
        known = self._deny | self._still | self._such | self._past | _words(denials.never)
        self._tokens: dict[str, list[str]] = {}  # by first character, longest first
        for word in sorted(known | set(self._symptoms), key=len, reverse=True):
            self._tokens.setdefault(word[0], []).append(word)

    def _denies_the_past(self, word: str) -> bool:
        """从来没, 以前没: a rule may ask for it, and yet it denies what follows."""
        return word.startswith(tuple(self._past)) and word.endswith(tuple(self._deny))

    def denied(self, clause: str, following: Sequence[str] = ()) -> tuple[bool, ...]:
        """For each character whether a symptom that begins there is denied.

        A denial reaches as far as every word after it is known: fillers, joins, and symptoms in a
        list. Any other word ends it (没有好转的胸痛, 无明显诱因胸痛). Two symptoms that follow each
        other without a join are one list only when they are of one family (没有胸闷胸痛); else the
        second may well be what the person has (没有发烧胸口疼).

        Not denied is what was never so before: 从没胸痛得这样, or, with the clauses `following`,
        以前没有过胸痛，今天第一次.
        """
        nothing = (False,) * len(clause)
        if clause.endswith(ASKING):
            return nothing
        reach = _Reach()
        while len(reach.denied) < len(clause):
            self._step(clause, reach)
        if reach.past and reach.last and self._is_new((clause[reach.last :], *following)):
            return nothing
        return tuple(reach.denied)

    def _step(self, clause: str, reach: _Reach) -> None:
        at = len(reach.denied)
        word = self._token(clause, at)
        inner = self._inner(clause, at, word)
        word = inner or word
        reach.past = reach.past or word in self._past
        if word in self._deny:
            reach.begin()
        elif word in self._still:
            reach.family = frozenset()
        elif word in self._such:
            # A few words before 这样 it was of the past only that it was denied.
            reach.lift(GAP_LETTERS if is_lettered(word[0]) else GAP_CHARACTERS)
        elif word != " ":
            own = self._symptoms.get(word, frozenset())
            reach.family = reach.family & own if reach.family else own
            reach.on = reach.on and bool(reach.family)
        denied = inner is not None or (reach.on and word not in self._deny)
        reach.go_on(len(word), denied)

    def _inner(self, clause: str, at: int, word: str) -> str | None:
        """没有呼吸 is a symptom, but in 没有呼吸困难 it is the denial of another: that denial."""
        if word not in self._symptoms:
            return None
        for length in range(len(word) - 1, 0, -1):
            if word[:length] in self._deny:
                longer = self._goes_on(clause, at + length, at + len(word))
                return word[:length] if longer else None
        return None

    def _goes_on(self, clause: str, at: int, end: int) -> bool:
        """Whether a symptom begins at `at` that reaches beyond `end`."""
        word = self._token(clause, at)
        return word in self._symptoms and at + len(word) > end

    def _token(self, clause: str, at: int) -> str:
        for word in self._tokens.get(clause[at], ()):
            if clause.startswith(word, at) and fits(clause, word, at):
                return word
        end = at + 1  # an unknown word of letters is passed whole
        if is_lettered(clause[at]):
            while end < len(clause) and is_lettered(clause[end]):
                end += 1
        return clause[at:end]

    def _is_new(self, clauses: Iterable[str]) -> bool:
        return any(phrase.chains(clause) for clause in clauses for phrase in self._now)


def _words(written: Iterable[str]) -> frozenset[str]:
    return frozenset(map(normalised, written))
