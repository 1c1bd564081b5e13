"""What no longer fits between mapping and CRM, what is opened and closed, and what of a command waits."""

from __future__ import annotations

from collections.abc import Mapping as Mapped

import msgspec
import pytest

from sales_crm_bridge.drift import Cause, Quarantine
from sales_crm_bridge.errors import Place
from sales_crm_bridge.mapping import Mapping
from sales_crm_bridge.model import FieldDefinition, LeadState, Record, Scalar
from sales_crm_bridge.policy import holding, quarantine, sight
from sales_crm_bridge.policy.drafts import Observed
from sales_crm_bridge.policy.fields import Origin, Stamp, blank, carry_over, emptied, look
from tests.core.test_mapping import mapping
from tests.core.test_policy_sight import EYES, World, record

MAPPED = mapping("""
  email: mail
  full_name: {crm: [first, last], join: " "}
  city: town
  status:
    crm: state
    values: {N: new, W: working, Q: qualified, D: disqualified}
""")
KINDS = {"mail": "string", "first": "string", "last": "string", "town": "string", "state": "enumeration"}
PLACE = Place(file="acme.yaml", line=7, column=3)


def definitions(*without: str, **kinds: str) -> dict[str, FieldDefinition]:
    found = {
        name: FieldDefinition(name=name, kind=kind, writable=True)
        for name, kind in {**KINDS, **kinds}.items()
        if name not in without
    }
    if "state" in found:
        found["state"] = FieldDefinition(name="state", kind="enumeration", writable=True, options=("N", "W", "Q", "D"))
    return found


def amiss(found: Mapped[str, FieldDefinition], kinds: Mapped[str, str] = KINDS) -> list[tuple[str, str, str, str]]:
    return [(one.field, one.cause, one.crm_field, one.value) for one in quarantine.amiss(MAPPED, found, kinds)]


def test_what_fits_is_not_amiss() -> None:
    """All fields there, of their kinds, with every value that the mapping names; one that is mapped as text may be a number."""
    assert amiss(definitions()) == []
    assert amiss(definitions(town="number"), {**KINDS, "town": "number"}) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (definitions("town"), ("city", "field-gone", "town", "")),
        (definitions("last"), ("full_name", "field-gone", "last", "")),
        (definitions("state"), ("status", "field-gone", "state", "")),
        (definitions(town="number"), ("city", "field-retyped", "town", "")),
        (definitions(mail="enumeration"), ("email", "field-retyped", "mail", "")),
    ],
)
def test_a_field_that_is_gone_or_of_another_kind_is_amiss(
    found: dict[str, FieldDefinition], told: tuple[str, str, str, str]
) -> None:
    """Named by the Sales field and by the CRM's own name of what is amiss; the others are not."""
    assert amiss(found) == [told]


def test_each_value_that_is_gone_is_amiss_by_itself() -> None:
    """A field whose values are free, or that offers more than the mapping names, is not."""
    fewer = definitions()
    fewer["state"] = FieldDefinition(name="state", kind="enumeration", writable=True, options=("N", "W", "X"))
    assert amiss(fewer) == [("status", "option-gone", "state", "Q"), ("status", "option-gone", "state", "D")]
    fewer["state"] = FieldDefinition(name="state", kind="enumeration", writable=True)
    assert amiss(fewer) == []


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        *(("string", "textarea", True), ("Text", "string", True), ("number", "currency", True), ("", "", True)),
        *(("date", "datetime", False), ("string", "bool", False), ("odd", "odder", False)),
    ],
)
def test_kinds_of_one_sort_are_no_change(before: str, now: str, same: bool) -> None:
    """CRMs have many words for a text."""
    assert (quarantine.family(before) == quarantine.family(now)) is same


def test_a_mended_mapping_meets_the_kinds_anew() -> None:
    """The same mapping remembers what it met first; fields that it meets later are added."""
    kinds = quarantine.met(MAPPED, 1, definitions("town"), None)
    assert "town" not in kinds.kinds
    later = quarantine.met(MAPPED, 1, definitions(mail="number", town="number"), kinds)
    assert (later.kinds["mail"], later.kinds["town"]) == ("string", "number")
    other = mapping("  email: {crm: mail, steps: [trim]}\n")
    assert quarantine.met(other, 1, definitions(mail="number"), kinds).kinds == {"mail": "number"}


def judged(
    found: Mapped[str, FieldDefinition], rows: list[Quarantine], now_us: int, mapped: Mapping = MAPPED
) -> quarantine.Verdict:
    places = {rule.name: PLACE for rule in mapped.spec.rules}
    return quarantine.judge(mapped, quarantine.amiss(mapped, found, KINDS), rows, 1, places, now_us)


