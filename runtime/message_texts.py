"""Reads the hospital's wording (`config/messages.yaml`) and tells where it is wrong."""

from functools import cache
from pathlib import Path

from domain.message import InvalidTexts, MessageTexts
from runtime.config import ConfigError
from runtime.config_source import Entry, Place, Problem, read_file
from runtime.settings import DEFAULT_CONFIG, beside


@cache
def load_message_texts(config_path: Path = DEFAULT_CONFIG) -> MessageTexts:
    """`messages.yaml` beside the hospital's configuration, else ours; read once a process.
    Raises ConfigError with every problem, a line each."""
    root, problems = read_file(beside(config_path, "messages.yaml"))
    if root is None or problems:
        raise ConfigError(problems)
    try:
        return MessageTexts.from_data(_plain(root))
    except InvalidTexts as error:
        raise ConfigError(
            [
                Problem(_place(root, problem.path), ".".join(problem.path), problem.message)
                for problem in error.problems
            ]
        ) from None


def _plain(entry: Entry) -> object:
    """As mappings and texts. What is neither stays an Entry, which is no text."""
    match entry.value:
        case dict():
            return {name: _plain(inner) for name, inner in entry.value.items()}
        case str() if entry.kind == "str":
            return entry.value
        case str() if entry.kind == "null":
            return None
    return entry


def _place(entry: Entry, path: tuple[str, ...]) -> Place:
    """Of the deepest part of `path` that exists."""
    for name in path:
        if not isinstance(entry.value, dict) or name not in entry.value:
            break
        entry = entry.value[name]
    return entry.place
