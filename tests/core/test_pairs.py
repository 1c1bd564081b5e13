"""Files of pairs as people make them: read line by line, bad ones told with their number, contradictions found."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge import pairs
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.pairs import LINE_BYTES_MAX, Spool, pairs_of
from sales_crm_bridge.policy.seeding import Misfit, Pair


def read(text: str | bytes) -> list[Pair | Misfit]:
    raw = text if isinstance(text, bytes) else text.encode()
    return list(pairs_of(io.BytesIO(raw), "pairs.csv"))


@pytest.mark.parametrize(
    "text",
    [
        "lead_id,crm_id\nL-1,70\nL-2,71\n",
        "\ufefflead_id,crm_id\r\nL-1,70\r\nL-2,71",
        'crm_id;name;lead_id\n70;Ada;L-1\n71;"a;b";L-2\n',
        'lead_id\tcrm_id\n"L-1"\t70\nL-2\t71\n',
        '{"lead_id": "L-1", "crm_id": 70}\n{"crm_id": "71", "lead_id": "L-2", "state": "live"}\n',
    ],
)
def test_each_form_gives_the_same_pairs(text: str) -> None:
    """Comma, semicolon and tab, a byte order mark, other columns, JSON Lines with a number for an id."""
    assert read(text) == [Pair(2 - text.startswith("{"), "L-1", "70"), Pair(3 - text.startswith("{"), "L-2", "71")]


def test_a_bad_line_is_told_and_spoils_no_other() -> None:
    """A cell too few, a quote that is left open, bytes that are no UTF-8, a line without an end, ids that can be none."""
    lines = [
        b"lead_id,crm_id",
        b"L-1",
        b'"L-2,70',
        b"L-\xff,70",
        b"L-4," + b"7" * LINE_BYTES_MAX * 3,
        b"",
        b"L-6,",
        b" L-7,70",
        b"L-8," + b"x" * 600,
        b"L-9,79",
    ]
    found = read(b"\n".join(lines))
    bad = [(one.line, one.code) for one in found if isinstance(one, Misfit)]
    assert bad == [
        *((line, "bindings.bad-line") for line in (2, 3, 4, 5)),
        *((line, "bindings.id-unusable") for line in (7, 8, 9)),
    ]
    assert found[-1] == Pair(10, "L-9", "79")
    assert all(one.remedy for one in found if isinstance(one, Misfit))


@pytest.mark.parametrize("text", ["", "\n\n", "L-1,70\nL-2,71\n", "lead_id,lead_id,crm_id\n", b"\xff\xfe", "[1]\n"])
def test_a_file_of_another_form_is_refused_whole(text: str | bytes) -> None:
    """Without a header nobody knows which column is which."""
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert refused.value.code == "bindings.bad-file"


def test_a_json_line_that_is_none_is_told() -> None:
    """Not closed, a list, an id that is an object."""
    found = read('{"lead_id": "L-1", "crm_id": "70"}\n{"lead_id": \n[1]\n{"lead_id": {}, "crm_id": 1}\n')
    assert [one.line for one in found if isinstance(one, Misfit)] == [2, 3, 4]


def spooled(found: list[Pair | Misfit]) -> tuple[list[Pair], list[Misfit], int]:
    with Spool() as spool:
        misfits = list(spool.fill(found))
        assert spool.lines == len(found)
        return [pair for batch in spool.batches(2) for pair in batch], misfits, spool.repeated


def test_pairs_that_contradict_each_other_are_all_left_out() -> None:
    """Of a lead with two records and of a record with two leads nobody can say which is right; a repeated pair counts once."""
    found = [
        Pair(2, "A", "1"),
        Pair(3, "B", "2"),
        Pair(4, "A", "3"),
        Pair(5, "C", "2"),
        Pair(6, "D", "4"),
        Pair(7, "D", "4"),
        Pair(8, "E", "5"),
    ]
    good, misfits, repeated = spooled([*found])
    assert good == [Pair(6, "D", "4"), Pair(8, "E", "5")]
    assert repeated == 1
    assert {(one.line, one.code) for one in misfits} == {(line, "bindings.twice-in-file") for line in (2, 3, 4, 5)}
    assert "first on line 2" in next(one.message for one in misfits if one.line == 4)


ids = st.sampled_from("abcd")


@given(st.lists(st.tuples(ids, ids), max_size=12), st.integers(1, 4))
def test_what_is_left_is_one_to_one_and_every_line_has_one_fate(rows: list[tuple[str, str]], at_once: int) -> None:
    """Whatever the file holds and however it is cut: no two pairs share a side, and nothing is counted twice or not at all."""
    before, pairs.SPOOLED = pairs.SPOOLED, at_once
    try:
        good, misfits, repeated = spooled([Pair(line, *row) for line, row in enumerate(rows, 2)])
    finally:
        pairs.SPOOLED = before
    assert len({one.lead_id for one in good}) == len({one.crm_id for one in good}) == len(good)
    assert len(good) + len(misfits) + repeated == len(rows)
    assert len({one.line for one in misfits}) == len(misfits)
