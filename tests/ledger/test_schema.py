"""The schema: versioned, upgraded while the previous version works, refused where it does not fit."""

import asyncio
import time
from pathlib import Path

import pytest

from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.ledger import SCHEMA_VERSION, migrate, open_ledger, schema_state
from sales_crm_bridge.ledger.schema import Migration, shipped
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding, Commit, OutboxRow
from tests.ledger.house import House

NAMES = [f"{one.number:04d}_{one.name}" for one in shipped()]

ADDING = Migration(
    number=SCHEMA_VERSION + 1,
    name="adding",
    oldest=SCHEMA_VERSION,
    script="""-- Columns and tables that the version before does not know.
ALTER TABLE bindings ADD COLUMN mood {text} NOT NULL DEFAULT 'calm';
ALTER TABLE commands ADD COLUMN colour {text};
ALTER TABLE outbox ADD COLUMN size bigint NOT NULL DEFAULT 0;
postgresql: CREATE INDEX moods ON bindings (mood) WITH (fillfactor = 90);
CREATE TABLE notes (id {serial}, conn bigint NOT NULL, note {text}) ;
""",
)
BREAKING = Migration(
    number=SCHEMA_VERSION + 2, name="breaking", oldest=SCHEMA_VERSION + 2, script="DROP TABLE notes;\n"
)


def test_the_code_knows_the_newest_migration_it_ships() -> None:
    """Numbers run from 1 without a hole up to SCHEMA_VERSION, and none claims code that is newer than itself."""
    assert [one.number for one in shipped()] == list(range(1, SCHEMA_VERSION + 1))
    assert NAMES[0] == "0001_first"
    assert all(1 <= one.oldest <= one.number for one in shipped())


async def test_an_empty_database_is_refused_with_the_remedy_until_it_is_migrated(address: str) -> None:
    """No table is made unasked; migrate says what it applied, once."""
    state = await schema_state(address)
    assert (state.present, state.pending) == (0, tuple(NAMES))
    assert (state.clock_us > 1_600_000_000_000_000) == address.startswith("postgresql")
    with pytest.raises(EnvironmentFault) as refused:
        await open_ledger(address)
    assert refused.value.code == "ledger.schema-old"
    assert "sales-crm-bridge migrate" in refused.value.remedy
    assert await migrate(address) == NAMES
    assert await migrate(address) == []
    state = await schema_state(address)
    assert (state.present, state.oldest, state.pending) == (SCHEMA_VERSION, 1, ())
    await (await open_ledger(address)).close()


async def test_two_who_migrate_at_once_apply_it_once(address: str) -> None:
    """One does the work, the other finds it done."""
    done = await asyncio.gather(*(migrate(address) for _ in range(4)))
    assert sorted(done) == [[], [], [], NAMES]


async def test_a_schema_is_upgraded_while_the_previous_version_works(address: str, house: House) -> None:
    """A running instance reads and writes on before and after the upgrade, with the statements it prepared before it."""
    conn, fence = await house.connection()

    async def work(start: int) -> None:
        for n in range(start, start + 8):  # often enough that every statement is prepared
            binding = Binding(conn=conn, lead_id=f"L{n}", crm_id=f"C{n}", state=LeadState.LIVE, aggregate_version=n)
            row = OutboxRow(message_id=f"m{n}", fact=b"f", created_us=n)
            await house.ledger.commit(
                fence, Commit(conn=conn, bindings=[binding], outbox=[row], seen=(1, ["elsewhere"]))
            )
            assert (await house.ledger.bindings_by_crm_id(conn, [f"C{n}"]))[f"C{n}"] == binding
            assert len(await house.ledger.outbox_read(0, 99)) == n + 1
            await house.intents(conn, f"L{n}")
            assert len(await house.ready(conn)) == n + 1
            assert "p1" in {lease.holder for lease in await house.ledger.leases()}

    await work(0)
    assert await migrate(address, migrations=[*shipped(), ADDING]) == [f"{ADDING.number:04d}_adding"]
    await work(8)
    assert await house.ledger.leases_renew("p1", 1, 10**16) == {fence.lease: fence.epoch}
    await (await open_ledger(address)).close()


