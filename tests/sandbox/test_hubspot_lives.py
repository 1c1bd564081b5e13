"""What happens to records: the bin, merges, erasure, leads that lose their footing, and what is really there."""

import pytest

from sales_crm_bridge.sandbox.hubspot import COMPANIES, CONTACTS, Link, Refusal
from tests.sandbox.bench import Bench, ids, primary

DAY_S = 86_400


def live(bench: Bench, kind: str = "contacts") -> set[str]:
    """The ids of living records."""
    return set(bench.portal.truth().live[kind])


def binned(bench: Bench, kind: str = "contacts") -> set[str]:
    """The ids of records in the bin."""
    return set(bench.portal.truth().archived[kind])


def test_the_bin_is_a_list_of_its_own(bench: Bench) -> None:
    """A deleted record is gone from reads and the list, shown with ``archivedAt`` by ``archived=true`` alone, for 90 days."""
    gone, stays = bench.create(email="ada@corp.example"), bench.create(firstname="Ben")
    bench.now_s += 1.5
    assert bench.call("DELETE", f"/crm/v3/objects/contacts/{gone}").status == 204
    assert bench.call("DELETE", f"/crm/v3/objects/contacts/{gone}").status == 204
    assert bench.call("GET", f"/crm/v3/objects/contacts/{gone}").status == 404
    assert bench.call("PATCH", f"/crm/v3/objects/contacts/{gone}", {"properties": {"city": "York"}}).status == 404
    assert ids(bench.call("GET", "/crm/v3/objects/contacts")) == [stays]
    (shown,) = bench.call("GET", "/crm/v3/objects/contacts?archived=true").json["results"]
    assert (shown["id"], shown["archived"], shown["archivedAt"]) == (gone, True, "2026-01-01T00:00:01.500Z")
    assert bench.call("GET", f"/crm/v3/objects/contacts/{gone}?archived=true").json["archived"] is True
    assert bench.call("GET", f"/crm/v3/objects/contacts/{stays}?archived=true").status == 404
    bench.now_s += 90 * DAY_S
    assert ids(bench.call("GET", "/crm/v3/objects/contacts?archived=true")) == []
    with pytest.raises(LookupError):
        bench.portal.person.restore(gone)


def test_a_person_restores_what_the_bin_still_has(bench: Bench) -> None:
    """The same id lives again, with a new modified time; not if its address has found another contact."""
    record = bench.create(email="ada@corp.example")
    bench.portal.person.delete(record)
    bench.now_s += 89 * DAY_S
    bench.portal.person.restore(record)
    assert bench.read(record, "email")["lastmodifieddate"] == "2026-03-31T00:00:00.000Z"
    assert (live(bench), binned(bench)) == ({record}, set())
    bench.portal.person.delete(record)
    bench.create(email="ada@corp.example")
    with pytest.raises(Refusal, match="already exists"):
        bench.portal.person.restore(record)
    with pytest.raises(LookupError):
        bench.portal.person.restore("1")


@pytest.mark.parametrize("new_id", [True, False])
def test_a_merge_leaves_one_record_behind(new_id: bool) -> None:
    """A third id, or the primary's: the primary's values win, gaps are filled, the other address becomes an additional one."""
    bench = Bench(merge_makes_new_id=new_id)
    one = bench.create(email="ada@corp.example", city="Leeds", lifecyclestage="lead")
    bench.now_s += 1
    two = bench.create(email="ada@home.example", city="York", phone="123", lifecyclestage="customer")
    bench.now_s += 1
    reply = bench.call("POST", "/crm/v3/objects/contacts/merge", {"primaryObjectId": one, "objectIdToMerge": two})
    assert reply.status == 200
    survivor = reply.json["id"]
    gone = {one, two} if new_id else {two}
    assert (survivor in {one, two}) is not new_id
    assert live(bench) == {survivor}
    assert binned(bench) == set()
    assert set(bench.portal.truth().merged) == gone
    told = bench.portal.truth().live["contacts"][survivor]
    expected = {
        "email": "ada@corp.example",
        "hs_additional_emails": "ada@home.example",
        "city": "Leeds",
        "phone": "123",
        "lifecyclestage": "customer",
        "createdate": "2026-01-01T00:00:00.000Z",
        "lastmodifieddate": "2026-01-01T00:00:02.000Z",
        "hs_merged_object_ids": f"{one};{two}" if new_id else two,
        "hs_calculated_merged_vids": ";".join(f"{each}:1767225602000" for each in ([one, two] if new_id else [two])),
    }
    assert {name: told[name] for name in expected} == expected
    clash = bench.call("POST", "/crm/v3/objects/contacts", {"properties": {"email": "ada@home.example"}})
    assert (clash.status, clash.json["message"]) == (409, f"Contact already exists. Existing ID: {survivor}")
    assert bench.call("GET", "/crm/v3/objects/contacts/ada@home.example?idProperty=email").json["id"] == survivor


