"""Several processes of the bridge on one ledger, one CRM and one Kafka, in one event loop on virtual time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import sqlite3
from collections import Counter, deque
from contextvars import ContextVar
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, cast

import msgspec

from sales_crm_bridge import tenants, wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.errors import EnvironmentFault, RuntimeFault
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.acts import Acts
from sales_crm_bridge.simulate.border import (
    Border,
    BorderLedger,
    BorderSink,
    BorderTransport,
    SkewedClock,
    place_of,
)
from sales_crm_bridge.simulate.callers import Callers
from sales_crm_bridge.simulate.crm import HOOKS_AT
from sales_crm_bridge.simulate.crms import CRMS
from sales_crm_bridge.simulate.group import Broker, Group, Member
from sales_crm_bridge.simulate.journal import PEOPLE, Journal, Watched
from sales_crm_bridge.simulate.loop import VirtualClock
from sales_crm_bridge.simulate.process import Killed
from sales_crm_bridge.simulate.reader import Reader
from sales_crm_bridge.simulate.topic import Topics
from sales_crm_bridge.simulate.world import SeededDice
from sales_crm_bridge.tasks import end, first

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from sales_crm_bridge.ledger.sql_ledger import SqlLedger
    from sales_crm_bridge.ports import CrmAdapter, Ledger
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.simulate.loop import VirtualLoop
    from sales_crm_bridge.simulate.plan import Event, Plan

EPOCH_US = 1_790_000_000_000_000
DAY_S = 86_400.0
TENANT = "acme"
PARTITIONS = 4
HURRY_S = 20 * DAY_S
"""Virtual time in which a plan's steps must have come; they come by themselves, since every process renews its leases."""

OWNER: ContextVar[Border | None] = ContextVar("owner", default=None)
"""Whose task it is that runs: tasks inherit it from those that make them."""

BUGS = frozenset({"worker.bug", "process.bug", "http.bug"})


