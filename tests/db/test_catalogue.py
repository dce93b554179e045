"""Departments from the configuration, and doctors found by what people type."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.catalogue import list_departments, list_doctors, load_config
from domain.hospital import Department
from tests.support.catalogue import a_config, a_doctor

pytestmark = pytest.mark.anyio


async def test_loading_the_configuration_twice_changes_nothing_and_a_removed_one_rests(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as connection:
        for _ in range(2):
            await load_config(connection, a_config())
        rows, total = await list_departments(connection, 1, level=None, page=1, size=20)
        assert [(row.id, row.parent_id, row.level) for row in rows] == [
            (1, None, 1), (2, None, 1), (11, 1, 2),
        ]  # fmt: skip
        assert total == 3
        await load_config(connection, a_config(Department(2, "外科部"), Department(21, "骨科", 2)))
        rows, _ = await list_departments(connection, 1, level=None, page=1, size=20)
        assert [(row.id, row.name, row.level) for row in rows] == [
            (2, "外科部", 1),
            (21, "骨科", 2),
        ]
        await load_config(connection, a_config())
        rows, _ = await list_departments(connection, 1, level=2, page=1, size=20)
        assert [row.id for row in rows] == [11]


async def test_an_unknown_hospital_has_no_departments(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await load_config(connection, a_config())
        assert await list_departments(connection, 9, level=None, page=1, size=20) == ([], 0)


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("张", ["张三"]),
        ("zs", ["张三"]),
        ("ZhangSan", ["张三"]),
        ("zhang san", ["张三"]),
        ("高血压", ["李四"]),
        ("100%", ["王五"]),
        ("%", ["王五"]),
        ("_", []),
        ("\\", []),
    ],
)
async def test_a_keyword_finds_by_name_pinyin_initials_and_speciality(
    engine: AsyncEngine, keyword: str, found: list[str]
) -> None:
    async with engine.begin() as connection:
        await load_config(connection, a_config())
        await a_doctor(connection, "张三", pinyin="zhangsan zs")
        await a_doctor(connection, "李四", pinyin="lisi ls", speciality="高血压、冠心病")
        await a_doctor(connection, "王五", pinyin="wangwu ww", speciality="100% 示例")
        rows, total = await list_doctors(
            connection, 1, department_id=None, keyword=keyword, page=1, size=20
        )
    assert [row.name for row in rows] == found
    assert total == len(found)


async def test_a_department_lists_the_doctors_of_those_below_it(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await load_config(connection, a_config())
        await a_doctor(connection, "张三", department_id=11)
        await a_doctor(connection, "李四", department_id=2)

        async def names(department: int | None) -> list[str]:
            rows, _ = await list_doctors(
                connection, 1, department_id=department, keyword=None, page=1, size=20
            )
            return [row.name for row in rows]

        assert await names(None) == ["张三", "李四"]
        assert await names(1) == ["张三"]
        assert await names(11) == ["张三"]
        assert await names(2) == ["李四"]
        assert await names(3) == []
