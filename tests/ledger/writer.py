"""A process that commits numbered steps and tells each one that was acknowledged; it is killed in the middle of that."""

import asyncio
import sys

from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import LeadState, Operation
from sales_crm_bridge.state import Binding, Commit, Fence, InboxRow, Intake, NewCommand, OutboxRow

PER_STEP = 40


async def main(address: str, epoch: int) -> None:
    """Go on from the stored step, for ever."""
    ledger = await open_ledger(address)
    fence = Fence(lease="a", holder="w", epoch=epoch)
    step = int((await ledger.positions(1)).get("step", b"0"))
    while True:
        step += 1
        await ledger.commit(
            fence,
            Commit(
                conn=1,
                bindings=[
                    Binding(conn=1, lead_id=f"L{n}", crm_id=f"C{n}", state=LeadState.LIVE, aggregate_version=step)
                    for n in range(PER_STEP)
                ],
                outbox=[OutboxRow(message_id=f"{step}/{n}", fact=bytes(500), created_us=step) for n in range(PER_STEP)],
                positions={"step": str(step).encode()},
            ),
        )
        command = NewCommand(conn=1, lead_id="L", operation=Operation.CREATE, payload=b"p", occurred_us=step)
        row = InboxRow(tenant="t", message_id=str(step), command=command)
        await ledger.take(Intake(rows=[row], dead=(), offsets={("t", 0): step}, now_us=step))
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
