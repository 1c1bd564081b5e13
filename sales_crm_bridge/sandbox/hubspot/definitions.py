"""The property definitions, pipelines and owners that a new account has: those that matter to leads, not all 350."""

from __future__ import annotations

from typing import Any

import msgspec

from sales_crm_bridge.sandbox.hubspot.kinds import COMPANIES, CONTACTS, LEADS


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One value of an enumeration: the internal one, and what people see."""

    label: str
    value: str
    display_order: int = msgspec.field(default=-1, name="displayOrder")
    hidden: bool = False


class Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One property of one object type."""

    name: str
    label: str
    type: str
    field_type: str
    group_name: str
    description: str = ""
    options: tuple[Option, ...] = ()
    has_unique_value: bool = False
    read_only: bool = False
    hidden: bool = False
    calculated: bool = False
    external_options: bool = False
    hubspot_defined: bool = True
    created_at: str = "2020-01-01T00:00:00.000Z"
    updated_at: str = "2020-01-01T00:00:00.000Z"
    archived_at: str = ""

    def wire(self) -> dict[str, Any]:
        """As the properties API shows it."""
        told: dict[str, Any] = {
            "updatedAt": self.updated_at,
            "createdAt": self.created_at,
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "description": self.description,
            "groupName": self.group_name,
            "options": self.options,
            "displayOrder": -1,
            "calculated": self.calculated,
            "externalOptions": self.external_options,
            "archived": bool(self.archived_at),
            "hasUniqueValue": self.has_unique_value,
            "hidden": self.hidden,
            "hubspotDefined": self.hubspot_defined,
            "modificationMetadata": {
                "archivable": not self.hubspot_defined,
                "readOnlyDefinition": self.hubspot_defined,
                "readOnlyValue": self.read_only,
            },
            "formField": not self.read_only,
        }
        if self.type == "enumeration":
            told["modificationMetadata"]["readOnlyOptions"] = self.hubspot_defined and self.name != "hs_lead_status"
        if self.archived_at:
            told["archivedAt"] = self.archived_at
        return told


_TEXT = ("string", "text")
_AREA = ("string", "textarea")
_PHONE = ("string", "phonenumber")
_NUMBER = ("number", "number")
_TIME = ("datetime", "date")
_DATE = ("date", "date")
_BOOL = ("bool", "booleancheckbox")
_EQUATION = ("number", "calculation_equation")
_ONE = ("enumeration", "select")
_MANY = ("enumeration", "checkbox")

_Row = tuple[str, str, tuple[str, str], str, str]
"""Name, label, types, flags (r: read-only, h: hidden, c: calculated, x: options live elsewhere), ``label=value`` options."""

_EVERYWHERE: list[_Row] = [
    ("hs_object_id", "Record ID", _NUMBER, "r", ""),
    ("hs_object_source", "Record source code", _TEXT, "rh", ""),
    ("hs_object_source_id", "Record source ID", _TEXT, "rh", ""),
    ("hs_object_source_label", "Record source", _ONE, "rx", ""),
    ("hs_merged_object_ids", "Merged record IDs", _MANY, "r", ""),
    ("hs_created_by_user_id", "Created by user ID", _NUMBER, "r", ""),
    ("hs_updated_by_user_id", "Updated by user ID", _NUMBER, "r", ""),
    ("hubspot_owner_id", "Owner", _ONE, "x", ""),
    ("hubspot_owner_assigneddate", "Owner assigned date", _TIME, "r", ""),
    ("hs_pipeline", "Pipeline", _ONE, "hx", ""),
]

