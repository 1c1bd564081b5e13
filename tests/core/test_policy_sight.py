"""What a look at the CRM means: new, changed, echo, stale, merged, removed, restored."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from sales_crm_bridge.model import Accepted, LeadState, Record, Scalar
from sales_crm_bridge.policy import booking, sight
from sales_crm_bridge.policy.drafts import Converted, How, Observed, Removed, Restored, Why
from sales_crm_bridge.policy.eyes import Look
from sales_crm_bridge.policy.fields import Keyring, heirs_of
from sales_crm_bridge.policy.sight import Book, Sighting
from sales_crm_bridge.state import Binding

NAMES = ("email", "name")


class Slots:
    """A mapping of two fields, each read from the CRM field of the same name."""

    slots = ("email=email", "name=name")
    crm_fields = NAMES

    def slot_sources(self, slot: int) -> tuple[str, ...]:
        return (NAMES[slot],)


def sources(fields: dict[str, Scalar]) -> list[str]:
    return [str(fields.get(name) or "") for name in NAMES]


EYES = Look(
    conn=1,
    layout=1,
    layouts={1: Slots.slots},
    slot_fields=NAMES,
    sources=sources,
    keyring=Keyring([b"secret"], "acme"),
    derive=lambda crm_id: f"crm-{crm_id}",
    unique_key=True,
)


def record(
    crm_id: str = "512", at: int = 100, *, email: str = "ada@x.example", name: str = "Ada", **more: object
) -> Record:
    return Record(id=crm_id, version=str(at), modified_us=at, fields={"email": email, "name": name}, **more)  # type: ignore[arg-type]


class World:
    """The ledger's bindings, as pages are read into them."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        self.aliases: dict[str, str] = {}

    def by_crm(self) -> dict[str, Binding]:
        known = {binding.crm_id: binding for binding in self.bindings.values() if binding.crm_id}
        return known | {alias: self.bindings[lead] for alias, lead in self.aliases.items() if alias not in known}

    def read(self, *records: Record, asked: int = 1000, eyes: Look = EYES, importing: bool = False) -> Book:
        book = sight.read_page(
            eyes,
            [Sighting(one, f"{one.version}".encode()) for one in records],
            self.by_crm(),
            dict(self.bindings),
            asked_us=asked,
            importing=importing,
        )
        self.keep(book)
        return book

    def keep(self, book: Book) -> None:
        for binding in book.bindings:
            self.bindings[binding.lead_id] = binding
        self.aliases.update(book.aliases)

    def push(self, lead_id: str, wire: dict[str, Scalar], answer: Record, answered: int) -> None:
        binding = booking.accept(
            EYES,
            Slots(),
            lead_id=lead_id,
            binding=self.bindings.get(lead_id),
            accepted=Accepted(crm_id=answer.id, record=answer),
            wire=wire,
            answered_us=answered,
        )
        self.bindings[lead_id] = msgspec.structs.replace(binding, aggregate_version=binding.aggregate_version + 1)


def test_a_new_record_is_told_once() -> None:
    """The first sight makes one fact with every field; the second makes none."""
    world = World()
    (draft,) = world.read(record()).drafts
    assert isinstance(draft, Observed)
    assert (draft.lead_id, draft.version, draft.why, draft.changed) == ("crm-512", 1, Why.CREATED, NAMES)
    assert world.read(record(), asked=2000).drafts == []
    assert World().read(record(), importing=True).drafts[0].why is Why.IMPORTED  # type: ignore[union-attr]


def test_a_change_tells_the_fields_that_changed() -> None:
    """The fact names the Sales fields, and its version follows the last one's."""
    world = World()
    world.read(record())
    (draft,) = world.read(record(at=101, name="Ada King"), asked=2000).drafts
    assert isinstance(draft, Observed)
    assert (draft.version, draft.why, draft.changed, draft.occurred_us) == (2, Why.CHANGED, ("name",), 101)


def test_a_change_of_nothing_we_map_is_no_fact() -> None:
    """A record whose modified time moved, with the same values, is only noted."""
    world = World()
    world.read(record())
    book = world.read(record(at=200), asked=2000)
    assert (book.drafts, book.unchanged) == ([], 1)
    assert world.bindings["crm-512"].modified_us == 200


def test_an_older_version_is_ignored() -> None:
    """A lagging search that shows yesterday's record changes nothing."""
    world = World()
    world.read(record(at=200, name="new"))
    book = world.read(record(at=100, name="old"), asked=3000)
    assert (book.drafts, book.stale) == ([], 1)


