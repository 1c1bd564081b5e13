"""Leases: one owner per name, and the fence that keeps a former owner from writing.

A lease that has expired but that nobody has taken is still its holder's: only the epoch tells. So a slow process may finish its
step, and loses it the moment somebody else has taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.errors import LeaseLost
from sales_crm_bridge.ledger.schema import refuse_newer
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Set, Step
from sales_crm_bridge.state import Fence, Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Rows

COLUMNS = Columns("name text, holder text, epoch int, until_us int")

# The floor is above every epoch of a lease that was forgotten, so a lease made anew never repeats an epoch. Its row is locked
# here and by ``forget``: a lease cannot be forgotten between the look at the floor and the taking.
FLOOR = "SELECT value FROM meta WHERE name = 'epoch_floor' {share}"
# A takeover waits for the steps under way, which hold their lease; a renewal moves its end alone and waits for none of them, so one
# slow step cannot let all leases of its process run out.
OVERTAKE = "SELECT name FROM leases WHERE name {in} AND until_us <= ? ORDER BY name {update}"
TAKE = """
    INSERT INTO leases ({columns}) {values}
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = leases.epoch + 1, until_us = excluded.until_us
    WHERE leases.until_us <= ?
    RETURNING name, epoch
"""
RENEW = "UPDATE leases SET until_us = ? WHERE holder = ? AND until_us > ? RETURNING name, epoch"
EVERY = f"SELECT {COLUMNS.listed} FROM leases ORDER BY name"  # noqa: S608 - constants
DROP = "UPDATE leases SET until_us = 0 WHERE holder = ? AND name {in}"
FENCED = "SELECT epoch FROM leases WHERE name = ? AND holder = ? AND epoch = ? {hold}"
OLDEST_CODE = "SELECT max(oldest) FROM schema_migrations"


def check(fence: Fence) -> Ask:
    """The work that proves ``fence`` and keeps it proven until the transaction ends; the first one of a fenced step."""
    return Ask(FENCED, (fence.lease, fence.holder, fence.epoch))


def proven(fence: Fence, rows: Rows) -> None:
    """Raise ``LeaseLost`` unless ``rows``, the answer to ``check``, show that the lease is still ours."""
    if not rows:
        raise LeaseLost(
            "lease.lost",
            f"epoch {fence.epoch} of {fence.lease} is over: another process owns it now",
            place=fence.lease,
            remedy="nothing: the new owner goes on from the ledger",
        )


def take(names: Sequence[str], holder: str, now_us: int, until_us: int) -> Step[dict[str, int]]:
    """Take what is free or expired. Sorted, so that two processes that want the same names do not wait for each other."""
    wanted = sorted(set(names))
    (floor,), _ = yield (Ask(FLOOR), Ask(OVERTAKE, (Set("text", wanted), now_us)))
    rows = [(name, holder, floor[0] + 1, until_us) for name in wanted]
    (taken,) = yield (Many(TAKE, COLUMNS, rows, (now_us,), returning=True),)
    return dict(sorted(taken))


def renew(holder: str, now_us: int, until_us: int) -> Step[dict[str, int]]:
    """Renew what is held and not expired; also the place where a running process learns that the schema has outgrown it."""
    ((oldest,), held) = yield (Ask(OLDEST_CODE), Ask(RENEW, (until_us, holder, now_us)))
    refuse_newer(oldest[0])
    return dict(sorted(held))


def drop(holder: str, names: Sequence[str]) -> Step[None]:
    """Give back: free at once, the epoch stays."""
    yield (Ask(DROP, (holder, Set("text", names))),)


def every() -> Step[list[Lease]]:
    """All of them, by name."""
    (rows,) = yield (Ask(EVERY),)
    return [Lease(name=name, holder=holder, epoch=epoch, until_us=until_us) for name, holder, epoch, until_us in rows]
