"""Reading HubSpot: pages of the feeds, records by id or key, and what their bytes say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sales_crm_adapters.hubspot.options import (
    CONTACT_PREFIX,
    CONTACTS,
    LEADS,
    MODIFIED,
    OBJECT_TYPE_IDS,
    Options,
    Paths,
)
from sales_crm_adapters.hubspot.wire import (
    LINKS,
    ROWS,
    Links,
    Rows,
    head_of,
    merged_ids,
    number,
    row_in,
    row_of,
    stamp,
    time_us,
    unavailable,
    understood,
)
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Effect,
    HttpCall,
    HttpReply,
    LeadState,
    Raw,
    Record,
    Ref,
    Scalar,
)
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BATCH_MAX = 100
NAMES_MAX = 2_000
"""Characters of property names in one request. A search's body may have 3,000, a list's address is refused with 414 when it is too
long (HubSpot's search and error pages, June 2026); beyond this, pages are read without properties and completed by a batch read."""

PRIMARY_CONTACT = 578
"""The association of a lead with its primary contact (HubSpot's leads guide, June 2026)."""


class Pair(msgspec.Struct, frozen=True, array_like=True):
    """A lead and its contact, as one raw record: a change of either changes its bytes."""

    lead: msgspec.Raw
    contact: msgspec.Raw


class Found(NamedTuple):
    """A record as HubSpot shows it, with its contact."""

    row: Raw
    contact: Raw | None = None


_pair_of = msgspec.json.Decoder(Pair).decode
encode = msgspec.json.Encoder().encode


class Reader:
    """What a connection reads, and how: one object type and, for leads with mapped contact fields, their contacts."""

    def __init__(self, options: Options, crm_fields: Sequence[str]) -> None:
        self.options = options
        self.paths = Paths(options.api_version)
        self.kind = options.object
        self.key = options.key_property
        contact = [name for name in crm_fields if name.startswith(CONTACT_PREFIX)] if self.kind == LEADS else []
        self.fields = tuple(name for name in crm_fields if name not in contact)
        self.contact_fields = tuple(name.removeprefix(CONTACT_PREFIX) for name in contact)
        merges = (
            ("hs_merged_object_ids", "hs_calculated_merged_vids")
            if self.kind == CONTACTS
            else ("hs_merged_object_ids",)
        )
        self.properties = tuple(dict.fromkeys((*self.fields, self.key, MODIFIED[self.kind], *merges)))
        self.contact_properties = tuple(
            dict.fromkeys((*self.contact_fields, MODIFIED[CONTACTS], "hs_additional_emails", "email"))
        )
        self.wide = len(",".join(self.properties)) > NAMES_MAX
        self.asked = () if self.wide else self.properties

    # --- many by id ---------------------------------------------------------------------------------------------------

    def batch(
        self, kind: str, names: Sequence[str], properties: Sequence[str], *, by: str = "", archived: bool = False
    ) -> Talk[dict[str, Raw]]:
        """The records under these ids (or values of the unique property ``by``), straight from the CRM; absent ones left out.

        A part that HubSpot refuses whole is halved, so one bad name hides no other. E-mail addresses are told in lower case.
        """
        found: dict[str, Raw] = {}
        path = self.paths.objects(kind, "/batch/read")
        asked = [name for name in dict.fromkeys((*properties, by)) if name]
        parts = [list(names[at : at + BATCH_MAX]) for at in range(0, len(names), BATCH_MAX)]
        while parts:
            calls = []
            for part in parts:
                wanted = {"inputs": [{"id": name} for name in part], "properties": asked, "propertiesWithHistory": []}
                body = encode(wanted | {"idProperty": by} if by else wanted)
                query = (("archived", "true" if archived else "false"),)
                calls.append(HttpCall(method="POST", path=path, effect=Effect.READ, query=query, body=body))
            replies = yield tuple(calls)
            again: list[list[str]] = []
            for part, reply in zip(parts, replies, strict=True):
                assert isinstance(reply, HttpReply)
                if reply.status in (400, 404):
                    half = len(part) // 2
                    again += [part[:half], part[half:]] if half else []
                    continue
                for row in plain(reply, understood(reply, ROWS, partial=True)):
                    found[_name(reply, row, by) if by else row.id] = row
            parts = again
        return found

    def links(self, origin: str, target: str, ids: Sequence[str]) -> Talk[dict[str, list[Links]]]:
        """The associations of each of these records, all pages of them."""
        found: dict[str, list[Links]] = {}
        inputs: list[dict[str, str]] = [{"id": name} for name in ids]
        while inputs:
            call = HttpCall(
                method="POST",
                path=self.paths.links(origin, target),
                effect=Effect.READ,
                body=encode({"inputs": inputs[:1000]}),
            )
            reply = yield from ask(call)
            inputs = inputs[1000:]
            for link in understood(reply, LINKS, partial=True).results:
                found.setdefault(link.start.id, []).append(link)
                if link.paging and link.paging.next:
                    inputs.append({"id": link.start.id, "after": link.paging.next.after})
        return found

    def contacts_of(self, leads: Sequence[str]) -> Talk[dict[str, str]]:
        """Each lead's primary contact, or its first one; leads without any are left out."""
        links = yield from self.links(LEADS, CONTACTS, leads)
        chosen: dict[str, str] = {}
        for lead, several in links.items():
            ends = [end for link in several for end in link.to]
            ends.sort(
                key=lambda end: (
                    all(kind.type_id != PRIMARY_CONTACT for kind in end.association_types),
                    number(str(end.to_object_id)),
                )
            )
            if ends:
                chosen[lead] = str(ends[0].to_object_id)
        return chosen

    def with_contacts(self, rows: Sequence[Raw]) -> Talk[list[Found]]:
        """Leads with their contacts, if the mapping asks for any field of theirs; one for each row."""
        if not self.contact_fields or not rows:
            return [Found(row) for row in rows]
        chosen = yield from self.contacts_of([row.id for row in rows])
        contacts = yield from self.batch(CONTACTS, list(dict.fromkeys(chosen.values())), self.contact_properties)
        return [Found(row, contacts.get(chosen.get(row.id, ""))) for row in rows]

    # --- single records by id or key ----------------------------------------------------------------------------------

    def read(self, refs: Sequence[Ref]) -> Talk[list[Record]]:
        """See ``ports.CrmAdapter.read``: the live ones first, then those in the bin, then one by one.

        An old id of a merged record leads to the survivor only when it is asked for alone (HubSpot's contacts guide, June 2026).
        """
        ids = list(dict.fromkeys(ref.id for ref in refs if ref.id))
        keys = list(dict.fromkeys(ref.key for ref in refs if not ref.id and ref.key))
        told: dict[Ref, Record] = {}
        for by, names in (("", ids), (self.key, keys)):
            live = yield from self.batch(self.kind, names, self.properties, by=by)
            missing = [name for name in names if name not in live]
            binned = yield from self.batch(self.kind, missing, self.properties, by=by, archived=True)
            moved: dict[str, Record] = {}
            if not by:
                moved = yield from self._alone([name for name in missing if name not in binned])
            full = yield from self.with_contacts(list(live.values()))
            shown = dict(zip(live, full, strict=True)) | {name: Found(row) for name, row in binned.items()}
            for name in names:
                ref = Ref(key=name) if by else Ref(id=name)
                told[ref] = self._recorded(shown[name]) if name in shown else moved.get(name, _gone(ref))
        nothing = _gone(Ref())
        return [told.get(Ref(id=ref.id) if ref.id else Ref(key=ref.key), nothing) for ref in refs]

    def _alone(self, names: Sequence[str]) -> Talk[dict[str, Record]]:
        """Records under ids that no batch knows: merged into another, or alive after all."""
        if not names:
            return {}
        query = (("properties", ",".join(self.asked)),) if self.asked else ()
        calls = [
            HttpCall(
                method="GET", path=self.paths.objects(self.kind, f"/{_safe(name)}"), effect=Effect.READ, query=query
            )
            for name in names
        ]
        replies = yield tuple(calls)
        told: dict[str, Record] = {}
        for name, reply in zip(names, replies, strict=True):
            assert isinstance(reply, HttpReply)
            if reply.status in (400, 404):  # 400: not an id at all; 404 comes as a page of HTML
                continue
            row = row_in(reply)
            if row.id == name:
                raise unavailable(reply, "read-again")  # it came back between two calls: the next read shows it whole
            told[name] = Record(
                id=name, version="", modified_us=time_us(row.updated_at), fields={}, state=LeadState.MERGED, into=row.id
            )
        return told

    # --- what bytes say -----------------------------------------------------------------------------------------------

    def _recorded(self, one: Found) -> Record:
        try:
            return self.record(one.row.data, one.contact.data if one.contact else b"")
        except (msgspec.MsgspecError, ValueError) as fault:
            raise CrmUnavailable(
                "hubspot.unreadable-record",
                "HubSpot shows a record in a form that this adapter does not know",
                retry_at_us=0,
                remedy="report the shape of the record to the maintainers",
            ) from fault

    def decode(self, raws: Iterable[Raw]) -> list[Record]:
        """See ``ports.CrmAdapter.decode``; raises ``msgspec.ValidationError`` for a record of an unknown shape."""
        if not self.contact_fields:
            return [self.record(raw.data) for raw in raws]
        pairs = (_pair_of(raw.data) for raw in raws)
        return [
            self.record(bytes(pair.lead), b"" if (far := bytes(pair.contact)) == b"null" else far) for pair in pairs
        ]

    def record(self, data: bytes, contact: bytes = b"", *, partial: bool = False) -> Record:
        """The record in these bytes; a missing property was not shown. ``partial``: an answer to a write."""
        row = row_of(data)
        shown = row.properties
        # A read shows an empty property as null, and has no word of one that is not defined (HubSpot's objects page, June 2026).
        fields: dict[str, Scalar] = {name: shown[name] or None for name in self.fields if name in shown}
        version, modified_us = stamp(row)
        parts: tuple[tuple[str, str], ...] = ()
        if contact:
            far = row_of(contact)
            for name in self.contact_fields:
                if name in far.properties:
                    fields[CONTACT_PREFIX + name] = far.properties[name] or None
            far_version, far_us = stamp(far)
            version, modified_us = f"{version}|{far_version}", max(modified_us, far_us)
            parts = ((CONTACTS, far.id),)
        elif self.contact_fields and not partial:
            fields |= dict.fromkeys((CONTACT_PREFIX + name for name in self.contact_fields), None)
        return Record(
            id=row.id,
            version=version,
            modified_us=modified_us,
            fields=fields,
            state=LeadState.ARCHIVED if row.archived else LeadState.LIVE,
            key=shown.get(self.key) or "",
            created_us=time_us(row.created_at) if row.created_at else 0,
            merged_ids=merged_ids(row),
            parts=parts,
            url=row.url or self._url(row.id),
        )

    def _url(self, crm_id: str) -> str:
        portal = self.options.portal_id
        kind = OBJECT_TYPE_IDS[self.kind]
        return f"https://{self.options.ui_domain}/contacts/{portal}/record/{kind}/{crm_id}" if portal else ""


def plain(reply: HttpReply, page: Rows) -> list[Raw]:
    """A page's rows as they are, all sound, or ``CrmUnavailable``: a page is taken whole or not at all."""
    raws: list[Raw] = []
    try:
        for row in page.results:
            head = head_of(row)
            raws.append(Raw(head.id, *stamp(head), bytes(row)))
    except (msgspec.MsgspecError, ValueError) as fault:
        raise unavailable(reply) from fault
    return raws


def _name(reply: HttpReply, row: Raw, by: str) -> str:
    """What a record was asked for by: its value of a unique property."""
    try:
        name = row_of(row.data).properties.get(by) or ""
    except (msgspec.MsgspecError, ValueError) as fault:
        raise unavailable(reply) from fault
    return name.lower() if by == "email" else name


def _gone(ref: Ref) -> Record:
    return Record(id=ref.id, version="", modified_us=0, fields={}, state=LeadState.GONE, key=ref.key)


def _safe(name: str) -> str:
    """An id for a path; anything that is no number cannot be one, and must not lead elsewhere."""
    return name if name.isdecimal() else "0"
