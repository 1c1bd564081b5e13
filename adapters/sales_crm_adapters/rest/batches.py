"""Many writes at once: in the CRM's batches where it has them, else in single calls side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sales_crm_adapters.rest.answers import UNREADABLE, id_text, parsed
from sales_crm_adapters.rest.checks import Checks
from sales_crm_adapters.rest.paths import MISSING, one, path_of
from sales_crm_adapters.rest.records import BadRecord
from sales_crm_adapters.rest.templates import Calls, Template
from sales_crm_adapters.rest.writing import SECOND_US, Writer, unanswered
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    Effect,
    HttpReply,
    NoReply,
    Outcome,
    Rejected,
    Reply,
    Unknown,
    Write,
)
from sales_crm_bridge.ports import Talk, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_adapters.rest.options import BatchCall, Options
    from sales_crm_adapters.rest.records import Records
    from sales_crm_bridge.model import Call

T = TypeVar("T")


def together(talks: Sequence[Talk[T]]) -> Talk[list[T]]:
    """Hold several talks side by side: their calls are made at the same time, writing ones before reading ones.

    So a reading call without an answer, which ends the whole talk, never takes a write with it that was made beside it.
    """
    values: dict[int, T] = {}
    waiting: dict[int, tuple[Call, ...]] = {}

    def go_on(at: int, replies: tuple[Reply, ...] | None) -> None:
        try:
            waiting[at] = next(talks[at]) if replies is None else talks[at].send(replies)
        except StopIteration as end:
            waiting.pop(at, None)
            values[at] = end.value

    for at in range(len(talks)):
        go_on(at, None)
    while waiting:
        writing = [at for at, calls in waiting.items() if any(call.effect is Effect.WRITE for call in calls)]
        chosen = {at: waiting[at] for at in writing or list(waiting)}
        replies = yield tuple(call for calls in chosen.values() for call in calls)
        start = 0
        for at, calls in chosen.items():
            go_on(at, replies[start : start + len(calls)])
            start += len(calls)
    return [values[at] for at in range(len(talks))]


class Batches:
    """Carries out batches of writes: one outcome each, in their order."""

    def __init__(self, options: Options, records: Records, writer: Writer) -> None:
        part = options.write.batch
        self._writer = writer
        self._records = records
        self._max = part.max if part is not None else 0
        making = (part.upsert or part.create) if part is not None else None
        self._make = Bulk(making, options, records, writer) if making is not None else None
        changing = part.update if part is not None else None
        self._change = Bulk(changing, options, records, writer) if changing is not None else None

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """See ``ports.CrmAdapter.push``."""
        singly: list[Write] = []
        bulks: list[tuple[Bulk, list[Write]]] = []
        outcomes: dict[str, Outcome] = {}
        for bulk, writes in (
            (self._make, [write for write in batch if not write.crm_id]),
            (self._change, [write for write in batch if write.crm_id]),
        ):
            for write in writes:
                refused = self._writer.refused(write)
                if refused is not None:
                    outcomes[write.trace] = refused
            fit = [write for write in writes if write.trace not in outcomes]
            if bulk is None:
                singly += fit
                continue
            singly += [write for write in fit if self._writer.deed(write) is not None]
            plain = [write for write in fit if self._writer.deed(write) is None]
            bulks += [(bulk, plain[at : at + self._max]) for at in range(0, len(plain), self._max)]
        talks = [_named(write, self._writer.write(write)) for write in singly]
        talks += [bulk.push(writes) for bulk, writes in bulks]
        for told in (yield from together(talks)):
            outcomes |= told
        disputed = [
            (write, outcome)
            for _, writes in bulks
            for write in writes
            if isinstance(outcome := outcomes[write.trace], Rejected) and outcome.category is Category.DUPLICATE
        ]
        settled = yield from together(
            [_named(write, self._writer.contested(write, outcome)) for write, outcome in disputed]
        )
        for told in settled:
            outcomes |= told
        return [outcomes[write.trace] for write in batch]


def _named(write: Write, talk: Talk[Outcome]) -> Talk[dict[str, Outcome]]:
    return {write.trace: (yield from talk)}


class Bulk:
    """One batch request, and how its answer tells what became of each member."""

    def __init__(self, part: BatchCall, options: Options, records: Records, writer: Writer) -> None:
        self._calls = Calls(part, options.common, Effect.WRITE)
        self._item = Template(part.item)
        self._records = records
        self._writer = writer
        told = part.results
        self._match = told.match
        self._at = path_of(told.at)
        self._by = path_of(told.by) if told.by is not None else ()
        self._status = path_of(told.status) if told.status is not None else None
        self._ok = Checks(told.ok)
        self._body = path_of(told.body)
        self._record = path_of(told.record) if told.record is not None else None
        self._id = path_of(told.id) if told.id is not None else None
        self._adopted = Checks(told.adopted)

    def push(self, writes: Sequence[Write]) -> Talk[dict[str, Outcome]]:
        """Outcomes by trace; a record that is named twice waits, since the answer could not tell which is meant."""
        chosen: dict[str, Write] = {}
        outcomes: dict[str, Outcome] = {}
        for write in writes:
            if self._name(write) in chosen:
                outcomes[write.trace] = Deferred(not_before_us=0, reason="twice-in-batch")
            else:
                chosen[self._name(write)] = write
        members = list(chosen.values())
        items = [self._item.render(self._writer.given(write)) for write in members]
        reply = yield from tell(self._calls.call({"items": items, "names": self._records.names}))
        for write, outcome in zip(members, self._outcomes(members, reply), strict=True):
            outcomes[write.trace] = outcome
        return outcomes

    def _name(self, write: Write) -> str:
        match self._match:
            case "trace":
                return write.trace
            case "key":
                return write.key
            case _:
                return write.crm_id or write.key

    def _outcomes(self, writes: Sequence[Write], reply: Reply) -> list[Outcome]:
        if isinstance(reply, NoReply):
            return [unanswered(reply) for _ in writes]
        meaning = self._writer.answers.meaning(reply)
        if meaning.means == "bisect" or (meaning.means != "ok" and self._whole(meaning.means)):
            if len(writes) > 1:
                later = Deferred(not_before_us=reply.answered_us + SECOND_US, reason="bisect")
                return [later for _ in writes]
            refused = meaning if meaning.means != "bisect" else msgspec.structs.replace(meaning, means="validation")
            return [self._writer.rejected(writes[0], refused, reply.answered_us)]
        if meaning.means != "ok":
            return [self._writer.rejected(write, meaning, reply.answered_us) for write in writes]
        body = parsed(reply.body)
        results = one(body, self._at) if body is not UNREADABLE else MISSING
        if not isinstance(results, list):
            return [Unknown(reason="unreadable-answer") for _ in writes]
        if self._match == "position":
            if len(results) != len(writes):
                return [Unknown(reason="answers-missing") for _ in writes]
            return [self._one(write, [result], reply) for write, result in zip(writes, results, strict=True)]
        named: dict[str, list[Any]] = {}
        for result in results:
            named.setdefault(id_text(one(result, self._by)), []).append(result)
        return [self._one(write, named.get(self._name(write), []), reply) for write in writes]

    @staticmethod
    def _whole(means: str) -> bool:
        """Whether a refusal of the whole batch may be one member's fault."""
        return means in (
            "validation",
            "duplicate",
            "conflict",
            "gone",
            "archived",
            "merged",
            "converted",
            "unsupported",
        )

    def _one(self, write: Write, results: Sequence[Any], reply: HttpReply) -> Outcome:
        """What one member's result says; none, or more than one, says nothing."""
        if len(results) != 1:
            return Unknown(reason="answers-missing")
        result = results[0]
        status = 200
        if self._status is not None:
            told = one(result, self._status)
            text = str(told)
            if isinstance(told, bool) or len(text) != 3 or not text.isdecimal():  # noqa: PLR2004
                return Unknown(reason="unreadable-answer")
            status = int(text)
        elif self._ok and not self._ok.hold(result):
            status = 400
        meaning = self._writer.answers.judge(status, reply.headers, one(result, self._body), reply.answered_us)
        if meaning.means != "ok":
            return self._writer.rejected(write, meaning, reply.answered_us)
        return self._accepted(write, result)

    def _accepted(self, write: Write, result: Any) -> Outcome:
        adopted = not write.crm_id and self._adopted.hold(result)
        if self._record is not None:
            try:
                record = self._records.record(msgspec.json.encode(one(result, self._record)))
            except (msgspec.MsgspecError, BadRecord, ValueError, TypeError, OverflowError):
                return Unknown(reason="unreadable-answer")
            if write.crm_id and record.id != write.crm_id:
                return Unknown(reason="another-record")
            return Accepted(crm_id=record.id, record=record, adopted=adopted)
        crm_id = write.crm_id or (id_text(one(result, self._id)) if self._id is not None else "")
        if not crm_id:
            return Unknown(reason="unreadable-answer")
        return Accepted(crm_id=crm_id, record=None, adopted=adopted)
