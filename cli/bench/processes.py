"""Which processes serve a port, and the memory they take. On Linux; elsewhere nobody is found."""

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
LISTENS = "0A"


def serving(port: int) -> list[int]:
    """The process ids of those who listen on this TCP port and may be looked at; where one hands
    connections round (`runtime/door.py`), of those behind its door."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    found = []
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if any(_target(link) in inodes for link in (folder / "fd").iterdir()):
                found.append(int(folder.name))
    return sorted(_behind_the_door(found) or found)


def _behind_the_door(listening: list[int]) -> list[int]:
    found = []
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in listening and b"--door" in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _target(link: Path) -> str:
    with suppress(OSError):  # closed meanwhile, as ours is that lists them
        return str(link.readlink())
    return ""


def resident(pid: int) -> float:
    """MiB; 0 when it is gone."""
    with suppress(OSError, StopIteration):
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024
    return 0.0


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[9])
    return found