_YES_NO = "Yes=true|No=false"
_LIFECYCLE = (
    "Subscriber=subscriber|Lead=lead|Marketing Qualified Lead=marketingqualifiedlead|Sales Qualified Lead=salesqualifiedlead"
    "|Opportunity=opportunity|Customer=customer|Evangelist=evangelist|Other=other"
)
_STATUS = (
    "New=NEW|Open=OPEN|In Progress=IN_PROGRESS|Open Deal=OPEN_DEAL|Unqualified=UNQUALIFIED"
    "|Attempted to Contact=ATTEMPTED_TO_CONTACT|Connected=CONNECTED|Bad Timing=BAD_TIMING"
)
_SOURCES = (
    "Organic Search=ORGANIC_SEARCH|Paid Search=PAID_SEARCH|Email Marketing=EMAIL_MARKETING|Organic Social=SOCIAL_MEDIA"
    "|Referrals=REFERRALS|Other Campaigns=OTHER_CAMPAIGNS|Direct Traffic=DIRECT_TRAFFIC|Offline Sources=OFFLINE"
    "|Paid Social=PAID_SOCIAL"
)

_ROLES = (
    "Blocker=BLOCKER|Budget Holder=BUDGET_HOLDER|Champion=CHAMPION|Decision Maker=DECISION_MAKER|End User=END_USER"
    "|Executive Sponsor=EXECUTIVE_SPONSOR|Influencer=INFLUENCER|Legal & Compliance=LEGAL_AND_COMPLIANCE|Other=OTHER"
)
_LANGUAGES = (
    "Afrikaans=af|Albanian=sq|Albanian - Albania=sq-al|Arabic=ar|Arabic - Algeria=ar-dz|Arabic - Bahrain=ar-bh"
    "|Arabic - Egypt=ar-eg|Arabic - Iraq=ar-iq|Arabic - Jordan=ar-jo|Arabic - Kuwait=ar-kw|Arabic - Lebanon=ar-lb"
    "|Arabic - Libya=ar-ly|English=en|French=fr|German=de|Italian=it|Polish=pl|Portuguese=pt|Spanish=es|Swedish=sv"
)
_SIZES = "1-5=1-5|5-25=5-25|25-50=25-50|50-100=50-100|100-500=100-500|500-1000=500-1000|1000+=1000+"
_REASONS = "Bad fit=BAD_FIT|Bad timing=BAD_TIMING|No budget=NO_BUDGET|Unresponsive=UNRESPONSIVE|Other=OTHER"