def test_old_ids_lead_to_the_survivor_in_single_calls_only(bench: Bench) -> None:
    """Read and update by an id that was merged away answer with another id, over any number of merges; batches do not know it."""
    one, two, three = (bench.create(firstname=name) for name in ("A", "B", "C"))
    first = bench.portal.person.merge(one, two)
    last = bench.portal.person.merge(first, three)
    assert bench.portal.truth().merged == dict.fromkeys((one, two, three, first), last)
    for old in (one, two, three, first):
        assert bench.call("GET", f"/crm/v3/objects/contacts/{old}").json["id"] == last
        assert bench.call("PATCH", f"/crm/v3/objects/contacts/{old}", {"properties": {"city": old}}).json["id"] == last
        assert bench.batch("update", [{"id": old, "properties": {"city": "York"}}]).status == 404
        assert ids(bench.batch("read", [{"id": old}])) == []
        assert bench.call("GET", f"/crm/v3/objects/contacts/{old}?archived=true").status == 404
    assert bench.read(last, "hs_merged_object_ids")["hs_merged_object_ids"] == f"{one};{two};{first};{three}"
    bench.portal.person.delete(last)
    assert bench.call("GET", f"/crm/v3/objects/contacts/{one}").status == 404


def test_what_cannot_be_merged(bench: Bench) -> None:
    """Leads, a record with itself, one that was merged away, and a record that has been through 250 merges."""
    contact = bench.create(firstname="A")
    other = bench.create(firstname="B")
    old = bench.create(firstname="C")
    merged = bench.portal.person.merge(other, old)
    leads = bench.lead(contact), bench.lead(contact)
    for kind, pair, status in (
        ("leads", leads, 404),
        ("contacts", (contact, contact), 400),
        ("contacts", (contact, old), 400),
        ("contacts", (contact, "1"), 400),
    ):
        body = {"primaryObjectId": pair[0], "objectIdToMerge": pair[1]}
        reply = bench.call("POST", f"/crm/v3/objects/{kind}/merge", body)
        assert reply.status == status
    for number in range(249):
        merged = bench.portal.person.merge(
            merged, bench.create(firstname=str(number)) if number % 9 else person_made(bench)
        )
        bench.now_s += 1
    with pytest.raises(Refusal) as refusal:
        bench.portal.person.merge(merged, contact)
    assert refusal.value.status == 414


def person_made(bench: Bench) -> str:
    """A contact that a person made."""
    return bench.portal.person.create("contacts", {"firstname": "P"})


def test_erasure_leaves_nothing(bench: Bench) -> None:
    """By id or address, alive or binned: gone from everywhere. An address that nobody has is kept from coming in."""
    by_id, by_mail, in_bin = (bench.create(email=f"{name}@corp.example") for name in ("a", "b", "c"))
    bench.portal.person.delete(in_bin)
    path = "/crm/v3/objects/contacts/gdpr-delete"
    assert bench.call("POST", path, {"objectId": by_id}).status == 204
    assert bench.call("POST", path, {"objectId": "B@corp.example", "idProperty": "email"}).status == 204
    bench.portal.person.erase(in_bin)
    assert (live(bench), binned(bench)) == (set(), set())
    assert set(bench.portal.truth().erased) == {by_id, by_mail, in_bin}
    assert bench.call("GET", f"/crm/v3/objects/contacts/{by_id}").status == 404
    assert bench.found() == []
    assert bench.call("POST", path, {"objectId": by_id}).status == 404
    assert bench.call("POST", path, {"objectId": "never@corp.example", "idProperty": "email"}).status == 204
    assert bench.call("POST", "/crm/v3/objects/contacts", {"properties": {"email": "never@corp.example"}}).status == 400
    assert bench.create(email="a@corp.example") != by_id
    assert bench.call("POST", "/crm/v3/objects/leads/gdpr-delete", {"objectId": "1"}, documented=False).status == 404


@pytest.mark.parametrize("how", ["association", "batch", "contact", "erased"])
def test_a_lead_dies_with_its_last_primary_association(how: str, bench: Bench) -> None:
    """Taken away, or gone with the contact: the lead is in the bin. One that keeps a primary company lives on."""
    contact, firm = bench.create(email="ada@corp.example"), bench.create("companies", name="Corp")
    lead = bench.lead(contact)
    both = bench.create("leads", [primary(contact), primary(firm, 580)], hs_lead_name="Both")
    path = f"/crm/v4/objects/leads/{{}}/associations/contacts/{contact}"
    for each in (lead, both):
        if how == "association":
            assert bench.call("DELETE", path.format(each)).status == 204
        elif how == "batch":
            body = {"inputs": [{"from": {"id": each}, "to": [{"id": contact}]}]}
            assert bench.call("POST", "/crm/v4/associations/leads/contacts/batch/archive", body).status == 204
    if how == "contact":
        bench.call("DELETE", f"/crm/v3/objects/contacts/{contact}")
    elif how == "erased":
        bench.portal.person.erase(contact)
    assert (live(bench, "leads"), binned(bench, "leads")) == ({both}, {lead})
    assert bench.found(kind="leads") == [both]