async def test_a_program_that_the_schema_has_outgrown_stops(address: str, house: House) -> None:
    """A contracting migration is refused at the next start, and by a running process with its next renewal."""
    await house.connection()
    await migrate(address, migrations=[*shipped(), ADDING, BREAKING])
    with pytest.raises(EnvironmentFault) as refused:
        await open_ledger(address)
    assert refused.value.code == "ledger.schema-new"
    with pytest.raises(EnvironmentFault) as stopped:
        await house.ledger.leases_renew("p1", 1, 10**16)
    assert stopped.value.code == "ledger.schema-new"


async def test_a_migration_that_fails_leaves_nothing_behind(address: str) -> None:
    """All of an upgrade or nothing: a broken second statement takes the first one back."""
    broken = Migration(
        number=SCHEMA_VERSION + 1,
        name="broken",
        oldest=1,
        script="CREATE TABLE half (id bigint);\nALTER TABLE no ADD x;\n",
    )
    with pytest.raises(Exception, match="ledger"):
        await migrate(address, migrations=[*shipped(), broken])
    assert (await schema_state(address)).present == 0
    assert await migrate(address) == NAMES


@pytest.mark.parametrize("address", ["mysql://x/y", "ledger.db", "sqlite://x", ""])
async def test_an_address_we_do_not_know_is_refused(address: str) -> None:
    """With a code and a remedy, not with a guess."""
    with pytest.raises(EnvironmentFault) as refused:
        await open_ledger(address)
    assert refused.value.code == "ledger.bad-address"


async def test_a_file_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A missing folder, a folder in the file's place, a file that is no database: each an EnvironmentFault with a remedy."""
    (tmp_path / "text").write_text("This is not a database, and long enough to be read as one. " * 100)
    for path, code in (
        (tmp_path / "no" / "x.db", "unreachable"),
        (tmp_path, "unreachable"),
        (tmp_path / "text", "broken"),
    ):
        with pytest.raises(EnvironmentFault) as refused:
            await open_ledger(f"sqlite:///{path}", migrate=True)
        assert refused.value.code == f"ledger.{code}"
        assert refused.value.remedy


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds leads under way: nobody else on the machine may read it, nor its companions."""
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'l.db'}", migrate=True)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}  # noqa: ASYNC240 - a test
    await ledger.close()
    assert modes.keys() >= {"l.db", "l.db-wal"}
    assert set(modes.values()) == {0o600}


async def test_what_is_done_is_not_left_in_the_file(tmp_path: Path) -> None:
    """A published fact and a finished command's intent are overwritten, not merely unlinked (rule 15)."""
    path = tmp_path / "l.db"
    ledger = await open_ledger(f"sqlite:///{path}", migrate=True)
    house = House(ledger)
    conn, fence = await house.connection()
    secret = b"jane.doe@example.com " * 40
    rows = [OutboxRow(message_id=f"m{n}", fact=secret, created_us=1) for n in range(50)]
    await ledger.commit(fence, Commit(conn=conn, outbox=rows))
    await ledger.close()
    assert secret in path.read_bytes()
    ledger = await open_ledger(f"sqlite:///{path}")
    await ledger.outbox_done(fence, [row.seq for row in await ledger.outbox_read(0, 99)], [])
    await ledger.close()
    assert b"jane.doe" not in path.read_bytes()


async def test_a_clock_that_is_far_off_the_servers_is_refused(address: str) -> None:
    """Ahead or behind by more than the limit; not by what the question itself took; a database in the process has no clock."""
    before_us = time.time_ns() // 1000
    state = await schema_state(address)
    after_us = time.time_ns() // 1000
    state.check_clock(before_us, after_us, 2.5)
    state.check_clock(before_us - 10_000_000, after_us + 10_000_000, 2.5)
    for off_us in (-3_600_000_000, 3_600_000_000):
        if not state.clock_us:
            state.check_clock(before_us + off_us, after_us + off_us, 2.5)
            continue
        with pytest.raises(EnvironmentFault) as refused:
            state.check_clock(before_us + off_us, after_us + off_us, 2.5)
        assert refused.value.code == "ledger.clock-skew"
