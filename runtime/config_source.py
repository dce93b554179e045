"""Configuration as it was written: a tree of entries that know their file and line.

Read from the YAML nodes and not from PyYAML's Python values, because those have lost what is
needed: the line, a key written twice, `19.90` as it stands (a float is not money), and `22:00`
(which YAML 1.1 takes for 1320).
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml

PREFIX = "HOSPITAL_POLICIES__"
FROM_ENVIRONMENT = "environment"
NO_LINE = 10**9  # problems of the environment come after those of the file


@dataclass(frozen=True)
class Place:
    """A file and line, or the name of an environment variable."""

    source: str
    line: int = NO_LINE

    def __str__(self) -> str:
        return self.source if self.line == NO_LINE else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing that does not fit. `path` is the field, empty for the file as a whole."""

    place: Place
    path: str
    text: str

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.path}: {self.text}" if self.path else f"{self.place}: {self.text}"
        )


@dataclass(frozen=True)
class Entry:
    """One value. `kind` is what YAML takes a scalar for: str, int, float, bool, null and so on."""

    place: Place
    value: "str | list[Entry] | dict[str, Entry]"
    kind: str = ""

    @property
    def shown(self) -> str:
        """How an error quotes it."""
        match self.value:
            case dict():
                return "a group of fields"
            case list():
                return "a list"
            case text:
                if self.kind == "null":
                    return "nothing"
                return repr(text if len(text) <= 60 else text[:57] + "…")


def read_file(path: Path) -> tuple[Entry | None, list[Problem]]:
    """The file's entries (None when it cannot be read), and what is wrong with it as YAML."""
    name = _shown_path(path)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        return None, [Problem(Place(name), "", f"cannot be read ({error.strerror})")]
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return None, [Problem(Place(name, line), "", "not UTF-8 text")]
    problems: list[Problem] = []
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None, [Problem(Place(name, 1), "", "the file is empty")]
        return _entry(node, Place(name, 1), "", problems), problems
    except RecursionError:  # also an alias inside its own anchor
        return None, [Problem(Place(name, 1), "", "not usable YAML: nested without end")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else _line_of(error, text)
        reason = getattr(error, "problem", None) or getattr(error, "reason", "broken")
        return None, [Problem(Place(name, line), "", f"not YAML: {reason}")]


def _line_of(error: yaml.YAMLError, text: str) -> int:
    position = getattr(error, "position", 0)  # a character that YAML does not allow
    return text.count("\n", 0, position) + 1


def _shown_path(path: Path) -> str:
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _entry(node: yaml.Node, place: Place, path: str, problems: list[Problem]) -> Entry:
    def at(child: yaml.Node) -> Place:
        return Place(place.source, child.start_mark.line + 1)

    if isinstance(node, yaml.MappingNode):
        entries: dict[str, Entry] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            inner = join(path, name)
            if name in entries:
                first = entries[name].place.line
                problems.append(Problem(at(key), inner, f"written twice, first on line {first}"))
                continue
            entries[name] = _entry(value, at(key), inner, problems)
        return Entry(place, entries)
    if isinstance(node, yaml.SequenceNode):
        return Entry(
            place,
            [
                _entry(item, at(item), f"{path}[{index}]", problems)
                for index, item in enumerate(node.value)
            ],
        )
    return Entry(place, str(node.value), kind=str(node.tag).rpartition(":")[2])


def join(path: str, name: str) -> str:
    """`a.b`, with a name that is no plain word quoted, so that a problem stays on one line."""
    shown = name if name.replace("_", "").replace("-", "").isalnum() else repr(name[:60])
    return f"{path}.{shown}" if path else shown


def nearest(name: str, known: Iterable[str]) -> str:
    """What an error about an unknown name goes on to say."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"


def overlay(root: Entry, environ: Mapping[str, str], policies: type[Any]) -> list[Problem]:
    """Put `HOSPITAL_POLICIES__…` into the tree. `policies` is the dataclass of that part.

    A list is written with commas; an empty value is the empty list.
    """
    problems = []
    for name in sorted(environ):
        if name.startswith("HOSPITAL_POLICIES"):
            text = _overlay_one(root, name, environ[name], policies)
            if text:
                problems.append(Problem(Place(name), "", text))
    return problems


def _overlay_one(root: Entry, name: str, value: str, policies: type[Any]) -> str | None:
    """The problem, if there is one."""
    if not name.startswith(PREFIX):
        return f"unknown variable; policies are set by {PREFIX}GROUP__FIELD"
    *parents, last = steps = name.removeprefix(PREFIX).lower().split("__")
    group: Any = policies
    for step in steps:
        if problem := _unknown(group, step):
            return problem
        group = get_type_hints(group)[step]
    if is_dataclass(group):
        names = [field.name for field in fields(group)]
        return f"is a group; set one of its fields ({', '.join(names)})"
    at = root
    for step in ("policies", *parents):
        at = _child(at, step, Place(name))
    if isinstance(at.value, dict):  # else the file has the wrong shape there and says so itself
        at.value[last] = _from_variable(name, value, is_list=get_origin(group) is tuple)
    return None


def _unknown(group: Any, step: str) -> str | None:
    if not is_dataclass(group):
        return f"unknown policy {step!r}; what stands before it has no fields"
    names = [field.name for field in fields(group)]
    return None if step in names else f"unknown policy {step!r}; {nearest(step, names)}"


def _child(entry: Entry, name: str, place: Place) -> Entry:
    if not isinstance(entry.value, dict):
        return Entry(place, {})
    return entry.value.setdefault(name, Entry(place, {}))


def _from_variable(name: str, value: str, *, is_list: bool) -> Entry:
    place = Place(name)
    if not is_list:
        return Entry(place, value.strip(), kind=FROM_ENVIRONMENT)
    items = [item.strip() for item in value.split(",")] if value.strip() else []
    return Entry(place, [Entry(place, item, kind=FROM_ENVIRONMENT) for item in items])
