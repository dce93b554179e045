"""`./hospital bench`: measure a running system."""

import argparse
import os
import sys
from pathlib import Path

import uvloop

from cli.bench.booking import bench_booking
from cli.bench.cases import BY_DEFAULT, CASES, Plan
from cli.bench.messages import TalkPlan, bench_messages
from cli.bench.target import BenchError, find_target

ROOT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", choices=["booking", "messages"], help="slots; or live conversations")
    add("--url", default="http://127.0.0.1:8000", help="of the API (default: %(default)s)")
    add("--data-dir", type=Path, default=ROOT / ".data", help="of the running `up` (.data)")
    add("--database-url", help="default: HOSPITAL_DATABASE_URL, else what is in --data-dir")
    add("--temporal", metavar="HOST:PORT", help="default: TEMPORAL_ADDRESS, else 127.0.0.1:7233")
    add("--clients", type=_counts, default=(1, 16, 64), help="at a time (default: 1,16,64)")
    add("--bookings", type=_count, default=3000, help="requests in a burst (default: 3000)")
    add(
        "--seconds",
        type=_count,
        default=60,
        help="the longest burst, or messages (60)",
    )
    add("--patience", type=_count, default=300, help="seconds for its workflows to start (300)")
    add("--cases", type=_cases, default=BY_DEFAULT, help=f"of {','.join(CASES)}")
    add("--streams", type=_count, default=2000, help="messages: open streams (default: 2000)")
    add("--rate", type=_count, default=50, help="messages: so many a second (default: 50)")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def main(args: argparse.Namespace) -> int:
    """0, or 1 when something was answered, counted or started as it should not have been."""
    try:
        target = find_target(
            args.url,
            data_dir=args.data_dir,
            database_url=args.database_url,
            temporal=args.temporal,
            environ=os.environ,
        )
        if args.what == "messages":
            talks = TalkPlan(args.streams, args.rate, args.seconds)
            return uvloop.run(bench_messages(target, talks, args.json))
        plan = Plan(args.clients, args.bookings, args.seconds, args.patience, args.cases)
        return uvloop.run(bench_booking(target, plan, args.json))
    except BenchError as error:
        print(f"hospital: {error}", file=sys.stderr)
        return 1


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _cases(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in CASES:
            raise argparse.ArgumentTypeError(f"{name}: expected some of {','.join(CASES)}")
    return names
