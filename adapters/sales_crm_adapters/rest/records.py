"""Records: from the CRM's JSON to the bridge's values, and from a write's values to what a request carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.about_records import Id
from sales_crm_adapters.rest.answers import id_text
from sales_crm_adapters.rest.checks import Check
from sales_crm_adapters.rest.fields import Field
from sales_crm_adapters.rest.notions import Times
from sales_crm_adapters.rest.paths import MISSING, Path, Shape, is_plain, path_of, put
from sales_crm_adapters.rest.templates import Template, plain
from sales_crm_adapters.rest.times import TimeForm
from sales_crm_bridge.model import LeadState, Raw, Record, Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_adapters.rest.about_records import RecordPart, RemovedList
    from sales_crm_adapters.rest.notions import Steps
    from sales_crm_bridge.model import Write

REMOVED = b'["removed",'
"""What a row of a list of removed records begins with where it is no whole record; no record does."""


_TEXTS = frozenset({str, type(None)})
NAME = ("id", "modified", "version")
"""What a record is known by."""


class BadRecord(ValueError):
    """A record that lacks its id, or tells no time where there should be one."""


class Records:
    """Reads and fills in records of one declaration, for the CRM fields that the mapping reads."""

    def __init__(self, part: RecordPart, crm_fields: Sequence[str], removed: RemovedList | None) -> None:
        self.fields = {name: Field(name, part) for name in crm_fields}
        self._part = part
        self.numbers = isinstance(part.id, Id) and part.id.type == "number"
        self._counted = isinstance(part.version, Id) and part.version.type == "number"
        self._modified = moment(part.modified, part)
        self._created = moment(part.created, part)
        self.form = self._modified[1] if self._modified else None
        self._key = path_of(part.key) if part.key is not None else None
        self._prefix = path_of(part.fields)
        self._key_within = key_within(part)
        self._url = Template(part.url) if part.url else None
        head = self._head_paths(part)
        self._head = Shape(head)
        self._versioned = part.version is not None
        self._heads = [self._head.reader(name) if name in head else _nowhere for name in NAME]
        wanted = dict(head)
        wanted |= {f"field.{name}": (*self._prefix, *field.path) for name, field in self.fields.items()}
        wanted |= {"created": self._created[0]} if self._created else {}
        wanted |= {"key": self._key} if self._key is not None else {}
        wanted |= {"into": path_of(part.into)} if part.into is not None else {}
        wanted |= {"merged": path_of(part.merged_ids)} if part.merged_ids is not None else {}
        wanted |= {f"successor.{kind}": path_of(path) for kind, path in part.successors.items()}
        self._states = [
            (state, [(f"state.{state}.{path}", Check(test)) for path, test in tests.items()])
            for state, tests in (
                (LeadState.ARCHIVED, part.states.archived),
                (LeadState.MERGED, part.states.merged),
                (LeadState.CONVERTED, part.states.converted),
            )
            if tests
        ]
        wanted |= {name: path_of(name.split(".", 2)[2]) for _, checks in self._states for name, _ in checks}
        self._whole = Shape(wanted)
        self._get = {name: self._whole.reader(name) for name in wanted}
        self._named = [self._get.get(name, _nowhere) for name in NAME]
        # Most fields stand side by side in one structure and are texts: those are taken as they are, without a call for each.
        places = {name: (*self._prefix, *field.path) for name, field in self.fields.items()}
        self._bundles = self._whole.bundle(places)
        bundled = {name for bundle in self._bundles for name in bundle.names}
        self._others = [
            (name, self._get[f"field.{name}"], field.scalar)
            for name, field in self.fields.items()
            if name not in bundled
        ]
        empty = [field.empty_texts for field in self.fields.values()]
        self._empty_texts = frozenset[object]().union(*empty)
        self._removed = _Rows(removed, part) if removed is not None and removed.record is not None else None
        self.removed_state = LeadState.GONE if removed is not None and removed.state == "gone" else LeadState.ARCHIVED
        names = [path[0] for path in wanted.values() if path]
        within = [field.path[0] for field in self.fields.values() if field.path]
        self.names = list(dict.fromkeys(within if self._prefix else names))

    def _head_paths(self, part: RecordPart) -> dict[str, Path]:
        paths = {"id": _place(part.id)}
        paths |= {"modified": self._modified[0]} if self._modified else {}
        paths |= {"version": _place(part.version)} if part.version is not None else {}
        return paths

    # --- reading ------------------------------------------------------------------------------------------------------

    def raw(self, text: bytes | msgspec.Raw, *, removed: bool = False) -> Raw:
        """A record of a page. Raises ``BadRecord``, or ``msgspec.MsgspecError``, for what is none."""
        if removed and self._removed is not None:
            return self._removed.raw(text)
        told = self._head.decoded(text)
        crm_id, version, modified_us = self._name(*[fetch(told) for fetch in self._heads])
        if removed:
            return Raw(crm_id, f"removed:{version}", modified_us, REMOVED + bytes(text) + b"]")
        return Raw(crm_id, version, modified_us, bytes(text))

    def _name(self, crm_id: Any, written: Any, told_version: Any) -> tuple[str, str, int]:
        """Id, version and modified time."""
        name = id_text(crm_id)
        if not name:
            raise BadRecord("a record has no id")
        modified_us = 0
        if self._modified and written is not MISSING and written is not None:
            modified_us = self._modified[1].read(written)
        version = told_version if self._versioned else written
        return name, "" if version is MISSING or version is None else plain(version), modified_us

    def decode(self, raw: Raw) -> Record:
        """The record of a page's raw one."""
        if not raw.data.startswith(REMOVED):
            return self._record(self._whole.decoded(raw.data), raw.id, raw.version, raw.modified_us)
        if self._removed is not None:
            return Record(
                id=raw.id, version=raw.version, modified_us=raw.modified_us, fields={}, state=self.removed_state
            )
        record = self.record(raw.data[len(REMOVED) : -1])
        return msgspec.structs.replace(record, version=raw.version, state=self.removed_state)

    def record(self, text: bytes | msgspec.Raw) -> Record:
        """A whole record. Raises as ``raw`` does."""
        told = self._whole.decoded(text)
        return self._record(told, *self._name(*[fetch(told) for fetch in self._named]))

    def _record(self, told: Any, crm_id: str, version: str, modified_us: int) -> Record:
        get = self._get
        state = self._state(told)
        key = get["key"](told) if "key" in get else ""
        into = id_text(get["into"](told)) if "into" in get else ""
        return Record(
            id=crm_id,
            version=version,
            modified_us=modified_us,
            fields=self._values(told),
            state=state,
            key=key if isinstance(key, str) else id_text(key),
            created_us=self._created_us(told),
            into=into if state is LeadState.MERGED else "",
            merged_ids=self._ids("merged", told),
            successors=self._successors(told) if state is LeadState.CONVERTED else (),
            url=self._url.text({"id": crm_id}, quoted=True) if self._url is not None else "",
        )

    def _values(self, told: Any) -> dict[str, Scalar]:
        fields: dict[str, Scalar] = {}
        for bundle in self._bundles:
            values = bundle.values(told)
            if not values:
                fields.update(dict.fromkeys(bundle.names))
            elif _TEXTS.issuperset(map(type, values)) and self._empty_texts.isdisjoint(values):
                fields.update(zip(bundle.names, values, strict=False))
            else:
                for name, value in zip(bundle.names, values, strict=False):
                    fields[name] = self.fields[name].scalar(value)
        for name, fetch, scalar in self._others:
            fields[name] = scalar(fetch(told))
        return fields

    def _state(self, told: Any) -> LeadState:
        for state, checks in self._states:
            if all(check.holds(_listed(self._get[name](told))) for name, check in checks):
                return state
        return LeadState.LIVE

    def _created_us(self, told: Any) -> int:
        if self._created is None:
            return 0
        written = self._get["created"](told)
        return self._created[1].read(written) if written is not MISSING and written is not None else 0

    def _ids(self, name: str, told: Any) -> tuple[str, ...]:
        if name not in self._get:
            return ()
        return tuple(dict.fromkeys(found for value in _listed(self._get[name](told)) if (found := id_text(value))))

    def _successors(self, told: Any) -> tuple[tuple[str, str], ...]:
        found = [(kind, id_text(self._get[f"successor.{kind}"](told))) for kind in self._part.successors]
        return tuple((kind, crm_id) for kind, crm_id in found if crm_id)

    # --- writing ------------------------------------------------------------------------------------------------------

    def id_value(self, crm_id: str) -> Any:
        """An id as requests carry it; ``MISSING`` for one that cannot be one."""
        if not self.numbers:
            return crm_id
        return int(crm_id) if crm_id.isascii() and crm_id.isdecimal() and len(crm_id) < 19 else MISSING  # noqa: PLR2004

    def version_value(self, version: str) -> Any:
        """A version as requests carry it."""
        return int(version) if self._counted and version.isascii() and version.isdecimal() else version

    def values(self, write: Write, *, with_key: bool, without: Sequence[str] = ()) -> dict[str, Any]:
        """What a write sets, as the object of the CRM's fields; our key in it if it stands among them."""
        made: dict[str, Any] = {}
        for name, value in write.fields.items():
            if name not in without:
                field = self.field(name)
                put(made, field.target, field.wire(value))
        if with_key and self._key_within:
            put(made, self._key_within, write.key)
        return made

    @property
    def key_name(self) -> str:
        """What the mapping would call the field of our key; "" where it stands apart from the fields, or nowhere."""
        return ".".join(self._key_within)

    def field(self, name: str) -> Field:
        """A field by its name; one that the mapping does not read is known by the general rule."""
        return self.fields.get(name) or Field(name, self._part)

    def unwritable(self, write: Write) -> list[str]:
        """Fields of a write that the declaration cannot write."""
        return [name for name in write.fields if not self.field(name).writable]

    def called(self, names: Sequence[str], written: Sequence[str]) -> tuple[str, ...]:
        """The mapping's names for what the CRM calls its fields in an error, those that were written first."""
        known = [*written, *self.fields]
        return tuple(dict.fromkeys(self._called(name, known) for name in names))

    def _called(self, name: str, known: Sequence[str]) -> str:
        if name in known:
            return name
        for one in known:
            field = self.field(one)
            if name in (".".join(field.target), field.target[-1], ".".join((*self._prefix, *field.target))):
                return one
        return name