def test_a_quarantine_is_opened_once_and_closed_once() -> None:
    """What is open already is not opened again; what fits again is closed; what was closed can be opened anew."""
    verdict = judged(definitions("town"), [], 10)
    (row,) = verdict.opened
    assert (row.field, row.crm_field, row.cause, row.opened_us, row.line) == ("city", "town", Cause.GONE, 10, 7)
    assert not judged(definitions("town"), [row], 20)
    (closed,) = judged(definitions(), [row], 30).closed
    assert (closed.closed_us, closed.reread_us, closed.heir, closed.is_open) == (30, 0, "", False)
    assert not judged(definitions(), [closed], 40)
    assert judged(definitions("town"), [closed], 50).opened == [msgspec.structs.replace(row, opened_us=50)]


def test_a_mended_mapping_names_the_heir() -> None:
    """Another slot reads the Sales field now, and takes over what was known of it; one that is not mapped any more has none."""
    (row,) = judged(definitions("town"), [], 10).opened
    mended = mapping("  email: mail\n  city: place\n")
    fields = {**definitions(), "place": FieldDefinition(name="place", kind="string", writable=True)}
    (closed,) = judged(fields, [row], 20, mended).closed
    assert (closed.slot, closed.heir) == ("city=town", "city=place")
    (dropped,) = judged(definitions(), [row], 20, mapping("  email: mail\n")).closed
    assert dropped.heir == ""
    again = msgspec.structs.replace(closed, slot="city=place", heir="city=spot", closed_us=30)
    assert quarantine.heirs([dropped, closed, again]) == {
        "city=place": ("city=town",),
        "city=spot": ("city=place", "city=town"),
    }


# --- what a record shows -------------------------------------------------------------------------------------------------


def observed(book: sight.Book) -> list[tuple[str, ...]]:
    return [draft.changed for draft in book.drafts if isinstance(draft, Observed)]


def test_a_held_slot_is_not_told_and_what_was_known_of_it_is_kept() -> None:
    """Whatever it shows meanwhile; when it is compared again, what differs from what was told last is a change."""
    world, held = World(), msgspec.structs.replace(EYES, held=frozenset({1}))
    world.read(record(name="Ada"))
    assert observed(world.read(record(at=200, name=""), asked=2000, eyes=held)) == []
    assert observed(world.read(record(at=300, name="Ada"), asked=3000)) == []
    world.read(record(at=400, name=""), asked=4000, eyes=held)
    assert observed(world.read(record(at=500, name="Eve"), asked=5000)) == [("name",)]


def test_what_a_fact_has_left_out_is_told_when_it_is_back() -> None:
    """Its snapshot lacks the field, so a reader who takes it for the whole lead has lost it."""
    world, held = World(), msgspec.structs.replace(EYES, held=frozenset({1}))
    world.read(record(name="Ada"))
    told = world.read(record(at=200, name="", email="new@x.example"), asked=2000, eyes=held)
    assert observed(told) == [("email",)]
    assert [draft.held for draft in told.drafts if isinstance(draft, Observed)] == [frozenset({1})]
    assert observed(world.read(record(at=300, name="Ada", email="new@x.example"), asked=3000)) == [("name",)]


def test_a_lead_that_comes_meanwhile_is_told_without_the_field_and_then_with_it() -> None:
    """It counts as empty until it can be read."""
    world, held = World(), msgspec.structs.replace(EYES, held=frozenset({1}))
    assert observed(world.read(record(name="?"), eyes=held)) == [("email",)]
    assert observed(world.read(record(at=200, name="Ada"), asked=2000)) == [("name",)]


def test_a_field_that_is_missing_was_not_shown() -> None:
    """It is no empty field: it is kept as it was, the record is looked at again, and the page hints at a drift."""
    eyes = msgspec.structs.replace(EYES, reads=frozenset({"email", "name"}), slot_sources=(("email",), ("name",)))
    world = World()
    world.read(record(name="Ada"), eyes=eyes)
    without = Record(id="512", version="2", modified_us=200, fields={"email": "ada@x.example"}, state=LeadState.LIVE)
    book = world.read(without, asked=2000, eyes=eyes)
    assert (observed(book), book.odd) == ([], frozenset({1}))
    (binding,) = world.bindings.values()
    assert binding.fingerprint == b""
    assert observed(world.read(record(at=300, name="Ada"), asked=3000, eyes=eyes)) == []


