"""What a binding remembers of each field: packing, looking, new keys and new mappings."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.policy.fields import (
    SLOTS_MAX,
    FieldStates,
    Keyring,
    Origin,
    Stamp,
    blank,
    carry_over,
    look,
    pack,
    pack_uniform,
    unpack,
)

OLD, NEW = b"an older secret of the deployment", b"the present secret of the deployment"
texts = st.lists(st.text(max_size=20), min_size=1, max_size=30)


def stamp(keyring: Keyring, origin: Origin = Origin.CRM, time_us: int = 1, version: int = 1) -> Stamp:
    return Stamp(keyring.current_id, origin, time_us, version)


def first_look(keyring: Keyring, sources: list[str]) -> FieldStates:
    return look(keyring, blank(len(sources)), sources, stamp(keyring)).states


@given(texts)
def test_pack_and_unpack_are_inverse(sources: list[str]) -> None:
    """Whatever a look yields survives the ledger."""
    ring = Keyring([NEW], "acme")
    states = first_look(ring, sources)
    again = unpack(pack(states))
    assert again.hashes == states.hashes
    assert [again.stamp(slot) for slot in range(len(sources))] == [states.stamp(slot) for slot in range(len(sources))]


@given(texts)
def test_the_fast_packing_of_a_new_lead_equals_the_slow_one(sources: list[str]) -> None:
    """``pack_uniform`` is ``pack`` of a first look."""
    ring = Keyring([NEW], "acme")
    hashes = ring.hashes(sources)
    assert hashes is not None
    learnt = stamp(ring, Origin.LEARNT)
    slow = pack(FieldStates(tuple(hashes), bytes(len(sources)), (learnt,)))
    assert pack_uniform(hashes, learnt) == slow


@given(st.lists(st.text(alphabet=st.characters(), max_size=20) | st.just("half \ud800"), max_size=9))
def test_a_text_has_the_hash_of_its_bytes(sources: list[str]) -> None:
    """Whether a source comes as text or as its UTF-8 makes no difference, half a character included; equal ones hash alike."""
    ring = Keyring([NEW], "acme")
    hashes = ring.hashes(sources)
    assert hashes == ring.hashes([source.encode("utf-8", "surrogatepass") for source in sources])
    assert hashes is not None
    assert len(set(hashes)) == len(set(sources))


@given(texts, st.data())
def test_exactly_the_fields_that_differ_have_changed(sources: list[str], data: st.DataObject) -> None:
    """A look at the same values changes nothing; at others, exactly those slots."""
    ring = Keyring([NEW], "acme")
    states = first_look(ring, sources)
    assert look(ring, states, sources, stamp(ring, time_us=2)).changed == ()
    edited = list(sources)
    where = data.draw(st.sets(st.integers(0, len(sources) - 1)))
    for slot in where:
        edited[slot] += "!"
    seen = look(ring, states, edited, stamp(ring, time_us=2, version=2))
    assert set(seen.changed) == where
    for slot in range(len(sources)):
        told = seen.states.stamp(slot)
        assert told is not None
        assert told.time_us == (2 if slot in where else 1)
    assert look(ring, seen.states, edited, stamp(ring, time_us=3)).changed == ()


def test_a_field_never_known_is_learnt_not_changed() -> None:
    """A binding that lacks a field takes it as it is and makes no fact."""
    ring = Keyring([NEW], "acme")
    seen = look(ring, blank(2), ["a", ""], stamp(ring))
    assert seen.changed == ()
    assert [seen.states.stamp(slot).origin for slot in (0, 1)] == [Origin.LEARNT] * 2  # type: ignore[union-attr]


def test_a_field_known_to_be_empty_changes_when_something_appears() -> None:
    """After a create, a value that somebody else has put into a field we left empty is a change."""
    ring = Keyring([NEW], "acme")
    states = blank(2, stamp(ring, Origin.LEARNT), ring)
    assert look(ring, states, ["", "x"], stamp(ring)).changed == (1,)


@given(texts, st.data())
def test_a_new_hash_key_makes_no_facts_and_hides_none(sources: list[str], data: st.DataObject) -> None:
    """While the old key is still on the ring, changes are seen across the rotation and everything else is re-hashed quietly."""
    states = first_look(Keyring([OLD], "acme"), sources)
    ring = Keyring([NEW, OLD], "acme")
    where = data.draw(st.sets(st.integers(0, len(sources) - 1)))
    edited = [text + "!" if slot in where else text for slot, text in enumerate(sources)]
    seen = look(ring, states, edited, stamp(ring, time_us=2))
    assert set(seen.changed) == where
    assert {mark.key_id for mark in map(seen.states.stamp, range(len(sources))) if mark} == {ring.current_id}
    assert look(ring, seen.states, edited, stamp(ring)).changed == ()


def test_a_key_that_is_gone_makes_every_field_learnt_anew() -> None:
    """Without the old key nothing can be compared, and nothing is reported."""
    states = first_look(Keyring([OLD], "acme"), ["a", "b"])
    ring = Keyring([NEW], "acme")
    assert look(ring, states, ["a", "c"], stamp(ring)).changed == ()


def test_a_slot_is_known_by_its_name_when_the_layout_changes() -> None:
    """A new mapping keeps what it still reads from the same fields; what it reads from others is learnt."""
    ring = Keyring([NEW], "acme")
    states = first_look(ring, ["ada@x.example", "+44"])
    moved = carry_over(states, ("email=email", "phone=phone"), ("email=email", "phone=mobile", "title=jobtitle"))
    seen = look(ring, moved, ["eve@x.example", "+49", "Dr"], stamp(ring))
    assert seen.changed == (0,)


def test_only_the_named_slots_are_looked_at() -> None:
    """After a push, slots that we did not write keep what was known of them."""
    ring = Keyring([NEW], "acme")
    states = first_look(ring, ["a", "b"])
    seen = look(ring, states, ["A", "B"], stamp(ring, Origin.SALES), frozenset({0}))
    assert seen.changed == (0,)
    assert look(ring, seen.states, ["A", "B"], stamp(ring)).changed == (1,)


def test_equal_values_of_two_tenants_have_unequal_hashes() -> None:
    """The hash key is derived per tenant: nobody can see from the ledger that two tenants know the same person."""
    assert Keyring([NEW], "acme").hashes(["ada@x.example"]) != Keyring([NEW], "umbrella").hashes(["ada@x.example"])


def test_as_many_stamps_as_slots_still_pack() -> None:
    """The largest mapping, every slot changed at its own time, under a new key, still fits the format."""
    old, ring = Keyring([OLD], "acme"), Keyring([NEW, OLD], "acme")
    values = [str(slot) for slot in range(SLOTS_MAX)]
    states = first_look(old, values)
    for slot in range(SLOTS_MAX):
        values[slot] += "!"
        states = unpack(pack(look(old, states, values, stamp(old, time_us=slot + 2)).states))
    seen = look(ring, states, values, stamp(ring))
    assert seen.changed == ()
    assert unpack(pack(seen.states)).stamp(7) == msgspec.structs.replace(stamp(ring), time_us=9, version=1)


def test_a_fingerprint_depends_on_the_mapping_and_the_key() -> None:
    """A new mapping or key makes every record look new, so that it is compared by its fields."""
    ring = Keyring([NEW], "acme")
    one = ring.fingerprints([b"record"], "mapping 1")
    assert one == ring.fingerprints([b"record"], "mapping 1")
    assert one != ring.fingerprints([b"record"], "mapping 2")
    assert one != Keyring([OLD], "acme").fingerprints([b"record"], "mapping 1")
