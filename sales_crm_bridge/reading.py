"""Reading records straight from the CRM, and what the ledger knows of them: doubts, survivors of merges, unreadable ones."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.contract import is_usable_id
from sales_crm_bridge.errors import BridgeError, CrmUnavailable
from sales_crm_bridge.model import LeadState, Record, Ref, chunks
from sales_crm_bridge.policy import sight
from sales_crm_bridge.state import DeadLetter
from sales_crm_bridge.tracing import NOTHING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.model import Raw
    from sales_crm_bridge.policy.sight import Book
    from sales_crm_bridge.state import Binding

READ_BATCH = 100


def sort(
    raws: Sequence[Raw], printed: Mapping[str, bytes], known: Mapping[str, Binding]
) -> tuple[list[Raw], list[str]]:
    """Raws of a page that must be decoded, and the ids of those that are as they were; ``printed``: their fingerprints by id."""
    fresh: list[Raw] = []
    seen: list[str] = []
    for raw in raws:
        binding = known.get(raw.id)
        if binding is not None and binding.fingerprint == printed[raw.id] and binding.crm_id == raw.id:
            seen.append(raw.id)
        else:
            fresh.append(raw)
    return fresh, seen


class Reader:
    """Reads for one desk; what cannot be read becomes a dead letter and holds back nothing else.

    ``span``: the work that it reads for now. ``suspects``, ``look``: the warden's, who must look before what hints at a drift of
    the CRM's fields is believed.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.span = NOTHING
        self.suspects: Callable[[Book, int], bool] = lambda _book, _asked_us: False
        self.look: Callable[[frozenset[int]], Awaitable[None]] = _nobody

    def decode(self, raws: Sequence[Raw], decoded: dict[str, Record]) -> tuple[list[Record], list[DeadLetter]]:
        """The records of ``raws``; one that cannot be decoded becomes a dead letter and holds back no other."""
        desk = self._desk
        todo = [raw for raw in raws if raw.id not in decoded]
        dead: list[DeadLetter] = []
        try:
            for raw, record in zip(todo, desk.adapter.decode(todo), strict=True):
                decoded[raw.id] = record
        except (msgspec.MsgspecError, BridgeError, ValueError, KeyError, TypeError):
            for raw in todo:
                try:
                    (decoded[raw.id],) = desk.adapter.decode([raw])
                except (msgspec.MsgspecError, BridgeError, ValueError, KeyError, TypeError) as fault:
                    dead.append(self._unreadable(raw.id, raw.version, type(fault).__name__, raw.data))
        found = [self._sound(decoded[raw.id], raw.data, dead) for raw in raws if raw.id in decoded]
        return [record for record in found if record is not None], dead

    def named(self, raws: Sequence[Raw]) -> tuple[list[Raw], list[DeadLetter]]:
        """The raws whose id can be one; another has no place in the ledger or in a fact, and becomes a dead letter."""
        odd = [raw for raw in raws if not is_usable_id(raw.id)]
        dead = [self._nameless(raw.id, raw.version, raw.data) for raw in odd]
        return ([raw for raw in raws if is_usable_id(raw.id)] if odd else list(raws)), dead

    def _sound(self, record: Record, data: bytes, dead: list[DeadLetter]) -> Record | None:
        """The record with no name in it but such as can be an id.

        A key that cannot is no key of ours: anybody who may write the property can put any text there. It is told by a dead letter,
        once for each version of the record, and the record is a lead under the name that its own id gives it.
        """
        if not is_usable_id(record.id):
            dead.append(self._nameless(record.id, record.version, data))
            return None
        names = (record.key, record.into, *record.merged_ids)
        if all(is_usable_id(name) for name in names if name) and "\0" not in record.version:
            return record
        if record.key and not is_usable_id(record.key):
            dead.append(self._keyless(record, data))
        return msgspec.structs.replace(
            record,
            key=record.key if is_usable_id(record.key) else "",
            into=record.into if is_usable_id(record.into) else "",
            merged_ids=tuple(name for name in record.merged_ids if is_usable_id(name)),
            version="" if "\0" in record.version else record.version,
        )

    async def confirm(
        self, records: list[Record], doubts: Sequence[str], sure: dict[str, Record], purpose: str
    ) -> tuple[list[Record], list[DeadLetter]]:
        """The records, doubtful ones as a read straight from the CRM shows them, survivors of merges before them."""
        dead: list[DeadLetter] = []
        for names in chunks(doubts, READ_BATCH):
            found = await self.read_each(names, purpose, dead)
            sure.update({name: record for name, record in zip(names, found, strict=True) if record is not None})
        # A doubtful one that cannot be read is left out: of a list alone it is not believed, and it is a dead letter now.
        known = [sure.get(record.id, record) for record in records if record.id in sure or record.id not in doubts]
        return (await self.with_survivors(known, purpose, dead) if sure else known), dead

    async def read_each(self, ids: Sequence[str], purpose: str, dead: list[DeadLetter]) -> list[Record | None]:
        """The records under ``ids``; one that cannot be read becomes a dead letter and None, and holds back no other."""
        desk = self._desk
        try:
            talk = desk.adapter.read([Ref(id=name) for name in ids])
            found = await desk.speaker.converse(talk, purpose=purpose, causes=(self.span,))
            return [self._sound(record, b"", dead) for record in found]
        except CrmUnavailable as fault:
            if not fault.code.endswith("unreadable"):
                raise
            why = fault.code
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as fault:
            why = type(fault).__name__
        if len(ids) == 1:
            dead.append(self._unreadable(ids[0], "read", why, b""))
            return [None]
        half = (len(ids) + 1) // 2
        first = await self.read_each(ids[:half], purpose, dead)
        return first + await self.read_each(ids[half:], purpose, dead)

    async def with_survivors(self, records: list[Record], purpose: str, dead: list[DeadLetter]) -> list[Record]:
        """Put the live survivors of merged records before them, so that a binding can move to a record the ledger does not know."""
        lost: dict[str, list[str]] = {}
        for record in records:
            if record.state is LeadState.MERGED and record.into:
                lost.setdefault(record.into, []).append(record.id)
        if not lost:
            return records
        survivors = await self.read_each(sorted(lost), purpose, dead)
        told = [
            msgspec.structs.replace(one, merged_ids=tuple(dict.fromkeys((*one.merged_ids, *lost[name]))))
            for name, one in zip(sorted(lost), survivors, strict=True)
            if one is not None and one.state is LeadState.LIVE and one.id == name
        ]
        already = {one.id for one in told}
        return told + [record for record in records if record.id not in already]

    async def reread(
        self,
        ids: Sequence[str],
        purpose: str,
        keep: Callable[[Book, Sequence[Record], Sequence[DeadLetter]], Awaitable[None]],
        *,
        sweep: int,
        importing: bool,
    ) -> None:
        """Read records straight from the CRM and ``keep`` what they mean; again while a lead of them is being written to.

        What is absent is GONE: here, where a record is asked for by its id, that is believed. ``keep`` runs under the books' lock.
        """
        desk = self._desk
        odd: Book | None = None
        while True:
            dead: list[DeadLetter] = []
            looked, odd = odd is not None, None
            asked_us = desk.clock.now_us()
            found = [record for record in await self.read_each(ids, purpose, dead) if record is not None]
            records = await self.with_survivors(found, purpose, dead)
            async with desk.books.lock:
                known = await desk.ledger.bindings_by_crm_id(desk.conn, [record.id for record in records])
                by_crm, by_lead = await self.neighbours(records, known)
                if not self.busy(records, by_crm, by_lead):
                    sightings = [sight.Sighting(record, b"") for record in records]
                    book = sight.read_page(
                        desk.eyes, sightings, by_crm, by_lead, asked_us=asked_us, sweep=sweep, importing=importing
                    )
                    if looked or not self.suspects(book, asked_us):
                        await keep(book, records, dead)
                        return
                    odd = book
            await (self.look(odd.misread) if odd is not None else desk.books.freed())

    async def neighbours(
        self, records: Sequence[Record], known: dict[str, Binding]
    ) -> tuple[dict[str, Binding], dict[str, Binding]]:
        """Bindings of the records' own ids, of what was merged into them, and of the leads their keys or new ids name."""
        desk = self._desk
        merged = [other for record in records for other in record.merged_ids if other not in known]
        merged += [record.into for record in records if record.into]
        by_crm = known | await desk.ledger.bindings_by_crm_id(desk.conn, merged) if merged else known
        names: list[str] = []
        for record in records:
            if record.id in known and known[record.id].crm_id == record.id:
                continue
            if record.key:
                names.append(record.key)
            names.append(desk.eyes.derive(record.id))
        by_lead = await desk.ledger.bindings_by_lead(desk.conn, names) if names else {}
        return by_crm, by_lead

    def busy(self, records: Sequence[Record], by_crm: dict[str, Binding], by_lead: dict[str, Binding]) -> bool:
        """Whether a lead that these records speak of, or may speak of, is being written to."""
        books = self._desk.books
        if not books.writing:
            return False
        for record in records:
            names = {
                record.key,
                *(by_crm[one].lead_id for one in (record.id, record.into, *record.merged_ids) if one in by_crm),
            }
            if not books.writing.isdisjoint(names):
                return True
            if not record.key and record.id not in by_crm and not self._desk.adapter.capabilities.read_by_key:
                return True  # it may be the record of a create under way, in a CRM that cannot carry our key
        return any(lead_id in books.writing for lead_id in by_lead)

    def _unreadable(self, crm_id: str, version: str, why: str, data: bytes) -> DeadLetter:
        return self._letter(
            (crm_id, version),
            "crm.record-unreadable",
            f"a record of {self._desk.adapter.name} has a shape that the adapter does not know ({why})",
            "report the record's shape to the maintainers; it is read again when it changes or the bridge is upgraded",
            data,
        )

    def _keyless(self, record: Record, data: bytes) -> DeadLetter:
        return self._letter(
            (record.id, record.version, "key"),
            "crm.key-unusable",
            "our key property holds a text that cannot be a lead id: too long, or with a NUL character",
            "empty the property, or correct it; until then the record is told as a lead of its own",
            data,
        )

    def _nameless(self, crm_id: str, version: str, data: bytes) -> DeadLetter:
        return self._letter(
            (crm_id, version),
            "crm.id-unusable",
            "a record's id is empty, too long, or has a NUL character, so nothing can be told of it",
            "see that the id is read from the right place; the record is left out until then",
            data,
        )

    def _letter(self, names: Sequence[str], code: str, message: str, remedy: str, data: bytes) -> DeadLetter:
        """A dead letter about a record, ``names``: its id, its version, and what of it."""
        desk = self._desk
        crm_id, version, *rest = (name if not name or is_usable_id(name) else _short(name) for name in names)
        return DeadLetter(
            source=f"{desk.tenant}/record/{crm_id}@{version}{''.join('/' + one for one in rest)}",
            tenant=desk.tenant,
            lead_id="",
            code=code,
            message=message,
            remedy=remedy,
            key=names[0].encode("utf-8", "replace"),
            payload=data,
            headers=b"",
            created_us=desk.clock.now_us(),
        )


async def _nobody(_misread: frozenset[int]) -> None:
    """Looks."""


def _short(name: str) -> str:
    """A name that a ledger takes, for a text that it does not."""
    return f"#{hashlib.blake2b(name.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"
