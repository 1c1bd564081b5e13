"""The leads that are read: one record of about 1 KB, twenty mapped fields, in the words of each CRM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH_S = 1_790_000_000
SOURCES = ("WEB", "REFERRAL", "EVENT", "OUTBOUND", "PARTNER")
STATES = ("NEW", "OPEN", "IN_PROGRESS", "CONNECTED", "UNQUALIFIED")

MAPPING = """
  email: email
  first_name: firstname
  last_name: lastname
  phone: phone
  mobile_phone: mobilephone
  company_name: company
  job_title: jobtitle
  website: website
  source: lead_source
  campaign: campaign
  description: message
  street: address
  city: city
  region: state
  postal_code: zip
  country_code: country
  industry: industry
  created_at: createdate
  last_activity_at: notes_last_updated
  status:
    crm: hs_lead_status
    values: {NEW: new, OPEN: working, IN_PROGRESS: working, CONNECTED: qualified, UNQUALIFIED: disqualified}
    write_values: {working: OPEN}
"""
"""Twenty fields of a tenant's file: seventeen texts, two times, one status."""


def moment(number: int, late_s: int = 0) -> str:
    """An ISO time with milliseconds, as HubSpot writes it; one more second for each number."""
    seconds = number + late_s
    day, rest = divmod(seconds, 86_400)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T{hour:02d}:{minute:02d}:{second:02d}.{number % 1000:03d}Z"


def properties(number: int) -> dict[str, str | None]:
    """The fields of lead ``number``."""
    return {
        "email": f"person.{number}@company-{number % 997}.example",
        "firstname": f"Given{number % 1013}",
        "lastname": f"Family{number % 7919}",
        "phone": f"+49 30 {number:09d}",
        "mobilephone": f"+49 151 {number:08d}",
        "company": f"Company {number % 997} Manufacturing and Trading Ltd",
        "jobtitle": ("Head of Purchasing", "Chief Engineer", "Managing Director")[number % 3],
        "website": f"https://www.company-{number % 997}.example/about-us",
        "lead_source": SOURCES[number % 5],
        "campaign": f"spring-{number % 12}",
        "message": f"Asked on the fair for an offer about {number % 41} units of part {number % 613}, delivery within the quarter.",
        "address": f"{number % 200} Long Industrial Street",
        "city": ("Berlin", "Lisbon", "Arlington", "Nagoya")[number % 4],
        "state": ("Berlin", "Lisboa", "Virginia", "Aichi")[number % 4],
        "zip": f"{10_000 + number % 80_000}",
        "country": ("DE", "PT", "US", "JP")[number % 4],
        "industry": ("MACHINERY", "CHEMICALS", "LOGISTICS")[number % 3],
        "hs_lead_status": STATES[number % 5],
        "createdate": moment(number),
        "notes_last_updated": moment(number, 3600),
        "lastmodifieddate": moment(number, 7200),
        "hs_merged_object_ids": None,
        "hs_calculated_merged_vids": None,
        "bridge_lead_id": None,
    }


def hubspot_row(number: int) -> dict[str, Any]:
    """Lead ``number`` as a contact in a list of HubSpot's."""
    return {
        "id": str(100_000_000 + number),
        "properties": properties(number),
        "createdAt": moment(number),
        "updatedAt": moment(number, 7200),
        "archived": False,
        "url": f"https://app.hubspot.com/contacts/4242/record/0-1/{100_000_000 + number}",
    }


def hubspot_pages(leads: int, page: int) -> Iterator[bytes]:
    """The bodies of all pages of a list, in order."""
    for first in range(0, leads, page):
        rows = [hubspot_row(number) for number in range(first, min(first + page, leads))]
        body: dict[str, Any] = {"results": rows}
        if first + page < leads:
            body["paging"] = {"next": {"after": str(first + page), "link": ""}}
        yield orjson.dumps(body)
