"""Reads the hospital's red flags (`config/red_flags.yaml`) and tells where they are wrong."""

from functools import cache
from pathlib import Path

from domain.red_flags import RedFlags
from runtime.config import Reader, load_values
from runtime.settings import DEFAULT_CONFIG, beside


@cache
def load_red_flags(config_path: Path = DEFAULT_CONFIG) -> RedFlags:
    """`red_flags.yaml` beside the hospital's configuration, else ours; read once a process.
    Raises ConfigError with every problem, a line each."""
    return load_values(RedFlags, beside(config_path, "red_flags.yaml"), _across)


def _across(reader: Reader) -> None:
    reader.distinct("flags", "id")
    _each_word_names_one(reader)
    if reader.lengths.get("flags") == 0:
        reader.note("flags", "expected at least one")
    for index in range(reader.lengths.get("flags", 0)):
        _says_something(reader, f"flags[{index}]")


def _each_word_names_one(reader: Reader) -> None:
    """A word for two persons would silently be the last's."""
    first: dict[str, str] = {}
    for person in range(reader.lengths.get("persons", 0)):
        words = f"persons[{person}].words"
        for path in (f"{words}[{n}]" for n in range(reader.lengths.get(words, 0))):
            word = reader.values.get(path, path)
            if word in first:
                reader.note(path, f"{word} is there twice, first in {reader.places[first[word]]}")
            first.setdefault(word, path)


def _says_something(reader: Reader, flag: str) -> None:
    for part in ("sources", "terms", "combinations"):
        if reader.lengths.get(f"{flag}.{part}") == 0:
            reader.note(f"{flag}.{part}", "expected at least one")
    if not {f"{flag}.terms", f"{flag}.combinations"} & reader.places.keys():
        reader.note(flag, "expected terms or combinations")
    for index in range(reader.lengths.get(f"{flag}.combinations", 0)):
        groups = f"{flag}.combinations[{index}].all_of"
        for path in (groups, *(f"{groups}[{n}]" for n in range(reader.lengths.get(groups, 0)))):
            if reader.lengths.get(path) == 0:  # a group of none is never met; none of them always
                reader.note(path, "expected at least one")
