"""Contacts and leads that look like a real account's. All people, firms and addresses are invented; the domains are reserved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox.hubspot.definitions import LEAD_PIPELINE
from sales_crm_bridge.sandbox.hubspot.kinds import CONTACTS, LEADS
from sales_crm_bridge.sandbox.hubspot.links import Link
from sales_crm_bridge.sandbox.hubspot.records import Record, Source, Version
from sales_crm_bridge.sandbox.hubspot.times import DAY_MS, iso

if TYPE_CHECKING:
    import random

    from sales_crm_bridge.sandbox.hubspot.crm import Crm

_FIRST = (
    *("Amara", "Anders", "Beatriz", "Bogdan", "Carmen", "Chidi", "Daria", "Dmitri", "Elif", "Emeka", "Farah"),
    *("Felix", "Greta", "Hamza", "Ingrid", "Ivo", "Jasper", "Kaito", "Leila", "Lotte", "Marek", "Mei", "Nadia"),
    *("Niels", "Oksana", "Omar", "Paola", "Pavel", "Quentin", "Rania", "Ravi", "Renée", "Sakura", "Søren"),
    *("Tariq", "Tove", "Ulla", "Viktor", "Wanda", "Yusuf", "Zoë"),
)
_LAST = (
    *("Abaza", "Almeida", "Andersson", "Baumgärtner", "Bianchi", "Carvalho", "Dąbrowski", "Dubois", "Eriksen"),
    *("Fischer", "García", "Gruber", "Haddad", "Horvat", "Ivanova", "Jansen", "Kaplan", "Kowalczyk", "Lindqvist"),
    *("Marchetti", "Müller", "Nakamura", "Novák", "O'Brien", "Okonkwo", "Papadopoulos", "Petrov", "Quist"),
    *("Rossi", "Schäfer", "Silva", "Szabó", "Tanaka", "Ünal", "van den Berg", "Vargas", "Weiss", "Yilmaz", "Zhang"),
)
_FIRMS = (
    "Nordwind",
    "Quarzwerk",
    "Bluefin",
    "Tessellate",
    "Brightwater",
    "Lumen & Sons",
    "Ostara",
    "Ferrovia",
    "Kilnworks",
    "Pendel",
)
_SUFFIX = ("GmbH", "Ltd", "Inc.", "S.A.", "AB", "Sp. z o.o.")
_TITLES = (
    "Head of Procurement",
    "Chief Technology Officer",
    "Buyer",
    "Office Manager",
    "Plant Director",
    "Owner",
    "VP Operations",
)
_CITIES = (
    ("Hamburg", "HH", "20095", "Germany"),
    ("Lyon", "", "69002", "France"),
    ("Kraków", "", "31-042", "Poland"),
    ("Leeds", "", "LS1 4DY", "United Kingdom"),
    ("Austin", "TX", "78701", "United States"),
    ("Porto", "", "4000-322", "Portugal"),
    ("Göteborg", "", "411 03", "Sweden"),
)
_STREETS = ("Lindenallee", "Rue des Tanneurs", "Mill Lane", "Harbour Road", "ul. Długa", "Rua das Flores", "Kungsgatan")
_INDUSTRIES = ("Machinery", "Logistics", "Retail", "Health care", "Software", "Construction", "Food production")
_SIZES = ("1-5", "5-25", "25-50", "50-100", "100-500", "500-1000", "1000+")
_STATUSES = (
    "NEW",
    "NEW",
    "NEW",
    "OPEN",
    "OPEN",
    "IN_PROGRESS",
    "ATTEMPTED_TO_CONTACT",
    "CONNECTED",
    "BAD_TIMING",
    "UNQUALIFIED",
)
_STAGES = ("subscriber", "lead", "lead", "lead", "marketingqualifiedlead", "salesqualifiedlead")
_ORIGINS = ("ORGANIC_SEARCH", "PAID_SEARCH", "EMAIL_MARKETING", "REFERRALS", "DIRECT_TRAFFIC", "OFFLINE")
_NEEDS = (
    "We are comparing suppliers for next year and would like an offer for about forty seats, including training on site.",
    "Met at the trade fair; asked for a call back after the holidays. Budget is there, decision by the board in spring.",
    "Please send the price list.",
    "Current contract ends in June. Interested in a trial, and in what the migration of the old data would cost.",
)
_OWNERS = ("77", "78", "79")
_LABELS = ("HOT", "WARM", "WARM", "COLD")
_HAS_MOBILE, _HAS_OWNER, _IS_EMPTY, _WAS_EDITED = 0.6, 0.7, 0.15, 0.5
_SOURCE = Source("IMPORT", "1")


def contact(rng: random.Random, number: int) -> dict[str, str]:
    """The properties of one invented contact; ``number`` makes its address unique. About 1 KB of JSON with all of them."""
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    firm = f"{rng.choice(_FIRMS)} {rng.choice(_SUFFIX)}"
    city, state, postcode, country = rng.choice(_CITIES)
    domain = f"{firm.split(maxsplit=1)[0].lower()}-{rng.randrange(40)}.example"
    props = {
        "email": f"lead{number}.{last.split()[-1].encode('ascii', 'ignore').decode().lower().replace(chr(39), '')}@{domain}",
        "firstname": first,
        "lastname": last,
        "company": firm,
        "jobtitle": rng.choice(_TITLES),
        "phone": f"+49 40 {rng.randrange(1_000_000, 9_999_999)}",
        "website": f"https://www.{domain}/",
        "address": f"{rng.choice(_STREETS)} {rng.randrange(1, 199)}",
        "city": city,
        "zip": postcode,
        "country": country,
        "industry": rng.choice(_INDUSTRIES),
        "numemployees": rng.choice(_SIZES),
        "annualrevenue": str(rng.randrange(1, 500) * 100_000),
        "hs_lead_status": rng.choice(_STATUSES),
        "lifecyclestage": rng.choice(_STAGES),
        "hs_analytics_source": rng.choice(_ORIGINS),
        "message": rng.choice(_NEEDS),
    }
    if state:
        props["state"] = state
    if rng.random() < _HAS_MOBILE:
        props["mobilephone"] = f"+49 151 {rng.randrange(10_000_000, 99_999_999)}"
    if rng.random() < _HAS_OWNER:
        props["hubspot_owner_id"] = rng.choice(_OWNERS)
    for name in ("jobtitle", "website", "message", "industry"):
        if rng.random() < _IS_EMPTY:
            del props[name]
    return props


def seed_records(crm: Crm, rng: random.Random, contacts: int, leads: int, same_modified_ms: int | None) -> None:
    """Fill an empty account, as an import would; neither the log nor the webhooks hear of it."""
    now = crm.now_ms
    people: list[Record] = []
    for number in range(contacts):
        created = (
            same_modified_ms
            if same_modified_ms is not None
            else now - rng.randrange(30, 365) * DAY_MS + rng.randrange(DAY_MS)
        )
        record = crm.make(CONTACTS, contact(rng, number), _SOURCE, created)
        if same_modified_ms is None and rng.random() < _WAS_EDITED:
            _touch(record, created + rng.randrange(20 * DAY_MS), crm.next_seq())
        people.append(record)
    crm.books[CONTACTS.name].insert_many(people)
    crm.indexes[CONTACTS.name].put_many(people)
    if not people:
        return
    opened: list[Record] = []
    for number in range(leads):
        person = people[number % len(people)]
        created = same_modified_ms if same_modified_ms is not None else now - rng.randrange(1, 30) * DAY_MS
        stage = rng.choice(LEAD_PIPELINE.stages[:3])
        props = {
            "hs_lead_name": f"{person.props['firstname']} {person.props['lastname']} / {person.props['company']}",
            "hs_lead_type": "NEW BUSINESS",
            "hs_lead_label": rng.choice(_LABELS),
            "hs_pipeline_stage": stage.id,
        }
        opened.append(crm.make(LEADS, props, _SOURCE, created))
    crm.books[LEADS.name].insert_many(opened)
    crm.indexes[LEADS.name].put_many(opened)
    for number, record in enumerate(opened):
        crm.links.add(record, Link(to=CONTACTS, id=people[number % len(people)].id, types=(578,)))


def _touch(record: Record, at_ms: int, seq: int) -> None:
    """Let a record have been changed once before anybody looked."""
    modified = record.kind.modified
    props = {**record.props, modified: iso(at_ms)}
    record.add(Version(seq, props, at_ms, _SOURCE, (modified,)))