_CONTACT_ROWS: list[_Row] = [
    ("createdate", "Create Date", _TIME, "r", ""),
    ("lastmodifieddate", "Last Modified Date", _TIME, "r", ""),
    # Defined on contacts too, and never filled there: a search by it is empty, not an error.
    ("hs_lastmodifieddate", "Object last modified date", _TIME, "rh", ""),
    ("email", "Email", _TEXT, "", ""),
    ("hs_additional_emails", "Additional email addresses", _ONE, "rhc", ""),
    ("hs_email_domain", "Email Domain", _TEXT, "rc", ""),
    ("work_email", "Work email", _TEXT, "", ""),
    ("salutation", "Salutation", _TEXT, "", ""),
    ("firstname", "First Name", _TEXT, "", ""),
    ("lastname", "Last Name", _TEXT, "", ""),
    ("company", "Company Name", _TEXT, "", ""),
    ("jobtitle", "Job Title", _TEXT, "", ""),
    ("phone", "Phone Number", _PHONE, "", ""),
    ("mobilephone", "Mobile Phone Number", _PHONE, "", ""),
    ("fax", "Fax Number", _PHONE, "", ""),
    ("website", "Website URL", _TEXT, "", ""),
    ("address", "Street Address", _TEXT, "", ""),
    ("city", "City", _TEXT, "", ""),
    ("state", "State/Region", _TEXT, "", ""),
    ("zip", "Postal Code", _TEXT, "", ""),
    ("country", "Country/Region", _TEXT, "", ""),
    ("industry", "Industry", _TEXT, "", ""),
    ("annualrevenue", "Annual Revenue", _TEXT, "", ""),
    (
        "numemployees",
        "Number of Employees",
        _ONE,
        "",
        _SIZES,
    ),
    ("message", "Message", _AREA, "", ""),
    ("date_of_birth", "Date of birth", _TEXT, "", ""),
    ("start_date", "Start date", _TEXT, "", ""),
    ("closedate", "Close Date", _TIME, "", ""),
    ("lifecyclestage", "Lifecycle Stage", ("enumeration", "radio"), "x", _LIFECYCLE),
    ("hs_lifecyclestage_lead_date", "Became a Lead Date", _TIME, "rh", ""),
    ("hs_lead_status", "Lead Status", ("enumeration", "radio"), "", _STATUS),
    ("hs_analytics_source", "Original Source", _ONE, "", _SOURCES),
    ("hs_latest_source", "Latest Traffic Source", _ONE, "", _SOURCES),
    (
        "hs_buying_role",
        "Buying Role",
        _MANY,
        "",
        _ROLES,
    ),
    ("hs_language", "Preferred language", _ONE, "", _LANGUAGES),
    ("hs_email_optout", "Unsubscribed from all email", _BOOL, "r", _YES_NO),
    ("hs_all_contact_vids", "All vids for a contact", _ONE, "rhc", ""),
    ("hs_calculated_merged_vids", "Merged vids with timestamps of a contact", _ONE, "rhc", ""),
    ("hs_is_contact", "Is a contact", ("bool", "calculation_read_time"), "rhc", _YES_NO),
    ("hs_is_unworked", "Contact unworked", ("bool", "calculation_equation"), "r", _YES_NO),
    (
        "hs_currently_enrolled_in_prospecting_agent",
        "Enrolled in agent",
        ("bool", "calculation_equation"),
        "rc",
        _YES_NO,
    ),
    ("hs_membership_has_accessed_private_content", "Accessed private content", _EQUATION, "rc", ""),
    ("hs_registered_member", "Registered member", _EQUATION, "rc", ""),
    ("associatedcompanyid", "Primary Associated Company ID", _NUMBER, "hx", ""),
    ("num_notes", "Number of Sales Activities", _NUMBER, "r", ""),
    ("hubspotscore", "HubSpot Score", ("number", "calculation_score"), "r", ""),
]

_LEAD_ROWS: list[_Row] = [
    ("hs_createdate", "Create date", _TIME, "r", ""),
    ("hs_lastmodifieddate", "Last modified date", _TIME, "r", ""),
    ("hs_lead_name", "Lead name", _TEXT, "", ""),
    # The guide's example writes NEW BUSINESS with a space; the other two spellings are likely, not found in it.
    ("hs_lead_type", "Lead type", _ONE, "", "New business=NEW BUSINESS|Re-attempting=RE-ATTEMPTING|Upsell=UPSELL"),
    ("hs_lead_label", "Lead label", _ONE, "", "Warm=WARM|Cold=COLD|Hot=HOT"),
    ("hs_pipeline_stage", "Pipeline stage", ("enumeration", "radio"), "x", ""),
    (
        "hs_lead_disqualification_reason",
        "Disqualification reason",
        _ONE,
        "",
        _REASONS,
    ),
    ("hs_lead_disqualification_note", "Disqualification note", _AREA, "", ""),
    ("hs_lead_is_open", "Is open", _BOOL, "rc", ""),
    ("hs_lead_is_qualified", "Is qualified", _BOOL, "rc", ""),
    ("hs_lead_is_disqualified", "Is disqualified", _BOOL, "rc", ""),
    ("hs_tag_ids", "Tags", _MANY, "x", ""),
]

_COMPANY_ROWS: list[_Row] = [
    ("createdate", "Create Date", _TIME, "r", ""),
    ("hs_lastmodifieddate", "Last Modified Date", _TIME, "r", ""),
    ("name", "Company name", _TEXT, "", ""),
    ("domain", "Company Domain Name", _TEXT, "", ""),
    ("website", "Website URL", _TEXT, "", ""),
    ("phone", "Phone Number", _PHONE, "", ""),
    ("city", "City", _TEXT, "", ""),
    ("country", "Country/Region", _TEXT, "", ""),
    ("numberofemployees", "Number of Employees", _NUMBER, "", ""),
    ("lifecyclestage", "Lifecycle Stage", ("enumeration", "radio"), "x", _LIFECYCLE),
]

