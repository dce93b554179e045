"""What everybody may look up without logging in."""

import httpx
import pytest

from api.context import Context
from db.catalogue import load_config
from tests.support.catalogue import a_config, a_doctor

pytestmark = pytest.mark.anyio


@pytest.fixture
async def doctors(context: Context) -> list[int]:
    async with context.engine.begin() as connection:
        await load_config(connection, a_config())
        return [
            await a_doctor(connection, "张三", pinyin="zhangsan zs", speciality="高血压"),
            await a_doctor(connection, "李四", pinyin="lisi ls", department_id=2, level="resident"),
        ]


async def test_departments_are_a_tree_in_rows(
    client: httpx.AsyncClient, doctors: list[int]
) -> None:
    answer = await client.get("/departments", params={"hospitalId": 1})
    assert answer.status_code == 200
    assert answer.json() == {
        "items": [
            {"id": 1, "name": "内科", "parentId": None, "level": 1},
            {"id": 2, "name": "外科", "parentId": None, "level": 1},
            {"id": 11, "name": "心血管内科", "parentId": 1, "level": 2},
        ],
        "total": 3,
        "page": 1,
        "size": 20,
    }


async def test_departments_come_by_level_and_page(
    client: httpx.AsyncClient, doctors: list[int]
) -> None:
    top = (await client.get("/departments", params={"level": 1, "size": 1, "page": 2})).json()
    assert [item["id"] for item in top["items"]] == [2]
    assert (top["total"], top["page"], top["size"]) == (2, 2, 1)


async def test_an_unknown_hospital_is_an_empty_page(
    client: httpx.AsyncClient, doctors: list[int]
) -> None:
    answer = await client.get("/departments", params={"hospitalId": 99})
    assert answer.json() == {"items": [], "total": 0, "page": 1, "size": 20}


async def test_a_doctor_is_shown_with_prices_and_null_where_nothing_is_offered(
    client: httpx.AsyncClient, doctors: list[int]
) -> None:
    shown = (await client.get(f"/doctors/{doctors[0]}")).json()
    assert shown == {
        "id": doctors[0],
        "name": "张三",
        "title": "主任医师",
        "level": "chief",
        "departmentId": 11,
        "departmentName": "心血管内科",
        "introduction": "",
        "speciality": "高血压",
        "rating": None,
        "prices": {"registration": 50.0, "text": 99.9, "video": None, "phone": None},
        "online": False,
    }
    free = (await client.get(f"/doctors/{doctors[1]}")).json()
    assert free["prices"]["registration"] == 0


async def test_doctors_are_found_by_department_and_keyword(
    client: httpx.AsyncClient, doctors: list[int]
) -> None:
    async def names(**query: str | int) -> list[str]:
        answer = (await client.get("/doctors", params=query)).json()
        assert answer["total"] == len(answer["items"])
        return [item["name"] for item in answer["items"]]

    assert await names() == ["张三", "李四"]
    assert await names(departmentId=1) == ["张三"]
    assert await names(keyword="ls") == ["李四"]
    assert await names(keyword="高血压") == ["张三"]
    assert await names(keyword="  ") == ["张三", "李四"]
    assert await names(keyword="%") == []
    assert await names(departmentId=1, keyword="ls") == []


async def test_an_unknown_doctor_is_not_found(
    client: httpx.AsyncClient, doctors: list[int]
) -> None:
    answer = await client.get("/doctors/999999")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/doctors?size=101", "size"),
        ("/doctors?page=0", "page"),
        ("/doctors?page=99999999999999999999", "page"),
        ("/doctors?departmentId=abc", "departmentId"),
        ("/doctors?departmentId=99999999999999999999", "departmentId"),
        ("/departments?hospitalId=x", "hospitalId"),
        ("/doctors/abc", "id"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, doctors: list[int], path: str, field: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
