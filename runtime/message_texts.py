"""Reads the hospital's wording (`config/messages.yaml`) and tells where it is wrong."""

from pathlib import Path

import yaml

from domain.message import InvalidTexts, MessageTexts

DEFAULT_TEXTS = Path(__file__).parent.parent / "config" / "messages.yaml"


class MessageTextsError(Exception):
    """One line for each fault: file, line, field, and what was expected."""


def load_message_texts(path: Path = DEFAULT_TEXTS) -> MessageTexts:
    """Raises MessageTextsError when the file is unreadable, no YAML, or breaks a rule."""
    try:
        source = path.read_text(encoding="utf-8")
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        return MessageTexts.from_data(yaml.safe_load(source))
    except OSError as error:
        raise MessageTextsError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MessageTextsError(f"{path}: not readable as YAML: {error}") from error
    except InvalidTexts as error:
        lines = [
            f"{path}:{_line(root, problem.path)}: {'.'.join(problem.path)}: {problem.message}"
            for problem in error.problems
        ]
        raise MessageTextsError("\n".join(lines)) from error


def _line(node: yaml.Node | None, path: tuple[str, ...]) -> int:
    """The line of the deepest part of `path` that exists, from 1."""
    line = 1
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next(((k, v) for k, v in node.value if k.value == key), None)
        if pair is None:
            break
        line = pair[0].start_mark.line + 1
        node = pair[1]
    return line
