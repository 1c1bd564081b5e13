"""Reading records by name: by their id, or by our key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.paths import MISSING, Path, Shape, path_of, paths_of
from sales_crm_adapters.rest.records import BadRecord
from sales_crm_adapters.rest.templates import Calls
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import Effect, HttpReply, LeadState, Record, Ref
from sales_crm_bridge.ports import Talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sales_crm_adapters.rest.answers import Answers, Meaning
    from sales_crm_adapters.rest.options import Options, ReadKey
    from sales_crm_adapters.rest.records import Records


class Rows:
    """The records of an answer that stand at these places: lists of them, one alone, or none."""

    def __init__(self, places: Sequence[Path], records: Records) -> None:
        paths = {str(at): path for at, path in enumerate(places)}
        self._shape = Shape(paths, rows=list(paths))
        self._records = records

    def read(self, reply: HttpReply) -> list[Record] | None:
        """The records; None: the answer cannot be read, or has nothing at that place."""
        shown = self.shown(reply)
        return None if shown is None else shown[0]

    def shown(self, reply: HttpReply) -> tuple[list[Record], bool] | None:
        """The same, and whether lists were shown: what stands in a list may be there for another reason than our question."""
        if reply.status in (204, 304):
            return [], False
        listed = False
        try:
            records: list[Record] = []
            for found in self._shape.read(reply.body).values():
                if isinstance(found, list):
                    listed = True
                    records += [self._records.record(text) for text in found if bytes(text) != b"null"]
                elif isinstance(found, dict):
                    records += [self._records.record(msgspec.json.encode(found))] if found else []
                elif found is not None and found is not False:
                    return None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadRecord, ValueError, OverflowError):
            return None
        return list({record.id: record for record in records}.values()), listed


class Reader:
    """Reads straight from the CRM's records."""

    def __init__(self, options: Options, records: Records, answers: Answers) -> None:
        self._records = records
        self._answers = answers
        part, common = options.read, options.common
        self._one = Calls(part.one, common, Effect.READ)
        self._one_rows = Rows([path_of(part.one.record)], records)
        self._many = Calls(part.many, common, Effect.READ) if part.many is not None else None
        self._many_rows = Rows([path_of(part.many.records)], records) if part.many is not None else None
        self._max = part.many.max if part.many is not None else 0
        self._complete = part.many.complete if part.many is not None else False
        self._key = Calls(part.key, common, Effect.READ) if part.key is not None else None
        self._key_rows = Rows(_places(part.key), records)

    def read(self, refs: Sequence[Ref]) -> Talk[list[Record]]:
        """See ``ports.CrmAdapter.read``: each record is asked for once, all of them at the same time."""
        by_id: dict[str, Record] = {}
        ids = list(dict.fromkeys(ref.id for ref in refs if ref.id))
        if self._many is not None and len(ids) > 1:
            by_id = yield from self._read_many([name for name in ids if self._sendable(name)])
        singly = [name for name in ids if name not in by_id and self._sendable(name)]
        keys = list(dict.fromkeys(ref.key for ref in refs if not ref.id and ref.key)) if self._key is not None else []
        calls = [self._one.call(self._given(id=self._records.id_value(name))) for name in singly]
        calls += [self._key.call(self._given(key=key)) for key in keys] if self._key is not None else []
        replies = [self._heard(reply) for reply in ((yield tuple(calls)) if calls else ())]
        for name, reply in zip(singly, replies, strict=False):
            by_id[name] = self._held(name, reply)
        by_key = {key: self._keyed(key, reply) for key, reply in zip(keys, replies[len(singly) :], strict=True)}
        return [
            by_id.get(ref.id) or gone(ref.id) if ref.id else by_key.get(ref.key) or gone("", ref.key) for ref in refs
        ]

    @staticmethod
    def _heard(reply: Any) -> HttpReply:
        assert isinstance(reply, HttpReply)
        return reply

    def _given(self, **values: Any) -> dict[str, Any]:
        return {"names": self._records.names, **values}

    def _sendable(self, crm_id: str) -> bool:
        return self._records.id_value(crm_id) is not MISSING

    def _read_many(self, ids: Sequence[str]) -> Talk[dict[str, Record]]:
        """Those of ``ids`` that the answers show; all of them where an answer shows everything there is."""
        assert self._many is not None
        assert self._many_rows is not None
        parts = [ids[at : at + self._max] for at in range(0, len(ids), self._max)]
        calls = [self._many.call(self._given(ids=[self._records.id_value(name) for name in part])) for part in parts]
        found: dict[str, Record] = {}
        for part, heard in zip(parts, (yield tuple(calls)) if calls else (), strict=True):
            reply = self._heard(heard)
            meaning = self._answers.meaning(reply)
            records = self._many_rows.read(reply) if meaning.means == "ok" else [] if meaning.means == "gone" else None
            if records is None:
                raise self._fault(meaning, reply)
            shown = {record.id: record for record in records if record.id in part}
            found |= shown
            if self._complete:
                found |= {name: gone(name) for name in part if name not in shown}
        return found

    def _held(self, name: str, reply: HttpReply) -> Record:
        """The record under an id, as one answer tells it."""
        meaning = self._answers.meaning(reply)
        told = ended(name, meaning)
        if told is not None:
            return told
        shown = self._one_rows.shown(reply) if meaning.means == "ok" else None
        if shown is None:
            raise self._fault(meaning, reply)
        records, listed = shown
        if not records:
            return gone(name)
        own = next((record for record in records if record.id == name), None)
        if own is not None:
            return own
        if listed or len(records) > 1:
            # Others than the one that was asked for: the CRM does not heed the question, so this proves nothing of it.
            raise self._fault(meaning, reply)
        # One record, and another under this id: it was merged into that one.
        return msgspec.structs.replace(gone(name), state=LeadState.MERGED, into=records[0].id)

    def _fault(self, meaning: Meaning, reply: HttpReply) -> CrmUnavailable:
        """An answer that shows no record: one that cannot be read, or is refused by itself, holds up no other (``unreadable``).

        Where the CRM says no more than that something is wrong, all reading waits.
        """
        its_own = meaning.means in ("ok", "forbidden", "validation", "conflict", "duplicate", "unsupported")
        return self._answers.unavailable(reply, "unreadable" if its_own else "read-refused")

    def _keyed(self, key: str, reply: HttpReply) -> Record:
        """The record under our key; searches that are not exact find others too."""
        meaning = self._answers.meaning(reply)
        if meaning.means in ("gone", "archived"):
            return gone("", key)
        records = self._key_rows.read(reply) if meaning.means == "ok" else None
        if records is None:
            raise self._fault(meaning, reply)
        return best([record for record in records if record.key == key]) or gone("", key)