class _Rows:
    """Rows of a list of removed records that are no whole records."""

    def __init__(self, listing: RemovedList, part: RecordPart) -> None:
        assert listing.record is not None
        self._modified = moment(listing.record.modified, part)
        paths = {"id": path_of(listing.record.id)}
        paths |= {"modified": self._modified[0]} if self._modified else {}
        self._shape = Shape(paths)

    def raw(self, text: bytes | msgspec.Raw) -> Raw:
        told = self._shape.read(text)
        crm_id = id_text(told["id"])
        if not crm_id:
            raise BadRecord("a row has no id")
        written = told.get("modified", MISSING)
        modified_us = self._modified[1].read(written) if self._modified and written not in (MISSING, None) else 0
        version = plain(written) if written not in (MISSING, None) else ""
        return Raw(crm_id, f"removed:{version}", modified_us, REMOVED + bytes(text) + b"]")


def key_within(part: RecordPart) -> Path:
    """Where our key stands among the fields, so that ``{fields}`` of a new record holds it; () where it does not."""
    key, prefix = path_of(part.key or ""), path_of(part.fields)
    inner = key[len(prefix) :] if key[: len(prefix)] == prefix else ()
    return inner if is_plain(inner) else ()


def _nowhere(_decoded: Any) -> Any:
    return MISSING


def _place(told: Steps | Id) -> Path:
    return path_of(told.at if isinstance(told, Id) else told)


def moment(told: Steps | Times | None, part: RecordPart) -> tuple[Path, TimeForm] | None:
    """Where a time stands and how it is written; a bare path is written as the modified time is."""
    if told is None:
        return None
    if isinstance(told, Times):
        return path_of(told.at), TimeForm(told)
    like = part.modified if isinstance(part.modified, Times) else Times(at="")
    return path_of(told), TimeForm(like)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
