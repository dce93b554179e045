"""What runs in quarantine (`api/quarantine.py`): opens one file after the other, each in a fork.

The process itself sees no file. It has imported everything, waits for the fork, and answers for one
that did not come to an answer.
"""

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from api.decoding import Pixels, TooLargeHere, decoded_anew
from api.documents import document_anew
from api.quarantine import read_message, write_message
from domain.file import FileKind, FileRefused

NO_MORE = 3  # a fork's exit when nobody asks any more
BY_SIGNAL: dict[int, str] = {signal.SIGALRM: "out_of_time", signal.SIGPROF: "out_of_cpu"}

Head = dict[str, Any]
NOTHING: Head = {"outcome": "made", "word": "", "kind": "", "width": 0, "height": 0}


def main() -> int:
    os.nice(int(sys.argv[1]))
    asked, answers = _own_pipes()
    while True:
        fork = os.fork()
        if fork == 0:
            _open_one(asked, answers)
        code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        if code == NO_MORE:
            return 0
        if code:
            outcome = BY_SIGNAL.get(-code, "died")
            write_message(answers, NOTHING | {"outcome": outcome, "word": str(code)}, ())
        if code and -code not in BY_SIGNAL:
            return 1  # half of what was asked may still lie in the pipe


def _own_pipes() -> tuple[int, int]:
    """Whatever a library prints goes where errors go."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return 0, answers


def _open_one(asked: int, answers: int) -> NoReturn:
    try:
        head, (data,) = read_message(asked)
    except EOFError:
        os._exit(NO_MORE)
    os.close(asked)  # what breaks out below finds no way to the next one's file
    _limit(head["limits"])
    answer, parts = _opened(head, data)
    _limit_no_more()  # half an answer would be none
    write_message(answers, NOTHING | answer, parts)
    os._exit(0)


def _limit(limits: Head) -> None:
    """The kernel ends the process at each of them; nothing here handles these signals."""
    with suppress(OSError):  # if the machine has no memory left, this one goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the picture
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
    signal.setitimer(signal.ITIMER_PROF, limits["cpu_seconds"])


def _limit_no_more() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_PROF, 0)


def _opened(head: Head, data: bytes) -> tuple[Head, tuple[bytes, ...]]:
    try:
        return _made(head, data)
    except FileRefused as refused:
        return {"outcome": "refused", "word": refused.code}, ()
    except TooLargeHere:
        return {"outcome": "too_large_here"}, ()
    except Exception as error:  # decoders stumble in many ways over what is made to trip them
        return {"outcome": "refused", "word": "broken_file", "kind": type(error).__name__}, ()


def _made(head: Head, data: bytes) -> tuple[Head, tuple[bytes, ...]]:
    kind = FileKind(head["kind"])
    if kind is FileKind.PDF:
        return {"kind": kind}, (document_anew(data),)
    pixels = Pixels(head["most_pixels"], head["limits"]["pixels"])
    made = decoded_anew(data, kind, pixels)
    told = {"kind": made.kind, "width": made.width, "height": made.height}
    return told, (made.data, made.thumbnail)


if __name__ == "__main__":
    sys.exit(main())
