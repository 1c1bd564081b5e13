"""``adapter try``: makes the reading calls of a tenant's connection, shows the writing ones, and says what it understood."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from sales_crm_bridge import contract, operate, wiring
from sales_crm_bridge import tenants as tenant_files
from sales_crm_bridge.asking import Asker, approach, rotates
from sales_crm_bridge.crm_http import Redactor
from sales_crm_bridge.errors import ConfigError, ConnectionStopped, Finding, Place, RuntimeFault
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import (
    Cursor,
    Effect,
    HttpReply,
    Keyset,
    LeadState,
    Operation,
    Paging,
    Ref,
    Stream,
    Window,
    Write,
)
from sales_crm_bridge.tenants import secrets_of
from sales_crm_bridge.trying import doubts, words
from sales_crm_bridge.trying.shown import ShownCall, ShownRecord, Trial
from sales_crm_bridge.trying.talks import overheard, rehearsed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sales_crm_bridge.crm_http import Exchange, Rim
    from sales_crm_bridge.model import (
        Account,
        Feed,
        HttpCall,
        Page,
        Position,
        Raw,
        Record,
        Reply,
    )
    from sales_crm_bridge.ports import Talk
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant

T = TypeVar("T")

DAY_US = 86_400_000_000
BODY_MAX = 4_000
"""Characters of a request's body that are shown."""
ANSWER_MAX = 400
"""Characters of a refusal's body that are shown."""
GOOD = range(200, 300)
NOBODYS_KEY = "try-nobody"


def tenant_of(file: Path, *, secrets: bool = True) -> Tenant:
    """The tenant of a file, wherever it lies and however it is named. Raises ``ConfigError``.

    ``secrets`` False: references are not followed.
    """
    try:
        text = file.read_bytes()
    except OSError as fault:
        said = f"cannot read the file: {fault.strerror}"
        raise ConfigError([_finding("yaml.unreadable", said, str(file))]) from fault
    tenant, found = tenant_files.parse(text, str(file), wiring.catalogue(), secrets=secrets)
    if tenant is None:
        raise ConfigError(found)
    return tenant


async def attempt(settings: Settings, tenant: Tenant, count: int, *, raw: bool = False) -> Trial:
    """Try a tenant's connection with ``count`` records of each feed (≥ 1); ``raw``: show them as they came, too.

    Nothing is written to the CRM and nothing to the ledger, except what a sign-in itself must keep. Raises ``ConfigError`` for a
    sign-in that cannot be kept.
    """
    async with AsyncExitStack() as stack:
        ledger = None
        if rotates(tenant):
            await operate.check_ledger(settings)
            ledger = await open_ledger(settings.ledger_address())
            stack.push_async_callback(ledger.close)
        way = await stack.enter_async_context(approach(settings, tenant, ledger))
        if not isinstance(way, Asker):
            said = f"the sign-in of this account is left to {way.by}"
            remedy = "stop that process for the try, or try with credentials of another kind"
            raise ConfigError(
                [_finding("sign-in.kept-elsewhere", said, str(tenant.place("connection", "credentials")), remedy)]
            )
        trial = _Try(tenant, way, count, raw=raw)
        try:
            await trial.run()
        finally:
            await trial.rim.close()
        return trial.told


