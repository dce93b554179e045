"""Reads the texts that patients accept (`config/consents.yaml`) and tells where they are wrong."""

from datetime import date
from functools import cache
from pathlib import Path

from domain.consent import ConsentKind, ConsentTexts
from runtime.config import Reader, load_values
from runtime.settings import DEFAULT_CONFIG, beside


@cache
def load_consents(config_path: Path = DEFAULT_CONFIG) -> ConsentTexts:
    """`consents.yaml` beside the hospital's configuration, else ours; read once a process.
    Raises ConfigError with every problem, a line each."""
    return load_values(ConsentTexts, beside(config_path, "consents.yaml"), _across)


def _across(reader: Reader) -> None:
    """Of each kind there is a text, and never two of one version or from one day."""
    seen: dict[tuple[ConsentKind, str | date], str] = {}
    count = reader.lengths.get("consents")
    if count is None:
        return
    for index in range(count):
        at = f"consents[{index}]"
        kind = reader.values.get(f"{at}.kind")
        for field in ("version", "valid_from"):
            value = reader.values.get(f"{at}.{field}")
            if kind is None or value is None:
                continue
            first = seen.setdefault((kind, value), f"{at}.{field}")
            if first != f"{at}.{field}":
                where = reader.places[first]
                reader.note(f"{at}.{field}", f"{kind} has {value} twice, first in {where}")
    kinds = {reader.values.get(f"consents[{index}].kind") for index in range(count)}
    for kind in ConsentKind:
        if kind not in kinds and None not in kinds:
            reader.note("consents", f"expected a text of the kind {kind}")
