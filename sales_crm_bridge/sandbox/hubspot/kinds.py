"""The object types that the sandbox knows, and what differs between them."""

from __future__ import annotations

import msgspec


class Kind(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One object type.

    ``name``: as in paths, ``word``: as in scopes' messages and associations, ``type_id``: as in webhooks. ``modified`` differs
    between contacts and everything else (CRM search guide, 2026-03), and so does ``created``. ``shown``: what a read gives when
    no properties are asked for. ``echoed``: what the answer to an update shows beside the written properties (recorded
    answers of October 2024). ``hooks``: the prefix of webhook types; leads have only the generic one.
    """

    name: str
    word: str
    type_id: str
    modified: str
    created: str
    shown: tuple[str, ...]
    echoed: tuple[str, ...]
    searched: tuple[str, ...]
    hooks: str

    @property
    def always(self) -> tuple[str, ...]:
        """What every read shows, whatever is asked for."""
        return (self.created, "hs_object_id", self.modified)


_SOURCE = ("hs_object_source", "hs_object_source_id", "hs_object_source_label")

CONTACTS = Kind(
    name="contacts",
    word="contact",
    type_id="0-1",
    modified="lastmodifieddate",
    created="createdate",
    shown=("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
    echoed=("hs_is_contact", "hs_is_unworked", *_SOURCE, "hs_pipeline", "lifecyclestage"),
    searched=("firstname", "lastname", "email", "phone", "hs_additional_emails", "company"),
    hooks="contact",
)
LEADS = Kind(
    name="leads",
    word="lead",
    type_id="0-136",
    modified="hs_lastmodifieddate",
    created="hs_createdate",
    shown=("hs_createdate", "hs_lastmodifieddate", "hs_object_id"),
    echoed=(*_SOURCE, "hs_lead_name", "hs_pipeline", "hs_pipeline_stage"),
    searched=("hs_lead_name",),
    hooks="object",
)
COMPANIES = Kind(
    name="companies",
    word="company",
    type_id="0-2",
    modified="hs_lastmodifieddate",
    created="createdate",
    shown=("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    echoed=(*_SOURCE, "hs_pipeline", "lifecyclestage"),
    searched=("name", "domain", "website", "phone"),
    hooks="company",
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CONTACTS, LEADS, COMPANIES)}
"""By name, in the order in which they were taught."""

_SPELLINGS: dict[str, Kind] = {
    spelling: kind for kind in KINDS.values() for spelling in (kind.name, kind.word, kind.type_id)
}


def kind_of(spelling: str) -> Kind | None:
    """Find an object type by plural or singular name in any case (a recorded path has ``CONTACT``), or by its id."""
    return _SPELLINGS.get(spelling) or _SPELLINGS.get(spelling.lower())