class _Try:
    """One try under way."""

    def __init__(self, tenant: Tenant, asker: Asker, count: int, *, raw: bool) -> None:
        self.told = Trial(tenant=tenant.tenant)
        self._tenant = tenant
        self._count = count
        self._raw = raw
        self._redactor = Redactor(secrets_of(tenant).values.values())
        self._step = ""
        self._last: HttpReply | None = None
        self._adapter = wiring.adapter_of(tenant)
        self.rim: Rim = asker.rim(tenant, overheard(self._adapter, self._heard, self._redactor), self._exchanged)

    async def run(self) -> None:
        """Everything, in the order in which a person would ask."""
        adapter, told = self._adapter, self.told
        told.lines += [("file", self._tenant.file), ("crm", adapter.name), ("address", self._tenant.connection.address)]
        account = await self._ask("account", adapter.check)
        if account is not None:
            self._account(account)
        live: list[Record] = []
        for feed in adapter.feeds():
            live += [record for record in await self._feed(feed) if record.state is LeadState.LIVE]
        first = live[0] if live else None
        empty = [
            name for name in self._tenant.mapping.crm_fields if live and not any(one.fields.get(name) for one in live)
        ]
        if empty:
            told.notes.append(("fields without a value", f"in {len(live)} records: {', '.join(empty)}"))
        if first is None:
            told.notes.append(("read", "no live record was seen: nothing to read again, and no write to show"))
            return
        await self._read_again(first)
        await self._writes(first)
        left = self.rim.state().calls_left_day
        if left is not None:
            told.lines = [(what, str(left) if what == "calls left today" else how) for what, how in told.lines]

    async def _ask(self, step: str, talk: Callable[[], Talk[T]]) -> T | None:
        """Hold a talk; None, and a fault told, if the CRM is not with us."""
        self._step = step
        if any(isinstance(fault, ConnectionStopped) for _, fault in self.told.faults):
            return None
        try:
            return await self.rim.converse(rehearsed(talk(), self._withheld), purpose="check")
        except RuntimeFault as fault:
            self.told.faults.append((step, fault))
            self._reveal()
            return None

    def _reveal(self) -> None:
        """Show the beginning of a good answer that was not understood: of a refusal it is shown anyway."""
        last = self._last
        if last is not None and last.status in GOOD and last.body and self.told.calls and self.told.calls[-1].made:
            beginning = self._redactor(last.body[:ANSWER_MAX].decode("utf-8", "replace"))
            self.told.calls[-1] = replace(self.told.calls[-1], answer=f"{self.told.calls[-1].answer}: {beginning}")

    # --- steps --------------------------------------------------------------------------------------------------------

    def _account(self, account: Account) -> None:
        tenant, told = self._tenant, self.told
        told.lines += [
            ("account", f"{account.account_id} {account.name}".strip()),
            ("time zone", account.time_zone),
            ("fields described", str(len(account.fields))),
            ("calls left today", "not said" if account.calls_left_day is None else str(account.calls_left_day)),
        ]
        told.findings += tenant_files.compare(tenant, account.fields) if account.fields else []
        told.findings += wiring.objections(tenant, account)

    async def _feed(self, feed: Feed) -> list[Record]:
        step, limit = f"list {feed.name}", min(self._count, feed.page_max)
        start = self._start(feed)
        page = await self._ask(step, lambda: self._adapter.pull(feed, start, limit))
        if page is None:
            return []
        records = self._decoded(step, page.raws)
        onward = "and no more" if page.done else "and there may be more"
        self.told.notes.append((step, f"{len(page.raws)} records {onward}"))
        self.told.records += [self._shown(feed, raw, record) for raw, record in records]
        seen = [record for _, record in records]
        mapped = self._tenant.mapping.crm_fields
        self.told.findings += doubts.of_page(feed, page.raws, seen, mapped, self._tenant.file)
        if not page.done:
            await self._second_page(feed, page, limit)
        elif len(page.raws) == limit:
            await self._wider_page(feed, start, page, limit)
        return seen

    async def _wider_page(self, feed: Feed, start: Position, page: Page, limit: int) -> None:
        """A full page that is said to be the last one may be so; asked for with more room it must show no more."""
        room = min(2 * limit + 1, feed.page_max)
        wider = await self._ask(f"list {feed.name}, wider", lambda: self._adapter.pull(feed, start, room))
        if wider is not None:
            self.told.findings += doubts.of_pages(feed, page.raws, wider.raws, self._tenant.file)

    def _start(self, feed: Feed) -> Position:
        """The beginning of a sweep, or the last day."""
        now_us = self.rim.crm_now_us()
        match feed.paging:
            case Paging.WINDOW:
                return Window(lo_us=now_us - DAY_US, hi_us=now_us)
            case Paging.KEYSET:
                return Keyset(modified_us=now_us - DAY_US, hi_us=now_us)
            case Paging.STREAM:
                return Stream()
            case _:
                return Cursor()

    async def _second_page(self, feed: Feed, page: Page, limit: int) -> None:
        """A page that repeats the first shows that paging is not understood, or that the CRM keeps no order."""
        step = f"list {feed.name}, next page"
        onward = await self._ask(step, lambda: self._adapter.pull(feed, page.next, limit))
        if onward is None:
            return
        again = {raw.id for raw in page.raws} & {raw.id for raw in onward.raws}
        if again:
            said = f"{len(again)} records of the first page came again: is the paging as declared, and does the list keep still?"
        else:
            said = f"{len(onward.raws)} records, none of which the first page had"
        self.told.notes.append((step, said))
        self.told.findings += doubts.of_repetition(feed, page.raws, onward.raws, self._tenant.file)

    async def _read_again(self, seen: Record) -> None:
        """The same record by its id and by our key, and one that is not there: what reads must tell apart."""
        (by_id,) = await self._ask("read by id", lambda: self._adapter.read([Ref(id=seen.id)])) or (None,)
        if by_id is not None:
            differing = [name for name, value in seen.fields.items() if by_id.fields.get(name) != value]
            differing += [
                name for name in ("version", "modified_us", "state", "key") if _of(by_id, name) != _of(seen, name)
            ]
            said = f"differs from the list in: {', '.join(differing)}" if differing else "the same as in the list"
            self.told.notes.append(("read by id", said))
            self.told.findings += doubts.of_read(seen, by_id, differing, self._tenant.file)
        if self._adapter.capabilities.read_by_key:
            await self._read_by_key(seen)
        # Together with one that is there: a CRM that reads many at once must say which of them it lacks.
        nobody = words.nobody(seen.id)
        refs = [Ref(id=seen.id), Ref(id=nobody)]
        (_, missing) = await self._ask("read what is not there", lambda: self._adapter.read(refs)) or (None, None)
        if missing is not None:
            said = "understood as gone" if missing.state is LeadState.GONE else f"understood as {missing.state}"
            self.told.notes.append(("read what is not there", f"id {nobody}: {said}"))
            self.told.findings += doubts.of_nobody(f"id {nobody}", missing, self._tenant.file)

    async def _read_by_key(self, seen: Record) -> None:
        """By the key of a record that has one, and by one that nobody has."""
        if seen.key:
            (by_key,) = await self._ask("read by key", lambda: self._adapter.read([Ref(key=seen.key)])) or (None,)
            if by_key is not None:
                said = "the same record" if by_key.id == seen.id else f"another record: {by_key.id or 'none'}"
                self.told.notes.append(("read by key", said))
                self.told.findings += doubts.of_read(seen, by_key, (), self._tenant.file)
        else:
            self.told.notes.append(("read by key", "not tried with one that is there: no record seen has our key"))
        (by_none,) = await self._ask("read by no key", lambda: self._adapter.read([Ref(key=NOBODYS_KEY)])) or (None,)
        if by_none is not None:
            self.told.findings += doubts.of_nobody(f"key {NOBODYS_KEY}", by_none, self._tenant.file)

    async def _writes(self, seen: Record) -> None:
        """Each command as it would go out, with the values of a record that is there."""
        mapping = self._tenant.mapping
        lead, _ = mapping.lead(seen.fields, "try")
        revised = sorted(mapping.names_written(Operation.REVISE, tuple(rule.name for rule in mapping.spec.rules)))
        fields = {
            Operation.CREATE: mapping.to_wire(lead, (), creating=True)[0],
            Operation.REVISE: mapping.to_wire(lead, revised, creating=False, current=seen.fields)[0],
            Operation.QUALIFY: mapping.qualify_wire(),
            Operation.DISQUALIFY: mapping.disqualify_wire("", ""),
        }
        for operation, values in fields.items():
            if not values:
                self.told.notes.append((f"would {operation}", "unsupported, or nothing to write"))
                continue
            write = Write(
                trace="try",
                operation=operation,
                key="try" if operation is Operation.CREATE else seen.key,
                fields=values,
                crm_id="" if operation is Operation.CREATE else seen.id,
                version="" if operation is Operation.CREATE else seen.version,
            )
            await self._ask(f"would {operation}", lambda write=write: self._adapter.push([write]))  # type: ignore[misc]

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _decoded(self, step: str, raws: Sequence[Raw]) -> list[tuple[Raw, Record]]:
        """Records one by one, so that one that cannot be understood hides no other."""
        good = []
        for raw in raws:
            try:
                good.append((raw, self._adapter.decode([raw])[0]))
            except Exception as fault:  # noqa: BLE001 - whatever a decoder raises for a record of an unknown shape
                said = self._redactor(f"record {raw.id} cannot be understood: {fault}")
                self.told.findings.append(
                    _finding("crm.undecodable", said, self._tenant.file, f"see {step} with --raw")
                )
        return good

    def _shown(self, feed: Feed, raw: Raw, record: Record) -> ShownRecord:
        mapping, known = self._tenant.mapping, self._redactor.known
        lead_id = contract.lead_id_for(self._tenant.tenant, self._tenant.connection.account, record.id)
        lead, misfits = mapping.lead(record.fields, lead_id)
        values = mapping.told(lead)
        fields = [
            (name, known(words.text(values.get(name))), known(words.sources(mapping.slot_sources(slot), record.fields)))
            for slot, name in enumerate(mapping.slot_fields)
        ]
        return ShownRecord(
            feed=feed.name,
            about=tuple((what, known(how)) for what, how in words.about(record) if how),
            fields=tuple(fields),
            misfits=tuple(words.misfit(one) for one in misfits),
            raw=known(raw.data.decode("utf-8", "replace")) if self._raw else "",
        )

    def _exchanged(self, exchange: Exchange) -> None:
        self._heard(exchange.call, exchange.reply)

    def _heard(self, call: HttpCall, reply: Reply) -> None:
        self._last = reply if isinstance(reply, HttpReply) else None
        step = "sign in" if call.effect is Effect.SIGN_IN else self._step
        self.told.calls.append(self._shown_call(step, call, self._answer(call, reply), made=True))

    def _withheld(self, call: HttpCall) -> None:
        self.told.calls.append(self._shown_call(self._step, call, "not made", made=False))

    def _shown_call(self, step: str, call: HttpCall, answer: str, *, made: bool) -> ShownCall:
        known = self._redactor.known
        # Masked before they are encoded: there are more ways to encode a secret than to write it.
        query = [(name, known(value)) for name, value in call.query]
        target = call.path + (f"?{urlencode(query, quote_via=quote, safe=',:*')}" if query else "")
        body = known(call.body.decode("utf-8", "replace"))
        return ShownCall(
            step=step,
            method=call.method,
            target=known(target),
            headers=tuple((name, words.signed(name, known(value))) for name, value in call.headers),
            body=body if len(body) <= BODY_MAX else f"{body[:BODY_MAX]}…",
            made=made,
            answer=answer,
        )

    def _answer(self, call: HttpCall, reply: Reply) -> str:
        """Status and size; of a refusal also the beginning of its words, masked. An answer to a sign-in is not shown."""
        if not isinstance(reply, HttpReply):
            return f"no answer: {reply.reason}"
        size = f"{reply.status}, {len(reply.body)} bytes, {(reply.answered_us - reply.asked_us) / 1e3:.0f} ms"
        if reply.status in GOOD or call.effect is Effect.SIGN_IN or not reply.body:
            return size
        return f"{size}: {self._redactor(reply.body[:ANSWER_MAX].decode('utf-8', 'replace'))}"


def _of(record: Record, name: str) -> object:
    return getattr(record, name)


def _finding(code: str, message: str, where: str, remedy: str = "") -> Finding:
    return Finding(code=code, message=message, place=Place(file=where), remedy=remedy or "see the page of the settings")