def _places(part: ReadKey | None) -> Sequence[Path]:
    if part is None:
        return ()
    return paths_of(part.records) if part.records is not None else [path_of(part.record or "")]


def best(records: Iterable[Record]) -> Record | None:
    """Of several records with one key the one that is alive and was made first."""
    order = (LeadState.LIVE, LeadState.CONVERTED, LeadState.ARCHIVED)
    ranked = sorted(
        records,
        key=lambda record: (order.index(record.state) if record.state in order else 9, record.created_us, record.id),
    )
    return ranked[0] if ranked else None


def gone(crm_id: str, key: str = "") -> Record:
    """What is known of a record that is not there."""
    return Record(id=crm_id, version="", modified_us=0, fields={}, state=LeadState.GONE, key=key)


def ended(crm_id: str, meaning: Meaning) -> Record | None:
    """A record that is no longer alive, as a refusal tells it; None: the answer tells no such thing."""
    match meaning.means:
        case "gone":
            return gone(crm_id)
        case "archived":
            return msgspec.structs.replace(gone(crm_id), state=LeadState.ARCHIVED)
        case "merged" if meaning.other:
            return msgspec.structs.replace(gone(crm_id), state=LeadState.MERGED, into=meaning.other)
        case "merged":
            return gone(crm_id)
        case "converted":
            return msgspec.structs.replace(gone(crm_id), state=LeadState.CONVERTED)
        case _:
            return None