def test_a_merge_of_contacts_takes_their_leads_along(bench: Bench) -> None:
    """Nobody dies, and both leads hang on the survivor."""
    one, two = bench.create(firstname="A"), bench.create(firstname="B")
    leads = {bench.lead(one), bench.lead(two)}
    survivor = bench.portal.person.merge(one, two)
    assert live(bench, "leads") == leads
    told = bench.call("GET", f"/crm/v4/objects/contacts/{survivor}/associations/leads").json["results"]
    assert {each["toObjectId"] for each in told} == leads
    assert bench.call("GET", f"/crm/v4/objects/contacts/{two}/associations/leads").json["results"] == told


def test_a_lead_s_links_are_shown_from_both_ends(bench: Bench) -> None:
    """In a read, in the v4 list, in the batch; a second primary contact takes the place of the first."""
    ada, ben = bench.create(firstname="Ada"), bench.create(firstname="Ben")
    lead = bench.lead(ada)
    read = bench.call("GET", f"/crm/v3/objects/leads/{lead}?associations=contacts,companies").json["associations"]
    assert read == {
        "contacts": {
            "results": [{"id": ada, "type": "lead_to_primary_contact"}, {"id": ada, "type": "lead_to_contact"}]
        }
    }
    put = bench.call("PUT", f"/crm/v4/objects/leads/{lead}/associations/contacts/{ben}", primary(ben)["types"])
    assert put.json["labels"] == ["Primary"]
    told = bench.call("POST", "/crm/v4/associations/leads/contacts/batch/read", {"inputs": [{"id": lead}, {"id": "1"}]})
    assert (told.status, told.json["numErrors"]) == (207, 1)
    types = {
        each["toObjectId"]: [t["typeId"] for t in each["associationTypes"]] for each in told.json["results"][0]["to"]
    }
    assert types == {ada: [608], ben: [578, 608]}
    back = bench.call("GET", f"/crm/v4/objects/contacts/{ben}/associations/leads").json["results"]
    assert [each["typeId"] for each in back[0]["associationTypes"]] == [579, 609]
    assert bench.call("PUT", f"/crm/v4/objects/leads/{lead}/associations/default/leads/{lead}").status == 400
    assert (
        bench.call("PUT", f"/crm/v4/objects/leads/{lead}/associations/contacts/1", primary("1")["types"]).status == 404
    )


def test_a_restored_contact_finds_its_lead_again(bench: Bench) -> None:
    """Links to what still lives come back with the record; the lead that died with it stays in the bin until it is restored."""
    contact, firm = bench.create(firstname="Ada"), bench.create("companies", name="Corp")
    lead = bench.create("leads", [primary(contact), primary(firm, 580)], hs_lead_name="Both")
    bench.portal.person.delete(contact)
    bench.portal.person.restore(contact)
    told = bench.call("GET", f"/crm/v4/objects/leads/{lead}/associations/contacts").json["results"]
    assert [each["toObjectId"] for each in told] == [contact]


def test_a_person_s_work_is_told_apart_from_the_app_s(bench: Bench) -> None:
    """The log has every committed write with its source, and the call or trace id behind it; a refused one is not in it."""
    person = bench.portal.person
    record = person.create("contacts", {"firstname": "Ada"})
    inputs = [{"id": record, "properties": {"city": "York"}, "objectWriteTraceId": "op-1"}]
    bench.batch("update", inputs)
    bench.batch("update", [{**inputs[0], "properties": {"city": "York", "nope": "1"}}])
    person.change_owner(record, "78")
    person.delete(record)
    log = bench.portal.truth().log
    assert [(each.seq, each.operation, each.source, each.trace) for each in log] == [
        (1, "create", "CRM_UI", ""),
        (2, "update", "INTEGRATION", "op-1"),
        (3, "update", "CRM_UI", ""),
        (4, "archive", "CRM_UI", ""),
    ]
    assert [bool(each.request) for each in log] == [False, True, False, False]
    assert log[1].changes == {"city": "York"}
    for missing in (record, "1"):
        with pytest.raises(LookupError):
            person.edit(missing, {"city": "York"})


def test_a_person_can_link_what_they_create(bench: Bench) -> None:
    """A lead made in HubSpot's own pages has its contact, too."""
    person = bench.portal.person
    contact = person.create("contacts", {"firstname": "Ada"})
    firm = person.create("companies", {"name": "Corp", "domain": "corp.example"})
    links = [Link(to=CONTACTS, id=int(contact), types=(578,)), Link(to=COMPANIES, id=int(firm), types=(610,))]
    lead = person.create("leads", {"hs_lead_name": "A"}, links)
    assert bench.read(firm, "website", kind="companies")["website"] == "corp.example"
    told = bench.call("GET", f"/crm/v3/objects/leads/{lead}?associations=contacts,companies").json["associations"]
    assert sorted(told) == ["companies", "contacts"]
