"""Pull: read what changed in the CRM, page by page, and tell of it. One page is one transaction."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge import gaps
from sales_crm_bridge.errors import ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import FeedKind, LeadState, Record
from sales_crm_bridge.policy import sight, walks
from sales_crm_bridge.reading import READ_BATCH, Reader, sort
from sales_crm_bridge.state import Commit, DeadLetter, Run
from sales_crm_bridge.tracing import NOTHING
from sales_crm_bridge.warden import FIELDS, Warden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.errors import RuntimeFault
    from sales_crm_bridge.model import Page
    from sales_crm_bridge.policy.sight import Book
    from sales_crm_bridge.policy.walks import Standing, Walk
    from sales_crm_bridge.state import Binding, NoticeRow

log = logging.getLogger(__name__)

NOTICES = "notices"
"""Where a feed is named: what came of reading the records that webhooks hint at."""


class Puller:
    """Walks the feeds of one connection. Make one per lease; ``step`` does the next thing that is due."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reader = Reader(desk)
        self._walks = walks.walks(desk.adapter.feeds(), desk.pace)
        self._standings: dict[str, Standing] = {}
        self._runs: dict[str, Run] = {}
        self._faults: dict[str, CrmUnavailable | ConnectionStopped] = {}
        self._noticed = False
        self._notices_due_us = 0
        self._notices_failures = 0
        self._warden = Warden(desk, self._reader)
        self._span = NOTHING

    async def open(self) -> None:
        """Take up the walks where the ledger says they stand; a walk it does not know begins now."""
        desk = self._desk
        now_us = desk.clock.now_us()
        stored = await desk.ledger.positions(desk.conn)
        begun: dict[str, bytes] = {}
        for walk in self._walks:
            standing = walks.decode(stored.get(walk.name))
            if standing is None:
                standing = walks.first(walk, desk.speaker.crm_now_us(), desk.pace, now_us)
                begun[walk.name] = walks.encode(standing)
            self._standings[walk.name] = standing
        running = {run.feed: run for run in reversed(await desk.ledger.runs(desk.conn, 100, running=True))}
        self._runs = {name: run for name, run in running.items() if run.number == self._run_of(name)}
        self._desk.books.facts = next((row.facts for row in await desk.ledger.connections(desk.conn)), 0)
        if begun:
            await desk.commit(Commit(conn=desk.conn, positions=begun))
        desk.books.facts = await gaps.tell(desk, desk.books.facts)
        await self._warden.open()
        self._read_again()

    def _run_of(self, name: str) -> int:
        standing = self._standings.get(name)
        return standing.run if standing is not None else -1

    @property
    def standings(self) -> dict[str, Standing]:
        """Where each walk stands, for status."""
        return dict(self._standings)

    def imported(self) -> bool:
        """Whether the first sweep has been read to its end."""
        sweep = next(walk for walk in self._walks if walk.turn is walks.Pass.SWEEP)
        standing = self._standings[sweep.name]
        return standing.run > 1 or (standing.run == 1 and standing.position is None and standing.absent is None)

    @property
    def runs(self) -> dict[str, Run]:
        """The newest run of each walk that this puller has taken a page of."""
        return dict(self._runs)

    def hurry(self, *, everything: bool = False) -> None:
        """Make the walks that meet changes first (or all) due now: something has hinted at a change."""
        for walk in self._walks:
            if everything or walk.news:
                standing = self._standings[walk.name]
                self._standings[walk.name] = msgspec.structs.replace(standing, due_us=0)

    @property
    def trouble(self) -> RuntimeFault | None:
        """What stands in the way of the most urgent walk that does not get on; None: all is well."""
        names = (FIELDS, NOTICES, *(walk.name for walk in self._walks))
        return next((self._faults[name] for name in names if name in self._faults), None)

    async def step(self) -> float:
        """Read what notices name, or a page of the most urgent walk that is due; gives the seconds until more is due (0: now).

        Where both are due they take turns, so a flood of notices holds up no walk.

        A CRM that does not answer, or will not let us, holds up the walk that met it: that is written down, told, and tried again
        after a growing pause, while the others go on. Raises ``LeaseLost`` and what the ledger raises.
        """
        desk = self._desk
        if await self._warden.tend(self._faults):
            self._read_again()
            return 0.0
        now_us = desk.clock.now_us()
        walk, due_us = walks.most_urgent(self._walks, self._standings, now_us)
        notices = await desk.ledger.notices(desk.conn, READ_BATCH)
        noticed_us = self._noticed_us(notices)
        self._noticed = bool(notices) and noticed_us <= now_us and (walk is None or not self._noticed)
        if walk is None and not self._noticed:
            return max(0.0, (min(due_us, noticed_us or due_us, self._warden.due_us) - now_us) / 1e6)
        await desk.room()
        began_us = desk.clock.now_us()
        work: Callable[[], Awaitable[None]]
        failed: Callable[[CrmUnavailable | ConnectionStopped], Awaitable[None]]
        if self._noticed or walk is None:
            name, work, failed = NOTICES, partial(self._heed, notices), self._unheeded
        else:
            name, work, failed = walk.name, partial(self._advance, walk), partial(self._failed, walk)
        try:
            await work()
        except (CrmUnavailable, ConnectionStopped) as fault:
            await failed(fault)
            self._span.end(fault.code)
        else:
            self._faults.pop(name, None)
            self._span.end()
        desk.observer.took("notices" if self._noticed else "pull", (desk.clock.now_us() - began_us) / 1e6)
        return 0.0

    def _read_again(self) -> None:
        """Sweep at once, as long as not everything was read since a field came back."""
        if self._warden.unread_us:
            self._standings |= walks.swept(self._walks, self._standings)

    async def _advance(self, walk: Walk) -> None:
        desk = self._desk
        standing = self._standings[walk.name]
        if standing.position is None and standing.absent is None:
            started = walks.begin(walk, standing, desk.speaker.crm_now_us(), desk.adapter.capabilities.time_step_us)
            if started is None:
                due_us = desk.clock.now_us() + min(walk.every_us, desk.pace.every_us)
                self._standings[walk.name] = msgspec.structs.replace(standing, due_us=due_us)
                return
            standing = self._standings[walk.name] = started
            self._runs[walk.name] = Run(
                conn=desk.conn,
                feed=walk.name,
                number=standing.run,
                state="running",
                started_us=desk.clock.now_us(),
            )
        attributes: dict[str, str | int] = {"sales.account": desk.name, "sales.feed": walk.name}
        self._span = self._reader.span = desk.tracer.root("pull", attributes)
        if standing.absent is not None:
            await self._ask_for_absent(walk, standing)
        else:
            await self._page(walk, standing)

    # --- a page -------------------------------------------------------------------------------------------------------

    async def _page(self, walk: Walk, standing: Standing) -> None:
        desk = self._desk
        assert standing.position is not None
        limit = min(walk.feed.page_max, desk.pace.page_size)
        asked_us = desk.clock.now_us()
        talk = desk.adapter.pull(walk.feed, standing.position, limit)
        page = await desk.speaker.converse(talk, purpose=self._purpose(walk), causes=(self._span,))
        after = walks.moved(standing, page.next)
        if page.done and walk.feed.kind is FeedKind.SWEEP:
            after = msgspec.structs.replace(after, absent="")
        finished = page.done and after.absent is None
        await self._take(walk, after, page, asked_us, finished=finished)

    def _purpose(self, walk: Walk) -> str:
        if walk.turn is not walks.Pass.SWEEP:
            return "pull"
        if not self.imported():
            return "backfill"
        return "pull" if walk.news else "audit"

    async def _take(self, walk: Walk, after: Standing, page: Page, asked_us: int, *, finished: bool) -> None:
        """Compare a page with the bindings and commit what it means; waits while a lead of it is being written to."""
        desk = self._desk
        raws, nameless = self._reader.named(page.raws)
        prints = desk.eyes.keyring.fingerprints([raw.data for raw in raws], desk.mapping.version)
        printed = {raw.id: print_ for raw, print_ in zip(raws, prints, strict=True)}
        ids = list(printed)
        edition = desk.books.edition
        known = await desk.ledger.bindings_by_crm_id(desk.conn, ids)
        decoded: dict[str, Record] = {}
        sure: dict[str, Record] = {}
        while True:
            odd: Book | None = None
            fresh, seen = sort(raws, printed, known)
            records, dead = self._reader.decode(fresh, decoded)
            doubts = [record.id for record in records if sight.doubtful(record, known.get(record.id))]
            doubts = [name for name in doubts if name not in sure]
            records, more = await self._reader.confirm(records, doubts, sure, self._purpose(walk))
            dead += [*more, *nameless]
            async with desk.books.lock:
                if desk.books.edition != edition:
                    edition = desk.books.edition
                    known = await desk.ledger.bindings_by_crm_id(desk.conn, ids)
                by_crm, by_lead = await self._reader.neighbours(records, known)
                settled = {record.id for record in sort(raws, printed, known)[0]} <= {raw.id for raw in fresh}
                if settled and not self._reader.busy(records, by_crm, by_lead):
                    sightings = [sight.Sighting(record, printed.get(record.id, b"")) for record in records]
                    book = sight.read_page(
                        desk.eyes,
                        sightings,
                        by_crm,
                        by_lead,
                        asked_us=asked_us,
                        sweep=self._sweep(),
                        importing=not self.imported(),
                    )
                    odd = book if self._warden.suspects(book, asked_us) else None
                    if odd is None:
                        sweep = self._sweep() if walk.turn is walks.Pass.SWEEP else 0
                        after = walks.compared(after, differs=_shows_more(book, by_crm))
                        await self._commit(walk, after, book, len(ids), seen, sweep, dead, finished=finished)
                        return
            if odd is not None:
                await self._warden.look_at(odd.misread)
            elif settled:
                await desk.books.freed()
                sure.clear()

    def _sweep(self) -> int:
        """The number of the sweep under way, or of the last one: what any walk sees alive counts as seen by it."""
        return max(self._standings[walk.name].run for walk in self._walks if walk.turn is walks.Pass.SWEEP)

    # --- the end of a sweep: who was not there ------------------------------------------------------------------------

    async def _ask_for_absent(self, walk: Walk, standing: Standing) -> None:
        """Ask by id for the next bound records that the sweep did not see; absence in a list is no proof by itself."""
        desk = self._desk
        assert standing.absent is not None
        unseen = await desk.ledger.bindings_unseen(desk.conn, standing.run, standing.absent, READ_BATCH)
        if not unseen:
            again = walks.another_pass(walk, standing)
            after = again or msgspec.structs.replace(standing, absent=None)
            if again is None and walks.unsettled(walk, standing):
                self._give_up(walk)
            await self._commit(walk, after, sight.NOTHING, 0, [], 0, [], finished=again is None)
            return
        after = msgspec.structs.replace(standing, absent=unseen[-1].crm_id)

        async def keep(book: Book, records: Sequence[Record], dead: Sequence[DeadLetter]) -> None:
            alive = [record.id for record in records if record.state is LeadState.LIVE]
            then = walks.compared(after, differs=bool(alive))
            await self._commit(walk, then, book, 0, alive, standing.run, dead, finished=False)

        ids = [binding.crm_id for binding in unseen]
        await self._reader.reread(ids, self._purpose(walk), keep, sweep=standing.run, importing=False)

    def _give_up(self, walk: Walk) -> None:
        """Say that a sweep ends though no two of its passes agreed; its run keeps it."""
        run = self._runs.get(walk.name)
        if run is not None:
            self._runs[walk.name] = msgspec.structs.replace(run, code="sweep.unsettled")
        self._desk.observer.unsettled(walk.name)
        given_up = {
            "event": "sweep.unsettled",
            "tenant": self._desk.tenant,
            "feed": walk.name,
            "passes": walks.PASSES_MAX,
        }
        log.warning("a sweep ends though no two of its passes agree: the list moves too fast", extra=given_up)

    # --- what webhooks hint at ----------------------------------------------------------------------------------------

    def _noticed_us(self, notices: Sequence[NoticeRow]) -> int:
        """When these notices are to be read (our clock); 0: there are none."""
        if not notices:
            return 0
        gather_us = 0 if len(notices) >= READ_BATCH else self._desk.pace.gather_us
        return max(notices[0].since_us + gather_us, self._notices_due_us)

    async def _heed(self, notices: Sequence[NoticeRow]) -> None:
        """Read back what notices hint at: the hint itself is never believed. They are forgotten with what they brought.

        A notice that names no record hurries the walks. Raises what the CRM's absence raises; the walks will find it anyway.
        """
        desk = self._desk
        attributes: dict[str, str | int] = {"sales.account": desk.name, "sales.feed": NOTICES}
        self._span = self._reader.span = desk.tracer.root("pull", attributes)
        ids = [notice.crm_id for notice in notices if notice.crm_id]
        hurry = next((notice for notice in notices if not notice.crm_id), None)
        standings = {} if hurry is None else walks.hurried(self._walks, self._standings, hurry.since_us)

        async def keep(book: Book, _records: Sequence[Record], dead: Sequence[DeadLetter]) -> None:
            now_us = desk.clock.now_us()
            # No run of a feed: its id, which the facts name as their cause, stands for these notices alone.
            hint = Run(conn=desk.conn, feed=NOTICES, number=notices[0].since_us, state="completed", started_us=now_us)
            trace, cause = self._span.context, desk.scribe.run_id(hint)
            commit = Commit(
                conn=desk.conn,
                bindings=book.bindings,
                aliases=book.aliases,
                outbox=desk.scribe.leads(book.drafts, run_id=cause, now_us=now_us, trace=trace),
                dead=dead,
                positions={name: walks.encode(standing) for name, standing in standings.items()},
                noticed=notices,
            )
            await desk.commit(commit)
            self._standings |= standings
            self._notices_failures = self._notices_due_us = 0
            desk.observer.saw(NOTICES, book, 0)

        if ids:
            await self._reader.reread(ids, "pull", keep, sweep=self._sweep(), importing=not self.imported())
        else:
            await keep(sight.NOTHING, (), ())

    async def _unheeded(self, fault: CrmUnavailable | ConnectionStopped) -> None:
        """Notices stay where they are, and are read after a growing pause, or when the CRM asked for."""
        now_us = self._desk.clock.now_us()
        self._faults[NOTICES] = fault
        self._notices_due_us = max(now_us + walks.pause_us(self._notices_failures), getattr(fault, "retry_at_us", 0))
        self._notices_failures += 1
        waiting = {"event": "notices.interrupted", "tenant": self._desk.tenant, "code": fault.code}
        log.warning("notices wait: %s", fault.code, extra=waiting)

    # --- commit -------------------------------------------------------------------------------------------------------

    async def _commit(
        self,
        walk: Walk,
        after: Standing,
        book: Book,
        read: int,
        seen: Sequence[str],
        sweep: int,
        dead: Sequence[DeadLetter],
        *,
        finished: bool,
    ) -> None:
        desk = self._desk
        now_us = desk.clock.now_us()
        run = self._runs.get(walk.name) or Run(
            conn=desk.conn, feed=walk.name, number=after.run, state="running", started_us=now_us
        )
        run = msgspec.structs.replace(
            run,
            read=run.read + read,
            changed=run.changed + book.changed,
            unchanged=run.unchanged + book.unchanged + (len(seen) if read else 0),
            removed=run.removed + book.removed,
            stale=run.stale + book.stale,
        )
        trace = self._span.context
        rows = desk.scribe.leads(book.drafts, run_id=desk.scribe.run_id(run), now_us=now_us, trace=trace)
        facts = None
        if finished:
            run = msgspec.structs.replace(run, state="completed", finished_us=now_us)
            facts = self._desk.books.facts + 1
            rows.append(desk.scribe.sync_completed(run, walk, version=facts, lag_us=self._lag_us(after), now_us=now_us))
            after = walks.end(walk, after, now_us)
        commit = Commit(
            conn=desk.conn,
            bindings=book.bindings,
            aliases=book.aliases,
            seen=(sweep, seen if sweep else ()),
            outbox=rows,
            dead=dead,
            positions={walk.name: walks.encode(after)},
            runs=(run,),
            facts=facts,
        )
        await desk.commit(commit)
        desk.observer.saw(walk.name, book, len(seen) if read else 0)
        self._standings[walk.name] = after
        self._runs[walk.name] = run
        if facts is not None:
            desk.books.facts = facts
            desk.books.facts = await gaps.tell(desk, facts)
        if finished and walk.turn is walks.Pass.SWEEP:
            await self._warden.swept(run.started_us)
            self._read_again()

    def _lag_us(self, standing: Standing) -> int:
        """How far behind the CRM's clock this walk is read: its window's end, or when the sweep began."""
        reached_us = getattr(standing.position, "hi_us", 0) or standing.begun_us
        return max(0, self._desk.speaker.crm_now_us() - reached_us)

    async def _failed(self, walk: Walk, fault: CrmUnavailable | ConnectionStopped) -> None:
        """Write down that a run met an obstacle; the first time of a run, tell it as a fact."""
        desk = self._desk
        now_us = desk.clock.now_us()
        standing = self._standings[walk.name]
        run = self._runs.get(walk.name)
        after = walks.failed(standing, now_us, getattr(fault, "retry_at_us", 0))
        rows, facts, runs = [], None, []
        if not standing.told and run is not None and run.state == "running":
            facts = self._desk.books.facts + 1
            run = msgspec.structs.replace(run, code=fault.code)
            rows.append(desk.scribe.sync_failed(run, walk, fault, version=facts, now_us=now_us))
            runs.append(run)
        await desk.commit(
            Commit(conn=desk.conn, outbox=rows, positions={walk.name: walks.encode(after)}, runs=runs, facts=facts)
        )
        extra = {"event": "pull.interrupted", "tenant": desk.tenant, "feed": walk.name, "code": fault.code}
        log.warning("a pull stays where it is", extra=extra)
        self._standings[walk.name] = after
        self._faults[walk.name] = fault
        if run is not None:
            self._runs[walk.name] = run
        if facts is not None:
            self._desk.books.facts = facts


def _shows_more(book: Book, known: dict[str, Binding]) -> bool:
    """Whether a page has shown a live record that the ledger did not know."""
    return any(one.state is LeadState.LIVE and one.crm_id not in known for one in book.bindings)