def test_a_field_that_becomes_empty_hints_at_a_drift() -> None:
    """Nobody can tell it from one that a person has emptied, but by asking which fields there are."""
    world = World()
    world.read(record(name="Ada"))
    assert world.read(record(at=200, name=""), asked=2000).odd == frozenset({1})
    assert world.read(record(at=300, name="Eve"), asked=3000).odd == frozenset()


def test_an_unreadable_value_hints_and_is_held_where_a_value_is_gone() -> None:
    """Elsewhere it is told, without the field, as ever."""
    eyes = msgspec.structs.replace(EYES, misread=lambda fields: [1] if fields["name"] == "?" else [])
    world = World()
    world.read(record(name="Ada"), eyes=eyes)
    book = world.read(record(at=200, name="?"), asked=2000, eyes=eyes)
    assert (observed(book), book.misread) == ([("name",)], frozenset({1}))
    doubting = msgspec.structs.replace(eyes, doubted=frozenset({1}))
    world = World()
    world.read(record(name="Ada"), eyes=eyes)
    book = world.read(record(at=200, name="?"), asked=2000, eyes=doubting)
    assert (observed(book), book.misread) == ([], frozenset())
    assert observed(world.read(record(at=300, name="Eve"), asked=3000, eyes=doubting)) == [("name",)]


def test_an_heir_takes_over_what_was_known() -> None:
    """The same value under the new name is no change; a slot without an heir is learnt."""
    stamp = Stamp(EYES.keyring.current_id, Origin.CRM, 1, 1)
    states = look(EYES.keyring, blank(2), ["a", "b"], stamp).states
    moved = carry_over(states, ("x=x", "y=y"), ("x=x", "y=z"), {"y=z": ("y=y",)})
    assert look(EYES.keyring, moved, ["a", "b"], stamp).changed == ()
    assert look(EYES.keyring, moved, ["a", "c"], stamp).changed == (1,)
    learnt = carry_over(states, ("x=x", "y=y"), ("x=x", "y=z"))
    assert look(EYES.keyring, learnt, ["a", "c"], stamp).changed == ()


def test_emptied_slots_alone_are_known_to_be_empty() -> None:
    """The others keep what is known of them."""
    stamp = Stamp(EYES.keyring.current_id, Origin.CRM, 1, 1)
    states = look(EYES.keyring, blank(2), ["a", "b"], stamp).states
    assert look(EYES.keyring, emptied(states, {1}, stamp, EYES.keyring), ["a", "b"], stamp).changed == (1,)
    assert emptied(states, (), stamp, EYES.keyring) is states


# --- what of a command waits ---------------------------------------------------------------------------------------------

WIRE: dict[str, Scalar] = {"mail": "a@x.example", "first": "A", "last": "B", "town": "T", "state": "Q"}


def open_rows(*without: str, options: tuple[str, ...] = ()) -> list[Quarantine]:
    found = definitions(*without)
    if options:
        found["state"] = FieldDefinition(name="state", kind="enumeration", writable=True, options=options)
    return list(judged(found, [], 1).opened)


@pytest.mark.parametrize(
    ("rows", "earlier", "names"),
    [
        ([], (), set()),
        (open_rows("town"), (), {"city"}),
        (open_rows("last"), (), {"full_name"}),
        (open_rows(options=("N", "W", "D")), (), {"status"}),
        (open_rows(options=("Q", "W", "D")), (), set()),
        ([], ("email",), {"email"}),
        (open_rows("town"), ("email", "score"), {"city", "email"}),
    ],
)
def test_what_of_a_write_waits(rows: list[Quarantine], earlier: tuple[str, ...], names: set[str]) -> None:
    """Quarantined fields, a value that is gone, and what an earlier command of the lead waits with."""
    assert holding.waiting(MAPPED, rows, WIRE, earlier) == names


def test_the_rest_and_the_part_are_the_whole() -> None:
    """Each CRM field of a write is in one of the two, and nothing named leaves all as it is."""
    names = {"city", "full_name"}
    rest = holding.restricted(MAPPED, holding.told(holding.BUT, names), WIRE)
    part = holding.restricted(MAPPED, holding.told(holding.ONLY, names), WIRE)
    assert set(rest) == {"mail", "state"}
    assert {**rest, **part} == WIRE
    assert not rest.keys() & part.keys()
    assert holding.restricted(MAPPED, "", WIRE) == WIRE
    assert holding.named(holding.told(holding.BUT, names)) == names
    assert holding.touched(MAPPED, {"town": "T", "other": 1}) == {"city"}
