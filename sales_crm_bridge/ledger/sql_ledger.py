"""``ports.Ledger`` over a driver: which step stands behind which method, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.errors import Bug
from sales_crm_bridge.ledger import (
    bindings,
    census,
    commands,
    commits,
    drifts,
    house,
    inquiries,
    leases,
    letters,
    matches,
    notices,
    outbox,
    tenants,
)
from sales_crm_bridge.ledger.steps import Collision, Ring, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.drift import Drift, Kinds, Quarantine
    from sales_crm_bridge.ledger.steps import Driver
    from sales_crm_bridge.model import LeadState, TopicPartition
    from sales_crm_bridge.state import (
        Answer,
        Binding,
        Census,
        ClosedLetter,
        Closing,
        Command,
        CommandCounts,
        Commit,
        ConnectionRow,
        DeadLetter,
        Fence,
        Gap,
        Glance,
        Inquiry,
        Intake,
        Known,
        Lease,
        Match,
        NoticeRow,
        OutboxRow,
        Refusal,
        Run,
        Standing,
        TenantRow,
    )


class SqlLedger:
    """The ledger in a database; the methods are told in ``ports.Ledger``."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def leases_take(self, names: Sequence[str], holder: str, now_us: int, until_us: int) -> dict[str, int]:
        """See ``ports.Ledger``."""
        return await self._driver.run(leases.take, names, holder, now_us, until_us)

    async def leases_renew(self, holder: str, now_us: int, until_us: int) -> dict[str, int]:
        """See ``ports.Ledger``."""
        return await self._driver.run(leases.renew, holder, now_us, until_us)

    async def leases_drop(self, holder: str, names: Sequence[str]) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(leases.drop, holder, names)

    async def leases(self) -> list[Lease]:
        """See ``ports.Ledger``."""
        return await self._driver.look(leases.every)

    async def tenants(self) -> list[TenantRow]:
        """See ``ports.Ledger``."""
        return await self._driver.look(tenants.every)

    async def tenancy(self) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.look(tenants.number)

    async def tenant_accept(self, row: TenantRow) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.run(tenants.accept, row)

    async def connection_make(self, row: TenantRow) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.run(tenants.make_connection, row)

    async def connection_find(self, tenant: str, name: str) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.look(tenants.find_connection, tenant, name)

    async def tenant_retire(self, tenant: str, retired_us: int) -> bool:
        """See ``ports.Ledger``."""
        return await self._driver.run(tenants.retire, tenant, retired_us)

    async def connections(self, conn: int = 0) -> list[ConnectionRow]:
        """See ``ports.Ledger``."""
        return await self._driver.look(tenants.connections, conn)

    async def keep_load(self, conn: int) -> bytes:
        """See ``ports.Ledger``."""
        return await self._driver.look(tenants.keep_load, conn)

    async def keep_save(self, fence: Fence, conn: int, sealed: bytes) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(tenants.keep_save, fence, conn, sealed)

    async def calls_count(self, fence: Fence, conn: int, day: str, more: int) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.run(tenants.calls_count, fence, conn, day, more)

    async def connection_say(self, conn: int, state: str, code: str, message: str, remedy: str, now_us: int) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(tenants.say, conn, state, code, message, remedy, now_us)

    async def places(self, topic: str) -> dict[TopicPartition, int]:
        """See ``ports.Ledger``."""
        return await self._driver.look(commands.places, topic)

    async def take(self, intake: Intake) -> Sequence[bool]:
        """See ``ports.Ledger``."""
        return await self._driver.run(commands.take, intake)

    async def rewind(self, topic: str, to_us: int, rows: Sequence[TenantRow]) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.run(commands.rewind, topic, to_us, rows)

    async def known(self, tenant: str, message_id: str) -> Known | None:
        """See ``ports.Ledger``."""
        return await self._driver.look(commands.known, tenant, message_id)

    async def bindings_by_crm_id(self, conn: int, crm_ids: Sequence[str]) -> dict[str, Binding]:
        """See ``ports.Ledger``."""
        return await self._driver.look(bindings.by_crm_id, conn, crm_ids)

    async def bindings_by_lead(self, conn: int, lead_ids: Sequence[str]) -> dict[str, Binding]:
        """See ``ports.Ledger``."""
        return await self._driver.look(bindings.by_lead, conn, lead_ids)

    async def bindings_unseen(self, conn: int, sweep: int, after: str, limit: int) -> list[Binding]:
        """See ``ports.Ledger``."""
        return await self._driver.look(bindings.unseen, conn, sweep, after, limit)

    async def bindings_bound(self, conn: int, after: str, limit: int) -> list[tuple[str, str, LeadState]]:
        """See ``ports.Ledger``."""
        return await self._driver.look(bindings.bound, conn, after, limit)

    async def commands_ready(self, conn: int, now_us: int, limit: int, *, behind_parked: bool) -> list[Command]:
        """See ``ports.Ledger``."""
        return await self._driver.look(commands.ready, conn, now_us, limit, behind_parked=behind_parked)

    async def commands_open(self, conn: int, lead_ids: Sequence[str]) -> list[Command]:
        """See ``ports.Ledger``."""
        return await self._driver.look(commands.open_of, conn, lead_ids)

    async def commands_next_us(self, conn: int) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.look(commands.next_us, conn)

    async def layouts(self) -> dict[int, tuple[str, ...]]:
        """See ``ports.Ledger``."""
        return await self._driver.look(house.layouts)

    async def layout(self, names: tuple[str, ...]) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.run(house.layout, names)

    async def positions(self, conn: int) -> dict[str, bytes]:
        """See ``ports.Ledger``."""
        return await self._driver.look(house.positions, conn)

    async def sending(self, fence: Fence, conn: int, seqs: Sequence[int]) -> None:
        """See ``ports.Ledger``. Raises ``Bug`` for a command that is not the oldest open one of its lead."""
        await self._driver.run(commands.sending, fence, conn, seqs)

    async def orphans(self, fence: Fence, conn: int, not_before_us: int) -> list[str]:
        """See ``ports.Ledger``."""
        return await self._driver.run(commands.orphans, fence, conn, not_before_us)

    async def commit(self, fence: Fence, commit: Commit) -> None:
        """See ``ports.Ledger``. Raises ``Bug`` when a CRM id is bound that another lead keeps."""
        try:
            await self._driver.run(commits.commit, fence, commit, free_first=False)
        except Collision:
            try:
                await self._driver.run(commits.commit, fence, commit, free_first=True)
            except Collision as error:
                raise Bug(
                    "bug.crm-id-bound-twice", "a CRM record is bound to a second lead", place=fence.lease
                ) from error

    async def drift(self, fence: Fence, drift: Drift) -> None:
        """See ``review.Drifts``."""
        await self._driver.run(drifts.drift, fence, drift, free_first=True)

    async def quarantines(self, conn: int) -> list[Quarantine]:
        """See ``review.Drifts``."""
        return await self._driver.look(drifts.of_conn, conn)

    async def field_kinds(self, conn: int) -> Kinds | None:
        """See ``review.Drifts``."""
        return await self._driver.look(drifts.kinds, conn)

    async def commands_held(self, conn: int, after: int, limit: int) -> list[Command]:
        """See ``review.Drifts``."""
        return await self._driver.look(drifts.held, conn, after, limit)

    async def commands_held_of(self, conn: int, lead_ids: Sequence[str]) -> list[Command]:
        """See ``review.Drifts``."""
        return await self._driver.look(drifts.held_of, conn, lead_ids)

    async def inquire(self, inquiry: Inquiry, now_us: int) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(inquiries.ask, inquiry, now_us)

    async def inquiries(self, conn: int, now_us: int, limit: int) -> list[Inquiry]:
        """See ``ports.Ledger``."""
        return await self._driver.look(inquiries.unanswered, conn, now_us, limit)

    async def answer(self, fence: Fence, answers: Sequence[Answer], now_us: int) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(inquiries.give, fence, answers, now_us)

    async def answers_take(self, ids: Sequence[str]) -> dict[str, Answer]:
        """See ``ports.Ledger``."""
        return await self._driver.run(inquiries.take, ids)

    async def inquiry_drop(self, name: str) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(inquiries.drop, name)

    async def outbox_read(self, after_seq: int, limit: int) -> list[OutboxRow]:
        """See ``ports.Ledger``."""
        return await self._driver.look(outbox.read, after_seq, limit)

    async def outbox_lanes(self, after_conn: int, limit: int) -> list[int]:
        """See ``ports.Ledger``."""
        return await self._driver.look(outbox.lanes, after_conn, limit)

    async def outbox_read_lanes(self, conns: Sequence[int], limit: int) -> list[OutboxRow]:
        """See ``ports.Ledger``."""
        return await self._driver.look(outbox.read_lanes, conns, limit)

    async def outbox_done(self, fence: Fence, acked: Sequence[int], dead: Sequence[tuple[int, DeadLetter]]) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(outbox.done, fence, acked, dead)

    async def outbox_depth(self, conn: int = 0) -> tuple[int, int]:
        """See ``ports.Ledger``."""
        return await self._driver.look(outbox.depth, conn)

    async def runs(self, conn: int, limit: int, *, running: bool = False) -> list[Run]:
        """See ``ports.Ledger``."""
        return await self._driver.look(house.runs, conn, limit, running=running)

    async def gaps(self, conn: int) -> list[Gap]:
        """See ``ports.Ledger``."""
        return await self._driver.look(house.gaps, conn)

    async def gaps_untold(self, conn: int) -> list[Gap]:
        """See ``ports.Ledger``."""
        return await self._driver.look(house.gaps_untold, conn)

    async def gaps_closed(self, limit: int) -> list[Gap]:
        """See ``ports.Ledger``."""
        return await self._driver.look(house.gaps_closed, limit)

    async def gap_close(self, name: str, who: str, why: str, now_us: int) -> bool:
        """See ``ports.Ledger``."""
        return await self._driver.run(house.gap_close, name, who, why, now_us)

    async def dead_letters(self, tenant: str, limit: int, *, code: str = "", after: int = 0) -> list[DeadLetter]:
        """See ``ports.Ledger``."""
        return await self._driver.look(letters.listed, tenant, code, after, limit)

    async def dead_letters_named(self, ids: Sequence[int]) -> list[DeadLetter]:
        """See ``ports.Ledger``."""
        return await self._driver.look(letters.named, ids)

    async def dead_letters_from(self, sources: Sequence[str]) -> list[DeadLetter]:
        """See ``ports.Ledger``."""
        return await self._driver.look(letters.of_sources, sources)

    async def dead_letters_last(self) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.look(letters.newest)

    async def dead_letters_closed(self, limit: int) -> list[ClosedLetter]:
        """See ``ports.Ledger``."""
        return await self._driver.look(letters.closed, limit)

    async def dead_letters_close(self, closing: Closing) -> list[int]:
        """See ``ports.Ledger``."""
        return await self._driver.run(letters.close, closing)

    async def commands_parked(self, seqs: Sequence[int]) -> list[Command]:
        """See ``ports.Ledger``."""
        return await self._driver.look(letters.parked, seqs)

    async def matches(self, tenant: str, limit: int, *, after: int = 0, decided: bool = False) -> list[Match]:
        """See ``ports.Ledger``."""
        if decided:
            return await self._driver.look(matches.decided, tenant, limit)
        return await self._driver.look(matches.proposed, tenant, after, limit)

    async def matches_named(self, ids: Sequence[int]) -> list[Match]:
        """See ``ports.Ledger``."""
        return await self._driver.look(matches.named, ids)

    async def matches_of(self, conn: int, lead_ids: Sequence[str]) -> list[Match]:
        """See ``ports.Ledger``."""
        return await self._driver.look(matches.of_leads, conn, lead_ids)

    async def command_counts(self) -> list[CommandCounts]:
        """See ``ports.Ledger``."""
        return await self._driver.look(commands.counts)

    async def forget(
        self, finished_before_us: int, inbox_before_us: int, runs_before_us: int, limit: int, *, now_us: int = 0
    ) -> int:
        """See ``ports.Ledger``."""
        return await self._driver.run(
            house.forget, finished_before_us, inbox_before_us, runs_before_us, limit, now_us=now_us
        )

    async def hear(self, conn: int, crm_ids: Sequence[str], now_us: int, rows_max: int) -> bool:
        """See ``ports.Ledger``."""
        return await self._driver.run(notices.hear, conn, crm_ids, now_us, rows_max)

    async def notices(self, conn: int, limit: int) -> list[NoticeRow]:
        """See ``ports.Ledger``."""
        return await self._driver.look(notices.oldest, conn, limit)

    async def census(self) -> Census:
        """See ``ports.Ledger``."""
        return await self._driver.look(census.take)

    async def standing(self, conn: int) -> Standing | None:
        """See ``ports.Ledger``."""
        return await self._driver.look(census.standing, conn)

    async def glance(self, fence: Fence, seen: Glance) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(census.glance, fence, seen)

    async def refuse(self, holder: str, refusals: Sequence[Refusal]) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(census.refuse, holder, refusals)

    async def ring(self, bell: str) -> None:
        """See ``ports.Ledger``."""
        await self._driver.run(_ring, bell)

    async def wait(self, bells: Sequence[str], seconds: float) -> None:
        """See ``ports.Ledger``."""
        if bells:
            await self._driver.listen()
        await self._driver.bells.wait(bells, seconds)

    async def close(self) -> None:
        """See ``ports.Ledger``."""
        await self._driver.close()


def _ring(bell: str) -> Step[None]:
    yield (Ring(bell),)