class Deployment:
    """One run's world. ``trace``: every crossing is written down, with a digest of what was said by it.

    ``topics``, ``group``, ``broker``: Kafka. ``crm``, ``journal``: the CRM and its truth. ``acts``: what people and clients do.
    ``hits``: faults that happened, by kind and step. ``crossings``: of each step. ``wrong``: what went wrong on the way.
    """

    def __init__(self, plan: Plan, folder: Path, loop: VirtualLoop, *, trace: bool = False) -> None:
        self.plan = plan
        self.folder = folder
        self.clock = VirtualClock(loop, EPOCH_US)
        name = f"{plan.crm}/{plan.seed}"
        self._name = name
        rng = random.Random(f"{name}/crm")
        clock = self.clock
        self.crm = CRMS[plan.crm](clock=lambda: clock.now_us() / 1e6, rng=rng, spice=plan.spice)
        self.journal = Journal(self.crm, clock.now_us)
        self.watched = Watched(self.crm, self.journal)
        self.watched.place_of = place_of
        self.topics = Topics(PARTITIONS, clock.now_us)
        self.group = Group(self.topics)
        self.broker = Broker(self.topics, self.group)
        self.reader = Reader()
        self.callers = Callers(self)
        self.acts = Acts(self)
        self.trace: list[str] | None = [] if trace else None
        self.step = 0
        self.hits: Counter[tuple[str, str]] = Counter()
        self.crossings: Counter[str] = Counter()
        self.wrong: list[tuple[str, str]] = []
        self.borders: dict[int, Border] = {}
        self.services: dict[int, Service] = {}
        self._queue: deque[Event] = deque(plan.events)
        self._armed: dict[tuple[str, str], list[Event]] = {}
        self._steps = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peace = False
        self._over = False
        self._lives = 0
        self._holding: sqlite3.Connection | None = None
        loop.set_task_factory(_owned)
        loop.set_exception_handler(self._unhandled)
        self._write_files()

    @property
    def adapter(self) -> CrmAdapter:
        """The adapter that the tenant's file names."""
        (tenant,) = tenants.load(self.folder / "tenants", wiring.catalogue()).tenants.values()
        return wiring.adapter_of(tenant)

    # --- what a process's border asks ---------------------------------------------------------------------------------

    def crossed(self, process: Border, what: str, said: tuple[object, ...]) -> None:
        """See ``Watcher``: count the step, let happen what is due, and kill whom the plan kills here."""
        self.step += 1
        self.crossings[what] += 1
        if self.trace is not None:
            digest = hashlib.blake2b(_pack(said), digest_size=8).hexdigest() if said else ""
            self.trace.append(f"{self.step:>6} {self.clock.now_us() - EPOCH_US:>13} {process.name} {what} {digest}")
        if self._peace:
            return
        while self._queue and self._queue[0].step <= self.step:
            self._begin(process, self._queue.popleft())
        death = self.take("kill", what)
        if death is not None:
            self.note(f"{process.name} is killed {what}")
            process.die(float(death.n % 40))
        if self.step >= self.plan.steps and not self._queue:
            self._steps.set()

    def take(self, kind: str, at: str) -> Event | None:
        """See ``Watcher``."""
        armed = self._armed.get((kind, at))
        if not armed:
            return None
        self.hits[kind, at] += 1
        self.note(f"{kind} at {at}")
        return armed.pop(0)

    def arm(self, event: Event) -> None:
        """Have it happen at the first step of its name."""
        self._armed.setdefault((event.kind, event.at), []).append(event)

    def note(self, text: str) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.step:>6} {self.clock.now_us() - EPOCH_US:>13} * {text}")

    def _begin(self, process: Border, event: Event) -> None:
        """An event's step has come."""
        self.note(str(event))
        self.acts.do(event, process)
        self.journal.look(PEOPLE)

    # --- processes ----------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Live through the plan; the faults are over when it comes back, and the processes go on."""
        rng = random.Random(f"{self._name}/leads")
        for number in range(self.plan.spice.leads):
            self.crm.create({"name": f"Lead {number}", "email": f"lead{number}@corp.example", "phone": f"+9 {number}"})
        del rng
        self.journal.look(PEOPLE)
        await self.clock.sleep(DAY_S)  # so that the import alone can find them
        for slot in range(self.plan.spice.processes):
            self.spawn(self._keep(slot))
        limit = asyncio.ensure_future(self.clock.sleep(HURRY_S))
        waiting = asyncio.ensure_future(self._steps.wait())
        await first((limit, waiting))
        if not waiting.done():
            self.wrong.append(
                ("settles", f"no more than {self.step} steps in {HURRY_S:.0f} s: the processes stand still")
            )
        await end((limit, waiting))
        self._begin_peace()

    def _begin_peace(self) -> None:
        self._peace = True
        self._armed.clear()
        self._queue.clear()
        self.acts.peace()
        self.release()
        self.note("peace")
        for slot, service in self.services.items():
            if slot:
                service.stop()

    async def stop(self) -> None:
        """Let every process drain."""
        self._over = True
        for service in self.services.values():
            service.stop()
        for _ in range(600):
            if not self.services:
                return
            await self.clock.sleep(1.0)
        self.wrong.append(("settles", "a process does not drain within ten minutes"))

    def drain(self, process: Border) -> bool:
        """Have a process end as at a roll-out; False: it is not up."""
        slot = next((slot for slot, border in self.borders.items() if border is process), -1)
        service = self.services.get(slot)
        if service is not None:
            service.stop()
        return service is not None

    def spawn(self, work: Coroutine[Any, Any, None], owner: Border | None = None) -> None:
        """Run something of the world itself, or in the name of a process."""
        token = OWNER.set(owner)
        task = asyncio.ensure_future(work)
        OWNER.reset(token)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, slot: int) -> None:
        """Have a process in this slot, another one when it has ended; in peace in the first slot alone."""
        await self.clock.sleep(slot * 3.0)
        while True:
            back_s = await self._live(slot)
            if self._over or (self._peace and slot):
                return
            await self.clock.sleep(back_s)

    async def _live(self, slot: int) -> float:
        """One process, until it has drained or died; gives the seconds until the next is there."""
        self._lives += 1
        skew_us = random.Random(f"{self._name}/skew/{self._lives}").randrange(-1_000_000, 1_000_001) if slot else 0
        border = Border(f"p{self._lives}", self, SkewedClock(self.clock, skew_us))
        OWNER.set(border)
        try:
            ledger = await open_ledger(f"sqlite:///{self.folder / 'bridge.db'}", migrate=True)
        except (RuntimeFault, EnvironmentFault):
            return 5.0
        member = Member(self.group, 50)
        self.borders[slot] = border
        try:
            service = self.services[slot] = self._service(ledger, border, member)
            self.callers.open(slot, service, ledger, border)
            working = asyncio.ensure_future(service.run())
            dying = asyncio.ensure_future(border.dead.wait())
            await first((working, dying))
            if not border.dead.is_set():
                await end((dying,))
                return self._ended(working)
            return border.back_s or 1.0
        finally:
            self.callers.close(slot)
            self.services.pop(slot, None)
            del self.borders[slot]
            await end([task for task in border.tasks if not task.done()])
            for task in border.tasks:
                if not task.cancelled():
                    task.exception()
            await ledger.close()
            if border.dead.is_set():  # the group hears of a death when the session is over
                asyncio.get_running_loop().call_later(10.0, self.group.leave, member)
            else:
                self.group.leave(member)

    def _ended(self, working: asyncio.Future[None]) -> float:
        """A process ended by itself: it has drained, or met what no process can work with; a supervisor starts another."""
        fault = working.exception()
        if fault is None:
            return 2.0
        if not isinstance(fault, RuntimeFault | EnvironmentFault):
            self.wrong.append(("no-bug", f"a process ended with {type(fault).__name__}: {fault}"))
        return 5.0

    def _service(self, ledger: SqlLedger, border: Border, member: Member) -> Service:
        watched, clock = self.watched, self.clock
        outside = wiring.Outside(
            clock=border.clock,
            dice=SeededDice(f"{self._name}/{border.name}"),
            ledger=cast("Ledger", BorderLedger(ledger, border)),
            transport=lambda _tenant: BorderTransport(
                HttpxTransport(SandboxTransport(watched, sleep=clock.sleep)), border
            ),
        )
        return wiring.assemble(self.settings, outside, source=member, sink=BorderSink(self.broker, border))

    # --- the ledger from outside --------------------------------------------------------------------------------------

    async def look(self, ask: Callable[[SqlLedger], Awaitable[Any]]) -> Any:
        """Ask the ledger something, from outside."""
        ledger = await open_ledger(f"sqlite:///{self.folder / 'bridge.db'}")
        try:
            return await ask(ledger)
        finally:
            await ledger.close()

    def hold(self, seconds: float) -> None:
        """Have somebody else write to the ledger's file for so long."""
        if self._holding is not None:
            return
        other = sqlite3.connect(self.folder / "bridge.db", isolation_level=None, timeout=0)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            other.close()
            return
        self._holding = other
        asyncio.get_running_loop().call_later(seconds, self.release)

    def late_s(self, n: int) -> float:
        """How late a list may show a write: beyond the horizon, but before the second pass has gone by."""
        second_s = self.plan.spice.second_pass_s
        return 20.0 + n % 50 if second_s > 80 else n % 15  # noqa: PLR2004 - well within 90 s, or within the horizon

    def release(self) -> None:
        """Let go of it."""
        if self._holding is not None:
            self._holding.rollback()
            self._holding.close()
            self._holding = None

    # --- files and faults of the program ------------------------------------------------------------------------------

    def _write_files(self) -> None:
        secrets = self.folder / "secrets"
        secrets.mkdir()
        (self.folder / "tenants").mkdir()
        for name, value in self.crm.secrets.items():
            (secrets / name).write_text(value, encoding="utf-8")
        self.write_tenant(self.plan.spice.page_size)
        self.settings = Settings.model_validate(
            {
                "hash_keys": ["a key of the simulation, long enough"],
                "seal_key": "another key of the simulation",
                "tenants": {"folder": str(self.folder / "tenants"), "poll": "15s"},
                "http": {"timeout": "10s", "breaker_open": "5s", "retry_max": "10s"},
                "push": {"retry_max": "30s", "settle_first": "2s"},
                "retention": {"every": "300s"},
                "web": {"public_url": HOOKS_AT},
            }
        )

    def write_tenant(self, page_size: int, spoilt: str = "") -> None:
        """Write the tenant's file anew."""
        spice = self.plan.spice
        text = files("sales_crm_bridge.simulate").joinpath(f"tenants/{self.crm.file}.yaml").read_text(encoding="utf-8")
        words = {
            "secrets": str(self.folder / "secrets"),
            "second_pass": spice.second_pass_s,
            "audit_every": 300 if spice.audits else 90 * int(DAY_S),
            "page_size": page_size,
            "batch": spice.batch,
            "after_parked": "refuse" if spice.refuse_behind else "wait",
        }
        path = self.folder / "tenants" / f"{TENANT}.yaml"
        path.write_text(Template(text).substitute(words) + spoilt, encoding="utf-8")

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if not isinstance(fault, Killed):
            self.wrong.append(("no-bug", f"{context.get('message')}: {type(fault).__name__} {fault}"))


class Ear(logging.Handler):
    """Hears what the program says of its own bugs."""

    def __init__(self, wrong: list[tuple[str, str]]) -> None:
        super().__init__(logging.ERROR)
        self._wrong = wrong

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a bug."""
        if getattr(record, "event", "") in BUGS:
            where = str(getattr(record, "traceback", "")).strip().splitlines()[-2:]
            self._wrong.append(("no-bug", f"{record.getMessage()} {getattr(record, 'code', '')} {' '.join(where)}"))


def _owned(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
    """A task, known to the process that it belongs to."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **more)
    owner = OWNER.get()
    if owner is not None:
        tasks = owner.tasks
        tasks.append(task)
        if len(tasks) > 200:  # noqa: PLR2004 - far more than live at the same time
            owner.tasks[:] = [one for one in tasks if not one.done()]
    return task


_pack = msgspec.msgpack.Encoder(enc_hook=repr).encode