_ELSEWHERE = {
    "closedate": "deal_information",
    "date_of_birth": "facebook_ads_properties",
    "hs_analytics_source": "analyticsinformation",
    "hs_buying_role": "deal_information",
    "hs_email_optout": "emailinformation",
    "hs_is_unworked": "sales_properties",
    "hs_latest_source": "analyticsinformation",
    "hs_lead_status": "sales_properties",
    "hs_membership_has_accessed_private_content": "contactscripted",
    "hs_registered_member": "contactscripted",
    "hubspot_owner_assigneddate": "sales_properties",
    "hubspot_owner_id": "sales_properties",
    "hubspotscore": "sales_properties",
    "message": "contact_activity",
    "num_notes": "contact_activity",
    "start_date": "facebook_ads_properties",
    "work_email": "facebook_ads_properties",
}
"""Contact properties that are not in the group of the others."""

_GROUPS = {CONTACTS.name: "contactinformation", LEADS.name: "lead_information", COMPANIES.name: "companyinformation"}


def group_of(kind: str) -> str:
    """The property group that every account has for this object type."""
    return _GROUPS[kind]


def options(text: str) -> tuple[Option, ...]:
    """Read ``label=value`` pairs, separated by bars."""
    pairs = [part.split("=") for part in text.split("|") if part]
    return tuple(Option(label=label, value=value, display_order=order) for order, (label, value) in enumerate(pairs))


def _of(kind: str, rows: list[_Row]) -> dict[str, Definition]:
    return {
        name: Definition(
            name=name,
            label=label,
            type=types[0],
            field_type=types[1],
            group_name=_ELSEWHERE.get(name, _GROUPS[kind]) if kind == CONTACTS.name else _GROUPS[kind],
            options=options(choices),
            read_only="r" in flags,
            hidden="h" in flags,
            calculated="c" in flags,
            external_options="x" in flags,
        )
        for name, label, types, flags, choices in [*_EVERYWHERE, *rows]
    }


def definitions() -> dict[str, dict[str, Definition]]:
    """The definitions of a new account, by object type and name."""
    return {
        CONTACTS.name: _of(CONTACTS.name, _CONTACT_ROWS),
        LEADS.name: _of(LEADS.name, _LEAD_ROWS),
        COMPANIES.name: _of(COMPANIES.name, _COMPANY_ROWS),
    }


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a lead pipeline; ``outcome`` is open, qualified or disqualified."""

    id: str
    label: str
    outcome: str = "open"


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """A lead pipeline."""

    id: str
    label: str
    stages: tuple[Stage, ...]


LEAD_PIPELINE = Pipeline(
    id="lead-pipeline-id",
    label="Lead pipeline",
    stages=(
        Stage(id="new-stage-id", label="New"),
        Stage(id="attempting-stage-id", label="Attempting"),
        Stage(id="connected-stage-id", label="Connected"),
        Stage(id="qualified-stage-id", label="Qualified", outcome="qualified"),
        Stage(id="unqualified-stage-id", label="Disqualified", outcome="disqualified"),
    ),
)
"""The one that every account with leads has (leads guide); stages that people add have numbers for ids."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a record can belong to. ``id`` is what ``hubspot_owner_id`` holds; ``user_id`` is another number."""

    id: str
    user_id: int
    email: str
    first_name: str
    last_name: str
    archived: bool = False


OWNERS = (
    Owner(id="77", user_id=1077, email="ada.keller@sales.example", first_name="Ada", last_name="Keller"),
    Owner(id="78", user_id=1078, email="ben.okafor@sales.example", first_name="Ben", last_name="Okafor"),
    Owner(id="79", user_id=1079, email="carla.rossi@sales.example", first_name="Carla", last_name="Rossi"),
    Owner(id="80", user_id=1080, email="dan.former@sales.example", first_name="Dan", last_name="Former", archived=True),
)
