"""Rows that go into the embedded ledger many to a statement leave what they leave one by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.ledger.sqlite import LOTS, MEMORY, SqliteDriver
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Rows, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[str, int, bytes]

TABLE = "CREATE TABLE t (k text PRIMARY KEY, n bigint NOT NULL, b bytea NOT NULL) WITHOUT ROWID"
ROW = Columns("k text, n int, b bytes")
TAKE = "INSERT INTO t ({columns}) {values} ON CONFLICT (k) DO NOTHING RETURNING k"
SET = "UPDATE t SET n = r.n, b = r.b FROM {rows} WHERE t.k = r.k AND t.n < ?"
PUT = "INSERT INTO t ({columns}) SELECT r.k, r.n, r.b FROM {rows} WHERE r.n >= ?"

keys = st.integers(0, 3 * LOTS[0]).map(str)
values = st.tuples(keys, st.integers(-(2**63), 2**63 - 1), st.binary(max_size=4))
few, some = (st.lists(values, min_size=least, max_size=least + 2 * LOTS[1]) for least in (0, LOTS[0] + 1))
rows = few | some


def a_story(taken: Sequence[Row], changed: Sequence[Row], put: Sequence[Row], limit: int) -> Step[tuple[Rows, Rows]]:
    """Take some in, of which some are there twice; change some; put in others that nobody has."""
    yield (Ask(TABLE),)
    (new,) = yield (Many(TAKE, ROW, taken, returning=True),)
    yield (Many(SET, ROW, changed, (limit,)), Many(PUT, ROW, put, (limit,)))
    (left,) = yield (Ask("SELECT k, n, b FROM t ORDER BY k"),)
    return new, left


@given(taken=rows, changed=rows, limit=st.integers(-(2**63), 2**63 - 1))
def test_many_to_a_statement_is_as_one_by_one(taken: list[Row], changed: list[Row], limit: int) -> None:
    """Of any number of rows: those of full lots, and the rest; with the statement's own parameters after those of its rows."""
    changes = list({row[0]: row for row in changed}.values())
    put = [(f"new{key}", number, more) for key, number, more in changes]
    model: dict[str, tuple[int, bytes]] = {}
    first = [key for key, number, more in taken if model.setdefault(key, (number, more)) is not None]
    for key, number, more in changes:
        if key in model and model[key][0] < limit:
            model[key] = (number, more)
    model |= {key: (number, more) for key, number, more in put if number >= limit}

    driver = SqliteDriver(MEMORY, busy_s=1.0)
    new, left = asyncio.run(driver.run(a_story, taken, changes, put, limit))

    assert sorted(key for (key,) in new) == sorted(set(first))
    assert len(new) == len(set(first))
    assert left == [(key, *model[key]) for key in sorted(model)]