def test_with_equal_times_the_later_question_wins() -> None:
    """Two edits in one grain of the CRM's clock: what was asked later is newer, what was asked earlier is stale."""
    world = World()
    world.read(record(at=100, name="first"), asked=1000)
    assert world.read(record(at=100, name="second"), asked=1001).changed == 1
    assert world.read(record(at=100, name="first"), asked=999).stale == 1


def test_our_own_write_is_no_echo_and_a_persons_edit_after_it_is_heard() -> None:
    """What we pushed comes back without a fact, normalised or not; one second later a person's edit makes one."""
    world = World()
    world.push("L-9", {"email": "ADA@X.EXAMPLE", "name": "Ada"}, record(at=500), answered=600)
    assert world.read(record(at=500, key="L-9"), asked=700).drafts == []
    (draft,) = world.read(record(at=501, name="Eve", key="L-9"), asked=800).drafts
    assert isinstance(draft, Observed)
    assert (draft.lead_id, draft.changed) == ("L-9", ("name",))


def test_a_persons_change_that_our_answer_shows_is_not_swallowed() -> None:
    """We wrote the e-mail; the answer also shows a name that somebody changed since: the next pull reports it."""
    world = World()
    world.read(record(at=100))
    world.push("crm-512", {"email": "new@x.example"}, record(at=300, email="new@x.example", name="Eve"), answered=400)
    (draft,) = world.read(record(at=300, email="new@x.example", name="Eve"), asked=500).drafts
    assert isinstance(draft, Observed)
    assert draft.changed == ("name",)


def test_a_field_our_create_left_open_and_somebody_filled_is_a_change() -> None:
    """The answer to a create shows only what we sent; a value that appears elsewhere is somebody's, and is told."""
    world = World()
    answer = Record(id="512", version="1", modified_us=100, fields={"email": "ada@x.example"})
    world.push("L-9", {"email": "ada@x.example"}, answer, answered=150)
    (draft,) = world.read(record(at=120, name="Eve", key="L-9"), asked=200).drafts
    assert isinstance(draft, Observed)
    assert draft.changed == ("name",)


def test_a_page_asked_before_our_write_was_answered_is_stale_at_equal_times() -> None:
    """A CRM that counts whole seconds: the page shows the value before our write of the same second."""
    world = World()
    world.read(record(at=100, name="old"), asked=1000)
    world.push("crm-512", {"name": "ours"}, record(at=100, name="ours"), answered=1500)
    assert world.read(record(at=100, name="old"), asked=1400).stale == 1
    assert world.read(record(at=100, name="ours"), asked=1600).drafts == []


def test_our_key_in_a_record_names_the_lead() -> None:
    """A record that carries our key is that lead, also when the ledger has lost its binding."""
    world = World()
    (draft,) = world.read(record(key="L-9")).drafts
    assert draft.lead_id == "L-9"


def test_a_merge_into_a_new_record_moves_the_binding_and_reports_both() -> None:
    """512 and 777 become 1300: one lead lives on in the new record, the other is removed into it, once."""
    world = World()
    world.read(record("512"), record("777", email="eve@x.example"))
    survivor = record("1300", 300, merged_ids=("512", "777"))
    drafts = world.read(survivor, asked=2000).drafts
    assert [type(draft) for draft in drafts] == [Observed, Removed]
    lives, gone = drafts
    assert (lives.lead_id, lives.why) == ("crm-512", Why.MERGED)  # type: ignore[union-attr]
    assert isinstance(gone, Removed)
    assert (gone.lead_id, gone.how, gone.into) == ("crm-777", How.MERGED, ("1300", "crm-512"))
    assert world.bindings["crm-512"].crm_id == "1300"
    assert world.bindings["crm-777"].state is LeadState.MERGED
    assert world.read(survivor, asked=3000).drafts == []
    ghost = record("777", 50, state=LeadState.ARCHIVED)
    assert world.read(ghost, asked=4000).drafts == []


def test_a_merge_into_a_record_that_lives_on_removes_the_loser_only() -> None:
    """777 is merged into 512, whose fields stay: one fact, about the loser."""
    world = World()
    world.read(record("512"), record("777", email="eve@x.example"))
    drafts = world.read(record("512", 300, merged_ids=("777",)), asked=2000).drafts
    assert [type(draft) for draft in drafts] == [Removed]
    assert drafts[0].lead_id == "crm-777"


