"""Work items (待办): their rows, their birth, their moves, and the worklist."""

from db.work_item.moves import record_move
from db.work_item.openings import (
    find_round,
    insert_work_item,
    load_work_items,
    open_work_item,
    withdraw_work_item,
)
from db.work_item.rows import WorkItemRow
from db.work_item.telling import tell_assignee, tell_escalated
from db.work_item.worklist import (
    Listed,
    Wanted,
    find_work_item,
    list_work_items,
    work_item_by_number,
)

__all__ = [
    "Listed",
    "Wanted",
    "WorkItemRow",
    "find_round",
    "find_work_item",
    "insert_work_item",
    "list_work_items",
    "load_work_items",
    "open_work_item",
    "record_move",
    "tell_assignee",
    "tell_escalated",
    "withdraw_work_item",
    "work_item_by_number",
]
