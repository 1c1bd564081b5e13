"""Writing one record at a time: creates and upserts, updates, further requests, and what to do about each kind of refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_adapters.rest.answers import UNREADABLE, id_text, names_in, parsed
from sales_crm_adapters.rest.checks import Check, Matcher
from sales_crm_adapters.rest.paths import MISSING, one, path_of, paths_of
from sales_crm_adapters.rest.reading import Rows
from sales_crm_adapters.rest.templates import Calls, named_in_request
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    Effect,
    HttpReply,
    LeadState,
    NoReply,
    Outcome,
    Ref,
    Rejected,
    Reply,
    Unknown,
    Write,
)
from sales_crm_bridge.ports import Talk, ask, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_adapters.rest.answers import Answers, Meaning
    from sales_crm_adapters.rest.options import Extra, Options, WriteCall
    from sales_crm_adapters.rest.reading import Reader
    from sales_crm_adapters.rest.records import Records
    from sales_crm_bridge.model import Record

SECOND_US = 1_000_000

_CATEGORIES = {
    "validation": Category.VALIDATION, "duplicate": Category.DUPLICATE, "conflict": Category.CONFLICT,
    "gone": Category.REMOVED, "archived": Category.REMOVED, "merged": Category.MERGED, "converted": Category.CONVERTED,
    "forbidden": Category.PERMISSION, "permission": Category.PERMISSION, "unsupported": Category.UNSUPPORTED,
}  # fmt: skip


class Verb:
    """One writing request, and how its answer shows the record."""

    def __init__(self, part: WriteCall, options: Options, records: Records) -> None:
        self.calls = Calls(part, options.common, Effect.WRITE)
        self._rows = Rows([path_of(part.record)], records) if part.record is not None else None
        self._id = path_of(part.id) if part.id is not None else None
        self._adopted = Matcher(part.adopted) if part.adopted is not None else None

    def accepted(self, reply: HttpReply, crm_id: str) -> Outcome:
        """What a good answer says; ``crm_id`` "" for a new record. An answer that cannot be read proves nothing."""
        if reply.status == 204 or not reply.body:  # noqa: PLR2004
            return Accepted(crm_id=crm_id, record=None) if crm_id else Unknown(reason="unreadable-answer")
        body = parsed(reply.body)
        if body is UNREADABLE:
            return Unknown(reason="unreadable-answer")
        adopted = not crm_id and self._adopted is not None and self._adopted.holds(reply.status, reply.headers, body)
        if self._rows is not None:
            records = self._rows.read(reply)
            own = [record for record in records or () if record.id == crm_id] if crm_id else records or []
            if len(own) != 1:
                return Unknown(reason="another-record" if records else "unreadable-answer")
            return Accepted(crm_id=own[0].id, record=own[0], adopted=adopted)
        found = crm_id or (id_text(one(body, self._id)) if self._id is not None else "")
        return Accepted(crm_id=found, record=None, adopted=adopted) if found else Unknown(reason="unreadable-answer")


class Deed:
    """A further request for writes that set certain values."""

    def __init__(self, extra: Extra, options: Options) -> None:
        self.calls = Calls(extra.call, options.common, Effect.WRITE)
        self.takes = tuple(extra.takes)
        self.first = extra.order == "first"
        self._when = [(name, Check(test)) for name, test in extra.when.items()]

    def suits(self, write: Write) -> bool:
        """Whether the write is one of those."""
        return all(name in write.fields and check.holds([write.fields[name]]) for name, check in self._when)


class Writer:
    """Carries out single writes."""

    def __init__(self, options: Options, records: Records, reader: Reader, answers: Answers) -> None:
        part = options.write
        self._records = records
        self._reader = reader
        self.answers = answers
        self._create = Verb(part.create, options, records) if part.create is not None else None
        self._upsert = Verb(part.upsert, options, records) if part.upsert is not None else None
        self._update = Verb(part.update, options, records)
        self._deeds = [Deed(extra, options) for extra in part.calls]
        self._unique_key = part.unique_key
        self._keyed = options.read.key is not None
        self._holder = Calls(part.holder, options.common, Effect.READ) if part.holder is not None else None
        self._asks = frozenset(named_in_request(part.holder)) if part.holder is not None else frozenset()
        self._holders = Rows(paths_of(part.holder.records), records) if part.holder is not None else None

    def deed(self, write: Write) -> Deed | None:
        """The further request that a write needs, if any."""
        return next((deed for deed in self._deeds if deed.suits(write)), None)

    def given(self, write: Write, without: Sequence[str] = ()) -> dict[str, Any]:
        """The variables of a write."""
        records = self._records
        given: dict[str, Any] = {
            f"field.{name}": records.field(name).wire(value) for name, value in write.fields.items()
        }
        given |= {
            "names": records.names,
            "key": write.key,
            "fields": records.values(write, with_key=not write.crm_id or write.claim, without=without),
            "operation": write.operation.value,
            "trace": write.trace,
        }
        given |= {"id": records.id_value(write.crm_id)} if write.crm_id else {}
        return given | ({"version": records.version_value(write.version)} if write.version else {})

    def refused(self, write: Write) -> Outcome | None:
        """A refusal that needs no call: a field that the declaration cannot write, or an id that cannot be one."""
        names = self._records.unwritable(write)
        if names:
            return Rejected(category=Category.VALIDATION, code="rest.field-not-writable", fields=tuple(names))
        if write.crm_id and self._records.id_value(write.crm_id) is MISSING:
            return Rejected(category=Category.REMOVED, code="rest.no-such-id")
        return None

    # --- one write ----------------------------------------------------------------------------------------------------

    def write(self, write: Write) -> Talk[Outcome]:
        """Carry out one write, with its further request if it needs one."""
        refused = self.refused(write)
        if refused is not None:
            return refused
        deed = self.deed(write)
        if deed is None:
            return (yield from self._plain(write))
        rest = write.claim or any(name not in deed.takes for name in write.fields)
        if deed.first and write.crm_id:
            outcome = yield from self._further(deed, write)
            if not isinstance(outcome, Accepted) or not rest:
                return outcome
            return _after(outcome, (yield from self._plain(write, deed.takes)))
        if not rest and write.crm_id:
            return (yield from self._further(deed, write))
        outcome = yield from self._plain(write, deed.takes)
        if not isinstance(outcome, Accepted):
            return outcome
        made = write if write.crm_id else _of(write, outcome.crm_id)
        further = yield from self._further(deed, made)
        # A new record is there, whatever became of the rest: reading it back shows how far it got.
        return Accepted(crm_id=outcome.crm_id, record=None) if not write.crm_id else _after(outcome, further)

    def _further(self, deed: Deed, write: Write) -> Talk[Outcome]:
        reply = yield from tell(deed.calls.call(self.given(write)))
        return self.outcome(write, reply, None)

    def _plain(self, write: Write, without: Sequence[str] = ()) -> Talk[Outcome]:
        verb = self._update if write.crm_id else self._upsert or self._create
        assert verb is not None
        reply = yield from tell(verb.calls.call(self.given(write, without)))
        outcome = self.outcome(write, reply, verb)
        if isinstance(outcome, Rejected) and outcome.category in (Category.DUPLICATE, Category.CONFLICT):
            return (yield from self.contested(write, outcome))
        return outcome

    def outcome(self, write: Write, reply: Reply, verb: Verb | None) -> Outcome:
        """What a reply says of a write; ``verb`` None: a good answer shows no record."""
        if isinstance(reply, NoReply):
            return unanswered(reply)
        meaning = self.answers.meaning(reply)
        if meaning.means == "ok" and verb is not None:
            return verb.accepted(reply, write.crm_id)
        if meaning.means == "ok":
            cut_off = bool(reply.body) and parsed(reply.body) is UNREADABLE
            return Unknown(reason="unreadable-answer") if cut_off else Accepted(crm_id=write.crm_id, record=None)
        return self.rejected(write, meaning, reply.answered_us)

    def rejected(self, write: Write, meaning: Meaning, now_us: int) -> Outcome:
        """What a bad answer says of a write."""
        if meaning.means in ("sign_in", "quota", "quota_day", "turned_away"):
            wait_us = round((meaning.wait_s or 1.0) * SECOND_US)
            return Deferred(not_before_us=now_us + max(wait_us, SECOND_US), reason=meaning.means.replace("_", "-"))
        category = _CATEGORIES.get(meaning.means)
        if category is None:
            return Unknown(reason="unreadable-answer" if meaning.means == "unknown" else meaning.means)
        if not write.crm_id and category is Category.CONFLICT and not meaning.ruled:
            category = Category.DUPLICATE
        names = [*meaning.fields, *names_in(meaning.named_in, list(write.fields))]
        return Rejected(
            category=category,
            code=meaning.code,
            fields=self._records.called(names, list(write.fields)),
            other_id=meaning.other,
        )

    # --- a value that somebody else holds -----------------------------------------------------------------------------

    def contested(self, write: Write, refusal: Rejected) -> Talk[Outcome]:
        """A duplicate: adopt the record that has our key, and name the one that is in the way."""
        if refusal.category is not Category.DUPLICATE:
            return refusal
        try:
            holder = yield from self._held_by(write, refusal)
        except CrmUnavailable as fault:
            return Deferred(not_before_us=fault.retry_at_us, reason=fault.code)
        if holder is None:
            return refusal
        if write.crm_id or holder.key != write.key or holder.state is not LeadState.LIVE:
            return Rejected(category=Category.DUPLICATE, code=refusal.code, fields=refusal.fields, other_id=holder.id)
        outcome = yield from self._plain(_of(write, holder.id))
        if isinstance(outcome, Accepted):
            return Accepted(crm_id=outcome.crm_id, record=outcome.record, adopted=True)
        return outcome

    def _held_by(self, write: Write, refusal: Rejected) -> Talk[Record | None]:
        """The record that stands in the way: ours by its key, the one that the refusal names, or the one that is found."""
        if self._keyed and self._unique_key and not write.crm_id:
            (record,) = yield from self._reader.read([Ref(key=write.key)])
            if record.state is not LeadState.GONE:
                return record
        if refusal.other_id:
            (record,) = yield from self._reader.read([Ref(id=refusal.other_id)])
            return record
        given = self.given(write)
        # A question that lacks one of its values would find anybody.
        if self._holder is None or self._holders is None or any(given.get(name) is None for name in self._asks):
            return None
        reply = yield from ask(self._holder.call(given))
        means = self.answers.meaning(reply).means
        records = self._holders.read(reply) if means == "ok" else [] if means == "gone" else None
        if records is None:
            raise self.answers.unavailable(reply)
        others = [record for record in records if record.id != write.crm_id]
        return next((record for record in others if record.key == write.key), others[0] if others else None)


def _of(write: Write, crm_id: str) -> Write:
    """The same values for a record that is there; our knowledge stands on no version of it."""
    return Write(trace=write.trace, operation=write.operation, key=write.key, fields=write.fields, crm_id=crm_id)


def _after(first: Accepted, second: Outcome) -> Outcome:
    """The outcome of two calls of which the first took effect: what is neither told nor refused now is not known."""
    if isinstance(second, Accepted | Rejected):
        return second  # refused: the command as a whole; what its first half changed, the next pull tells
    return Unknown(reason=f"half-done-{first.crm_id and 'update'}")


def unanswered(reply: NoReply) -> Outcome:
    """The outcome of a write whose call had no usable answer."""
    if reply.sent:
        return Unknown(reason=reply.reason)
    return Deferred(not_before_us=reply.retry_at_us, reason=reply.reason)