def test_a_merge_of_an_unknown_record_is_no_news() -> None:
    """What was merged in was never ours to tell of."""
    world = World()
    world.read(record("512"))
    assert world.read(record("512", 300, merged_ids=("900",)), asked=2000).drafts == []


def test_a_read_that_says_merged_ends_the_loser() -> None:
    """The audit asks for 777 by id and hears that it is now 512."""
    world = World()
    world.read(record("512"), record("777", email="eve@x.example"))
    told = Record(id="777", version="", modified_us=300, fields={}, state=LeadState.MERGED, into="512")
    (draft,) = world.read(told, asked=2000).drafts
    assert isinstance(draft, Removed)
    assert draft.into == ("512", "crm-512")
    assert heirs_of(world.bindings["crm-777"]) == (("", "512"),)


@pytest.mark.parametrize("state", [LeadState.ARCHIVED, LeadState.GONE])
def test_a_removed_lead_is_told_once_and_may_come_back(state: LeadState) -> None:
    """Removed, seen removed again, restored with a change: one fact, none, two."""
    world = World()
    world.read(record())
    away = record(at=200, state=state)
    (draft,) = world.read(away, asked=2000).drafts
    assert isinstance(draft, Removed)
    assert draft.how is (How.ARCHIVED if state is LeadState.ARCHIVED else How.GONE)
    assert world.read(away, asked=3000).drafts == []
    drafts = world.read(record(at=150, name="back"), asked=4000).drafts
    assert [type(draft) for draft in drafts] == [Restored, Observed]
    assert [draft.version for draft in drafts] == [3, 4]


def test_a_converted_lead_is_told_with_its_successors() -> None:
    """Once, and the record keeps its lead."""
    world = World()
    world.read(record())
    done = record(at=200, state=LeadState.CONVERTED, successors=(("deals", "7"),))
    (draft,) = world.read(done, asked=2000).drafts
    assert isinstance(draft, Converted)
    assert world.read(done, asked=3000).drafts == []
    assert heirs_of(world.bindings["crm-512"]) == (("deals", "7"),)


def test_a_lead_that_is_back_has_no_heirs() -> None:
    """Its conversion was undone in the CRM: later commands are for the record itself again."""
    world = World()
    world.read(record())
    world.read(record(at=200, state=LeadState.CONVERTED, successors=(("deals", "7"),)), asked=2000)
    (back,) = world.read(record(at=300), asked=3000).drafts
    assert isinstance(back, Restored)
    assert world.bindings["crm-512"].state is LeadState.LIVE
    assert heirs_of(world.bindings["crm-512"]) == ()


def test_what_contradicts_the_ledger_is_doubtful() -> None:
    """A removal or a return is believed only of a read; what agrees, or is new, needs none."""
    world = World()
    world.read(record())
    live = world.bindings["crm-512"]
    away = msgspec.structs.replace(live, state=LeadState.ARCHIVED)
    assert not sight.doubtful(record(), live)
    assert not sight.doubtful(record(), None)
    assert sight.doubtful(record(state=LeadState.ARCHIVED), live)
    assert not sight.doubtful(record(state=LeadState.ARCHIVED), away)
    assert sight.doubtful(record(), away)
    assert sight.doubtful(record("777"), live)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_last_state_does_not_depend_on_the_order_of_arrival(order: tuple[int, ...]) -> None:
    """Three versions of a record in any order leave the newest, and never tell an older one after a newer."""
    versions = [record(at=100, name="a"), record(at=200, name="b"), record(at=300, name="c")]
    world = World()
    told = []
    for step, which in enumerate(order):
        told += world.read(versions[which], asked=1000 + step).drafts
    times = [draft.occurred_us for draft in told]
    assert times == sorted(times)
    assert times[-1] == 300


def test_versions_count_every_fact_of_a_lead_without_a_hole() -> None:
    """What is told of one lead is numbered 1, 2, 3 …, so a reader can see that nothing is missing."""
    world = World()
    told = [*world.read(record()).drafts]
    told += world.read(record(at=200, name="x"), asked=2000).drafts
    told += world.read(record(at=300, state=LeadState.GONE), asked=3000).drafts
    told += world.read(record(at=400, name="y"), asked=4000).drafts
    assert [draft.version for draft in told] == [1, 2, 3, 4, 5]
