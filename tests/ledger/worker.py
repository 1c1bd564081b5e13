"""A process that works on accounts it has the lease of, as the bridge does, against a CRM that is a file.

It takes and loses leases all the time, and tells nothing: the ledger and the file are what is judged.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from sales_crm_bridge.bells import BELL_OUTBOX
from sales_crm_bridge.errors import LeaseLost, LedgerBusy
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.state import Command, CommandChange, CommandState, Commit, Fence, OutboxRow

NOW_US, UNTIL_US = 1, 10**16  # leases change hands by being given back, so no slow machine loses one by surprise


def done(commands: list[Command]) -> tuple[list[CommandChange], list[OutboxRow]]:
    """Make what a successful write leaves behind."""
    changes = [
        CommandChange(seq=one.seq, state=CommandState.DONE, attempt=one.attempt, finished_us=1) for one in commands
    ]
    return changes, [OutboxRow(message_id=f"command {one.seq}", fact=b"f", created_us=1) for one in commands]


async def work(ledger: SqlLedger, crm: Path, conn: int, fence: Fence, dice: random.Random) -> None:
    """One round: settle by reading back, write what is due, commit what became of it."""
    found = await ledger.commands_ready(conn, NOW_US, 3, behind_parked=False)
    unknown = [one for one in found if one.state is CommandState.UNKNOWN]
    written = set(crm.read_text().split())  # noqa: ASYNC240 - one task, nobody waits
    settled = [one for one in unknown if str(one.seq) in written]
    again = [one for one in unknown if str(one.seq) not in written]
    changes, facts = done(settled)
    changes += [CommandChange(seq=one.seq, state=CommandState.PENDING, attempt=one.attempt) for one in again]
    if changes:
        await ledger.commit(fence, Commit(conn=conn, commands=changes, outbox=facts))
    pending = [one for one in found if one.state is CommandState.PENDING]
    if not pending:
        return
    await ledger.sending(fence, conn, [one.seq for one in pending])
    with crm.open("ab", buffering=0) as file:  # the CRM takes one record at a time, at once
        for one in pending:
            file.write(f"{one.seq}\n".encode())
    if dice.random() < 0.3:  # give others the time to take over: this commit may then come too late
        await ledger.leases_drop(fence.holder, [fence.lease])
        await ledger.wait((), 0.02)
    changes, facts = done(pending)
    await ledger.commit(fence, Commit(conn=conn, commands=changes, outbox=facts))


async def main(address: str, crm: Path, holder: str) -> None:
    """Until no command is open: take leases, work, give some back."""
    dice = random.Random(holder)
    ledger = await open_ledger(address)
    conns = {f"account/{row.conn}": row.conn for row in await ledger.connections()}
    opened: dict[str, int] = {}
    while sum(counts.open for counts in await ledger.command_counts()):
        try:
            held = await ledger.leases_renew(holder, NOW_US, UNTIL_US)
            held |= await ledger.leases_take(sorted(conns), holder, NOW_US, UNTIL_US)
            for name, epoch in held.items():
                fence = Fence(lease=name, holder=holder, epoch=epoch)
                if opened.get(name) != epoch:
                    await ledger.orphans(fence, conns[name], 0)
                    opened[name] = epoch
                await work(ledger, crm, conns[name], fence, dice)
            if held and dice.random() < 0.4:
                await ledger.leases_drop(holder, [dice.choice(sorted(held))])
        except (LeaseLost, LedgerBusy):
            continue
        await ledger.wait([BELL_OUTBOX], 0.01)
    await ledger.close()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
