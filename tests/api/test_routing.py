"""A router is asked for the paths that may be its own, and for no others."""

import re

import httpx
import pytest
from fastapi import FastAPI

from api.app import ROUTERS
from api.routing import Router, literal

PATHS = [(router, route.path) for router in ROUTERS for route in router.routes]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("router", "path"), PATHS)
def test_every_path_of_a_router_is_one_that_it_is_asked_for(router: Router, path: str) -> None:
    asked = "/api/hospital" + re.sub(r"{[^}]+}", "7", path)
    assert router.may_have(asked)


def test_it_is_not_asked_for_the_paths_of_others() -> None:
    router = Router(prefix="/beds")
    router.add_api_route("/{id}/linen", lambda: None)
    assert not router.may_have("/api/hospital/wards/1")
    assert not router.may_have("/")


def test_where_a_path_begins_with_a_parameter_it_is_asked_for_all() -> None:
    router = Router()
    router.add_api_route("/{anything}", lambda: None)
    assert router.may_have("/api/hospital/wards")


@pytest.mark.anyio
async def test_what_is_added_after_the_first_request_is_found() -> None:
    app, router = FastAPI(), Router()
    router.add_api_route("/beds", lambda: 1)
    app.include_router(router, prefix="/api")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://beds") as client:
        assert (await client.get("/api/beds")).json() == 1
        router.add_api_route("/wards", lambda: 2)
        assert (await client.get("/api/wards")).json() == 2


def test_the_literal_part_ends_before_the_first_parameter() -> None:
    paths = {"/a/b": "/a/b", "/a/{id}/b": "/a", "/{id}": "", "/a/": "/a"}
    assert {path: literal(path) for path in paths} == paths
