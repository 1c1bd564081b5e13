"""Real processes that are killed, and real processes that compete: what was acknowledged is whole, nothing is done twice."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.state import Intake
from tests.ledger.house import FOREVER_US, House
from tests.ledger.writer import PER_STEP

HERE = Path(__file__).parent
PATIENCE_S = 120.0


async def start(program: str, *args: str) -> asyncio.subprocess.Process:
    """Start one of our programs."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / program),
        *args,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(HERE.parents[1])},
    )


@pytest.mark.parametrize("acknowledged", [1, 7, 20])
async def test_a_killed_process_leaves_whole_steps(address: str, acknowledged: int) -> None:
    """SIGKILL again and again, in the middle of commits: every acknowledged step is there, and none is there in part."""
    ledger = await open_ledger(address, migrate=True)
    epoch = (await ledger.leases_take(["a"], "w", 0, FOREVER_US))["a"]
    step, told = 0, set[int]()
    for _ in range(3):
        writer = await start("writer.py", address, str(epoch))
        assert writer.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            heard = [await writer.stdout.readline() for _ in range(acknowledged)]
            writer.kill()
            heard += (await writer.stdout.read()).split()
            await writer.wait()
        told.update(map(int, heard))
        # A server may still be at the dead process's last step: as in life, a takeover waits for it and shuts out what is behind.
        await ledger.leases_drop("w", ["a"])
        epoch = (await ledger.leases_take(["a"], "w", 0, FOREVER_US))["a"]
        before, step = step, int((await ledger.positions(1))["step"])
        assert step in {max(told), max(told) + 1}
        assert told >= set(range(before + 1, step))
        facts = await ledger.outbox_read(0, 10**6)
        assert [row.message_id for row in facts] == [f"{at}/{n}" for at in range(1, step + 1) for n in range(PER_STEP)]
        found = await ledger.bindings_by_lead(1, [f"L{n}" for n in range(PER_STEP)])
        assert [row.aggregate_version for row in found.values()] == [step] * PER_STEP
        assert (await ledger.places("t"))[("t", 0)] in {max(told), max(told) + 1}
        taken = [int(one.message_id) for one in await ledger.commands_open(1, ["L"])]
        assert len(taken) == len(set(taken))
        assert told <= set(taken)
    await ledger.close()


async def test_two_processes_never_do_one_piece_of_work_twice(address: str, tmp_path: Path) -> None:
    """Leases that change hands all the time, a process killed in the middle: each command is written once and told once."""
    ledger = await open_ledger(address, migrate=True)
    house = House(ledger)
    conns = [(await house.connection(tenant))[0] for tenant in ("a", "b", "c")]
    rows = [house.intent(conn, f"L{n % 9}") for n in range(40) for conn in conns]
    await ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=1))
    crm = tmp_path / "crm.txt"
    crm.touch()
    workers = [await start("worker.py", address, str(crm), f"w{n}") for n in range(3)]
    async with asyncio.timeout(PATIENCE_S):
        while len(crm.read_bytes().split()) < 30:
            await ledger.wait((), 0.01)
        workers[0].kill()
        await workers[0].wait()
        await ledger.leases_drop("w0", [lease.name for lease in await ledger.leases()])  # as if their time were over
        assert [await worker.wait() for worker in workers[1:]] == [0, 0]
    written = Counter(int(seq) for seq in crm.read_text().split())
    told = Counter(row.message_id for row in await ledger.outbox_read(0, 10**6))
    left = await ledger.command_counts()
    await ledger.close()
    assert left == []
    assert set(told.values()) == {1}
    assert len(told) == len(rows)
    assert set(written.values()) == {1}
    assert len(written) == len(rows)
