"""The figures of a bench: worked out, printed, written as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cli.bench.load import Outcome


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share (0 to 1) does not exceed: the nearest rank, always
    a value that was measured. `ordered` ascends; nan when it is empty."""
    if not ordered:
        return math.nan
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


@dataclass(frozen=True)
class Figures:
    """One burst. Latencies are milliseconds; what does not apply is None."""

    case: str
    clients: int
    requests: int
    seconds: float
    per_second: float  # expected answers
    p50: float
    p95: float
    p99: float
    generator: float  # microseconds of CPU that a request cost the load generator
    errors: dict[str, int] = field(default_factory=dict)
    # Of bursts that book:
    lost: int | None = None  # answered 201 and not in the database, or the reverse
    oversold: int | None = None  # schedules whose figures do not agree
    in_time: bool | None = None  # whether all workflows were running before patience ended
    workflows_after: float | None = None  # seconds from the last answer to the last workflow
    workflows_per_second: float | None = None  # orders, by the time from the first request

    @classmethod
    def of(cls, case: str, clients: int, outcome: Outcome, **more: Any) -> "Figures":
        ordered = sorted(outcome.latencies)
        p50, p95, p99 = (1000 * percentile(ordered, share) for share in (0.5, 0.95, 0.99))
        return cls(
            case=case,
            clients=clients,
            requests=outcome.answers,
            seconds=outcome.seconds,
            per_second=len(ordered) / outcome.seconds if outcome.seconds else 0.0,
            p50=p50,
            p95=p95,
            p99=p99,
            generator=1e6 * outcome.generator / max(1, outcome.answers),
            errors=dict(outcome.errors),
            **more,
        )

    @property
    def sound(self) -> bool:
        return not (self.errors or self.lost or self.oversold or self.in_time is False)

    def as_json(self) -> dict[str, Any]:
        plain = {key: _rounded(value) for key, value in asdict(self).items()}
        return {key: value for key, value in plain.items() if value is not None}


HEAD = (
    f"{'':<15} {'clients':>7} {'requests':>8} {'per s':>7} {'p50':>7} {'p95':>7} {'p99':>7}"
    f" {'errors':>6} {'lost':>5} {'oversold':>8} {'last runs after':>15} {'workflows/s':>11}"
)


def row(figures: Figures) -> str:
    f = figures
    return (
        f"{f.case:<15} {f.clients:>7} {f.requests:>8} {f.per_second:>7.0f}"
        f" {f.p50:>7.1f} {f.p95:>7.1f} {f.p99:>7.1f} {sum(f.errors.values()):>6}"
        f" {_shown(f.lost):>5} {_shown(f.oversold):>8} {_after(f):>15}"
        f" {_shown(f.workflows_per_second):>11}"
    )


def remarks(figures: Sequence[Figures]) -> list[str]:
    """What the table has no room for."""
    said = [f"{f.case}, {f.clients} clients: {f.errors}" for f in figures if f.errors]
    cost = max((f.generator for f in figures), default=0.0)
    return [*said, f"Latencies in ms. The load generator took at most {cost:.0f} µs a request."]


def _after(figures: Figures) -> str:
    if figures.in_time is False:
        return "not in time"
    return "" if figures.workflows_after is None else f"{figures.workflows_after:.1f} s"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 3) if math.isfinite(value) else None
