"""What a connection to HubSpot can be told, and where things are under each version of the API."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CONTACTS, LEADS = "contacts", "leads"
OBJECT_TYPE_IDS = {CONTACTS: "0-1", LEADS: "0-136"}
MODIFIED = {CONTACTS: "lastmodifieddate", LEADS: "hs_lastmodifieddate"}
"""The wrong one gives an empty search, not an error (HubSpot's search page, June 2026)."""

CONTACT_PREFIX = "contact."
"""With the Lead object, CRM fields with this prefix are properties of the lead's contact."""

PropertyName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a HubSpot connection."""

    object: Annotated[
        Literal["contacts", "leads"],
        Meta(
            description="What a lead is in this account: a contact, or a record of the Lead object (Sales Hub Professional and up)."
        ),
    ] = "contacts"
    api_version: Annotated[
        Literal["v3", "2026-03", "2026-09"],
        Meta(description="The version of HubSpot's CRM API: the classic v3, or a date-versioned one."),
    ] = "v3"
    key_property: Annotated[
        PropertyName,
        Meta(description="The property that holds our lead id; it must exist on the object and have unique values."),
    ] = "bridge_lead_id"
    portal_id: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]*$",
            description="The account's Hub ID. If given, another account is refused by the check, links to records can be"
            " given, and webhook events of the app's other accounts are passed over.",
        ),
    ] = ""
    ui_domain: Annotated[
        str, Meta(pattern=r"^[a-z0-9.-]+$", description="Where people see this account, for links to records.")
    ] = "app.hubspot.com"


class Paths:
    """Addresses under one version: ``/crm/v3/objects/…`` or ``/crm/objects/2026-03/…``, with the same bodies."""

    def __init__(self, version: str) -> None:
        dated = version != "v3"
        self._crm = f"/crm/{{}}/{version}" if dated else "/crm/v3/{}"
        self._links = f"/crm/associations/{version}" if dated else "/crm/v4/associations"
        self.account = f"/account-info/{version if dated else 'v3'}/details"
        # The token endpoint got a dated path with 2026-09 only; v1 serves all versions until September 2027.
        self.token = "/oauth/2026-09/token" if version == "2026-09" else "/oauth/v1/token"

    def objects(self, kind: str, rest: str = "") -> str:
        """Records of an object type."""
        return f"{self._crm.format('objects')}/{kind}{rest}"

    def properties(self, kind: str) -> str:
        """Property definitions of an object type."""
        return f"{self._crm.format('properties')}/{kind}"

    def pipelines(self, kind: str) -> str:
        """Pipelines of an object type."""
        return f"{self._crm.format('pipelines')}/{kind}"

    def links(self, origin: str, target: str) -> str:
        """Associations of many records of type ``origin`` with records of type ``target``."""
        return f"{self._links}/{origin}/{target}/batch/read"
