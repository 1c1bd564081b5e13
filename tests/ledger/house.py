"""What the ledger's tests have in common."""

from collections.abc import Awaitable, Callable

from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import Fence, InboxRow, Intake, NewCommand, TenantRow

FOREVER_US = 10**16

Opener = Callable[[], Awaitable[SqlLedger]]


class House:
    """What most tests begin with: a tenant with a connection whose lease we hold, and intents that come in."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.count = 0

    async def connection(self, tenant: str = "acme") -> tuple[int, Fence]:
        """Accept a tenant and take the lease of its connection."""
        row = TenantRow(
            tenant=tenant, text="", digest="", accepted_us=1, connection="main", adapter="memory", account="1"
        )
        conn = await self.ledger.tenant_accept(row)
        return conn, await self.lease(f"account/{tenant}")

    async def lease(self, name: str, holder: str = "p1", now_us: int = 0) -> Fence:
        """Take a lease that is free or over."""
        epochs = await self.ledger.leases_take([name], holder, now_us, FOREVER_US)
        return Fence(lease=name, holder=holder, epoch=epochs[name])

    def intent(self, conn: int, lead_id: str, message_id: str = "") -> InboxRow:
        """Make an intent for a lead; without a message id it gets a new one."""
        self.count += 1
        command = NewCommand(
            conn=conn,
            lead_id=lead_id,
            operation=Operation.REVISE,
            payload=f"intent {self.count}".encode(),
            occurred_us=self.count,
        )
        return InboxRow(tenant="acme", message_id=message_id or f"m{self.count}", command=command)

    async def intents(self, conn: int, *lead_ids: str) -> None:
        """Take one new intent in for each of ``lead_ids``, in this order."""
        rows = [self.intent(conn, lead_id) for lead_id in lead_ids]
        await self.ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=1))

    async def ready(self, conn: int, now_us: int = 0, *, behind_parked: bool = False) -> list[tuple[str, int]]:
        """Tell which leads have a command to be tried, and its number."""
        found = await self.ledger.commands_ready(conn, now_us, 1000, behind_parked=behind_parked)
        return [(command.lead_id, command.seq) for command in found]
