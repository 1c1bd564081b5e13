"""What is not known to be harmless is replaced, the same everywhere, in the same shape; and what slipped through is found."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sales_crm_bridge.replay.redact import Allowed, Redactor, slipped
from sales_crm_bridge.replay.standins import StandIns, strangers

WORDS = ("firstname", "lastname", "email", "phone", "hs_lead_status", "NEW", "OPEN", "CONNECTED")
ALLOWED = Allowed(WORDS)


def redactor(key: bytes = b"a key") -> Redactor:
    return Redactor(StandIns(key), ALLOWED, ("crm.example",))


def answered(value: object, by: Redactor | None = None) -> Any:
    return json.loads((by or redactor()).answer(json.dumps(value).encode()))


CONTACT: dict[str, Any] = {
    "id": "512",
    "properties": {
        "firstname": "Ada",
        "lastname": "Byron",
        "email": "Ada.Byron@lovelace.co.uk",
        "phone": "+44 20 7946 0018",
        "hs_lead_status": "OPEN",
        "createdate": "2026-03-01T10:20:30.123Z",
        "notes": "Called Ada Byron (ada.byron@lovelace.co.uk), +44 (20) 7946-0018, born 1815-12-10",
    },
    "createdAt": "2026-03-01T10:20:30.123Z",
    "archived": False,
}


def test_what_the_bridge_needs_stays_and_a_person_goes() -> None:
    """Ids, times and the mapping's own values stay; names, addresses and numbers do not."""
    told = answered(CONTACT)
    values = told["properties"]
    assert (told["id"], told["createdAt"], told["archived"]) == ("512", CONTACT["createdAt"], False)
    assert (values["hs_lead_status"], values["createdate"]) == ("OPEN", CONTACT["createdAt"])
    said = json.dumps(told)
    for piece in ("Ada", "Byron", "lovelace", "7946", "0018", "1815"):
        assert piece.casefold() not in said.casefold()
    assert not list(slipped(told, "", ALLOWED))


def test_one_token_has_one_stand_in_everywhere() -> None:
    """In a field, in free text, in another case, in an address, in Base64, in JSON inside a text; a phone however it is written."""
    by = redactor()
    values = answered(CONTACT, by=by)["properties"]
    first, last, email, phone = (values[name] for name in ("firstname", "lastname", "email", "phone"))
    assert email.casefold() == f"{first}.{last}@{email.partition('@')[2]}".casefold()
    notes = values["notes"].casefold()
    assert all(one.casefold() in notes for one in (first, last, email))
    digits = re.sub(r"\D", "", phone)
    assert digits in re.sub(r"\D", "", notes)
    url = by.url(f"https://crm.example/x/{quote(CONTACT['properties']['email'])}?email=ada.byron%40lovelace.co.uk")
    assert quote(email, safe="") in url
    assert quote(email.casefold(), safe="") in url
    packed = base64.b64encode(b"the lead is Ada Byron of lovelace").decode()
    unpacked = base64.b64decode(by.text(packed, "token")).decode()
    assert f"{first} {last}" in unpacked
    inner = json.loads(by.text(json.dumps({"who": "Ada"}), "payload"))
    assert inner == {"who": first}


def test_another_recording_has_other_stand_ins() -> None:
    """Two bundles cannot be laid side by side."""
    one, two = (answered(CONTACT, by=redactor(key)) for key in (b"one", b"two"))
    assert one["properties"]["lastname"] != two["properties"]["lastname"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "ada@lovelace.example.org"),
        ("createdAt", "Ada Byron"),
        ("after", "Byron, Ada Augusta"),
        ("total", "+44 20 7946 0018"),
        ("hs_lead_status", "told Byron to call 442079460018"),
        ("status", "Byron"),
        ("key", "0123456789abcdef0123456789abcdef"),
        ("unheard_of", "Byron"),
        ("unheard_of", 442079460018),
    ],
)
def test_a_name_alone_lets_nothing_pass(name: str, value: object) -> None:
    """Personal data in a field that should hold something else is replaced there, and found where it was planted later."""
    assert answered({name: value})[name] != value
    assert list(slipped({name: value}, "", ALLOWED))


def test_a_field_that_the_mapping_names_keeps_its_name() -> None:
    """In an answer about fields, too: what the tenant's file says itself is known to be harmless, and a label is not."""
    told = answered({"results": [{"name": "hs_lead_status", "label": "Byron's"}, {"name": "byrons_own"}]})["results"]
    assert told[0]["name"] == "hs_lead_status"
    assert "byron" not in json.dumps(told).casefold()


EMAILS = st.from_regex(r"[a-z]{1,12}(\.[a-z]{1,12})?@[a-z]{2,12}\.(com|org|de)", fullmatch=True)
PHONES = st.from_regex(r"\+[1-9][0-9]{1,2} [1-9][0-9]{2,4} [0-9]{4,7}", fullmatch=True, alphabet="+0123456789 ")
NAMES = st.text(st.characters(categories=("Lu", "Ll")), min_size=1, max_size=20)


@given(EMAILS)
def test_an_address_stays_an_address(email: str) -> None:
    """Valid, of nobody's domain, and known as a stand-in."""
    made = StandIns(b"k").text(email)
    assert re.fullmatch(r"[\w.]+@[\w.-]+\.example", made)
    assert not strangers(made)


@given(PHONES)
def test_a_phone_stays_a_phone(phone: str) -> None:
    """As many digits, the same signs between them, the country's beginning."""
    made = StandIns(b"k").text(phone)
    assert re.sub(r"\d", "0", made) == re.sub(r"\d", "0", phone)
    assert made[:3] == phone[:3]
    assert not strangers(made)


@given(st.lists(NAMES, unique_by=str.casefold, max_size=40))
def test_two_words_never_become_one(names: list[str]) -> None:
    """However short they are; and case stays as it was where it tells anything."""
    by = StandIns(b"k")
    made = [by.word(name) for name in names]
    assert len({one.casefold() for one in made}) == len(names)
    assert not [one for one in made if strangers(one)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=40) | EMAILS | PHONES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "notes", "email", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def shape(value: object) -> object:
    """Kinds and structure, without the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


@given(JSON)
def test_nothing_slips_through_what_the_redactor_has_seen(value: object) -> None:
    """Whatever the answer: its structure stays, and the search finds nothing left; again, the same comes of it."""
    by = redactor()
    told = answered(value, by=by)
    assert shape(told) == shape(value)
    assert not list(slipped(told, "", ALLOWED))
    assert answered(value, by=by) == told


@given(st.text(min_size=4, max_size=30))
def test_no_long_word_stays(text: str) -> None:
    """A word of four letters and more that is not of the tenant's file is another one afterwards."""
    assume(not ALLOWED.keeps(text, "notes"))
    told = answered({"notes": text})["notes"]

    def words(said: str) -> Iterator[str]:
        yield from (found.casefold() for found in re.findall(r"[^\W\d_]{4,}", said))

    assert not {*words(text)} & {*strangers(told)}
