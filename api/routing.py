"""Where a request goes: each router is asked only for paths that may be its own."""

import re

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope


class Router(APIRouter):
    """FastAPI tries every route of every router in turn until one matches: with some 200 routes
    0.2 ms of CPU for one that comes late. A path that holds no beginning of ours is not ours."""

    _known = 0  # routes that were there when `_beginnings` were read
    _beginnings = re.compile("")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if self.may_have(scope["path"]) else (Match.NONE, {})

    def may_have(self, path: str) -> bool:
        """False only for what no route of ours has, wherever this router is included."""
        if self._known != len(self.routes):
            paths = {literal(str(getattr(route, "path", ""))) for route in self.routes}
            self._beginnings = re.compile("|".join(map(re.escape, sorted(paths))))
            self._known = len(self.routes)
        return self._beginnings.search(path) is not None


def literal(path: str) -> str:
    """What a path begins with, before its first parameter."""
    return path.partition("{")[0].rstrip("/")
