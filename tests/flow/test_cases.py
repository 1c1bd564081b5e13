"""One situation each, through the whole flow: what intake, push, pull, relay and the roster do about it."""

from __future__ import annotations

import asyncio
import errno
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sales_crm_bridge import contract, observe, operate
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.sandbox import Answer, Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot import throttled
from sales_crm_bridge.service import Service
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.units import time_text, time_us
from sales_crm_bridge.web import Meter
from tests.flow.flow_kit import TOKEN, View, disagreements, view, world

T = TypeVar("T")
Report = dict[str, Any]
UPDATE = "crm/v3/objects/contacts/batch/update"


def play(folder: Path, story: Callable[[World], Awaitable[T]], leads: int = 3) -> T:
    """Run ``story`` in a world of its own."""
    loop = VirtualLoop()

    async def main() -> T:
        return await story(world(loop, folder, "cases", leads=leads))

    return run(main(), loop)


async def live(home: World, seconds: float) -> View:
    """Let a process work for so long, and drain; what the topic then says."""
    killed = await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    assert not killed
    return view(home.topics.facts)


def create(home: World, lead_id: str, message_id: str, email: str, occurred_us: int | None = None, **more: str) -> None:
    lead = contract.Lead(lead_id=lead_id, email=email, **more)  # type: ignore[arg-type]
    body = contract.CreateLeadRequested(lead=lead)
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id, occurred_us=occurred_us)


def revise(home: World, lead_id: str, message_id: str, name: str, value: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, **{name: value}))  # type: ignore[arg-type]
    body.update_mask.paths.append(name)
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


def test_an_intent_takes_effect_once_however_often_it_comes(tmp_path: Path) -> None:
    """The same message three times, once after a restart: one record, one fact."""

    async def story(home: World) -> tuple[View, int]:
        create(home, "L-1", "m-1", "one@sales.example")
        create(home, "L-1", "m-1", "one@sales.example")
        await live(home, 60)
        create(home, "L-1", "m-1", "one@sales.example")
        told = await live(home, 600)
        return told, len(home.portal.truth().live["contacts"])

    told, records = play(tmp_path, story)
    assert told.done == {"m-1": 1}
    assert records == 4


def test_the_commands_of_a_lead_keep_their_order(tmp_path: Path) -> None:
    """Create, revise, revise, qualify, uttered at once: the CRM ends with the last values, and the facts come in order."""

    async def story(home: World) -> tuple[View, dict[str, str]]:
        create(home, "L-1", "m-1", "one@sales.example", phone="1")
        for number in (2, 3):
            body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id="L-1", phone=str(number)))
            body.update_mask.paths.append("phone")
            home.utter(body, tenant="acme", lead_id="L-1", message_id=f"m-{number}")
        home.utter(contract.QualifyLeadRequested(), tenant="acme", lead_id="L-1", message_id="m-4")
        told = await live(home, 600)
        live_records = home.portal.truth().live["contacts"].values()
        return told, next(dict(record) for record in live_records if record.get("bridge_lead_id") == "L-1")

    told, record = play(tmp_path, story)
    assert list(told.done) == ["m-1", "m-2", "m-3", "m-4"]
    assert (record["phone"], record["hs_lead_status"]) == ("3", "CONNECTED")


def test_what_the_crm_makes_of_our_values_is_told_with_the_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes an address in lower case: the fact shows the lead as it is now. What it keeps as it was given costs no read."""

    async def story(home: World) -> tuple[View, list[int], list[str]]:
        create(home, "L-1", "m-1", "one@sales.example")
        await live(home, 60)
        reads: list[str] = []
        answer = home.portal.handle

        def handle(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
            reads.extend([target] if "/batch/read" in target else [])
            return answer(method, target, headers, body)

        monkeypatch.setattr(home.portal, "handle", handle)
        spent = []
        for number, email in ((2, "two@sales.example"), (3, " Three@Sales.EXAMPLE ")):
            body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id="L-1", email=email))
            body.update_mask.paths.append("email")
            home.utter(body, tenant="acme", lead_id="L-1", message_id=f"m-{number}")
            await live(home, 60)
            spent.append(len(reads))
        told = await live(home, 600)
        return told, spent, disagreements(told, home.portal)

    told, spent, differ = play(tmp_path, story, leads=0)
    assert told.done["m-2"] == told.done["m-3"] == 1
    assert told.leads["L-1"].email == "three@sales.example"
    assert not told.kinds["crm_lead_observed"], "our own write came back as a person's"
    assert differ == []
    assert spent == [0, 1]


def test_what_cannot_be_read_is_kept_whole_and_holds_up_nothing(tmp_path: Path) -> None:
    """Garbage on the topic becomes a dead letter with its bytes, headers and place; the intent behind it is carried out."""

    async def story(home: World) -> tuple[View, list[tuple[str, bytes, str]]]:
        for number in range(8):
            home.topics.put(f"acme/x{number}".encode(), b"\xff\x00garbage", [("ce_id", b"g")])
        create(home, "L-1", "m-1", "one@sales.example")
        told = await live(home, 600)
        letters = await home.look(lambda ledger: ledger.dead_letters("", 100))
        return told, [(letter.code, letter.payload, letter.source) for letter in letters]

    told, letters = play(tmp_path, story)
    assert told.done == {"m-1": 1}
    assert len(letters) == 8
    code, payload, source = letters[0]
    assert (code, payload) == ("contract.unreadable", b"\xff\x00garbage")
    assert source.startswith("sales.domain.intents.v1[")


def test_a_refused_command_is_parked_and_later_ones_of_its_lead_wait(tmp_path: Path) -> None:
    """A bad e-mail needs a person: told, kept as a dead letter, the lead's next command waits, other leads go on."""

    async def story(home: World) -> tuple[View, list[str], int]:
        create(home, "L-1", "m-1", "no address")
        home.utter(contract.QualifyLeadRequested(), tenant="acme", lead_id="L-1", message_id="m-2")
        create(home, "L-2", "m-3", "two@sales.example")
        told = await live(home, 600)
        letters = await home.look(lambda ledger: ledger.dead_letters("acme", 100))
        (counts,) = await home.look(lambda ledger: ledger.command_counts())
        return told, [letter.code for letter in letters], counts.parked

    told, letters, parked = play(tmp_path, story)
    assert told.refused == {"m-1": "INVALID_EMAIL"}
    assert told.done == {"m-3": 1}
    assert letters == ["push.validation"]
    assert parked == 1


def test_intents_of_others_are_passed_over(tmp_path: Path) -> None:
    """Another tenant's intent, and one uttered before the CRM owned the leads, are the domain's; the metrics count them by why."""
    meter = Meter()

    async def story(home: World) -> View:
        home.observer = meter
        lead = contract.Lead(lead_id="L-1", email="one@sales.example")
        body = contract.CreateLeadRequested(lead=lead)
        home.utter(body, tenant="umbrella", lead_id="L-1", message_id="m-1")
        home.utter(body, tenant="acme", lead_id="L-1", message_id="m-2", occurred_us=1_700_000_000_000_000)
        return await live(home, 600)

    told = play(tmp_path, story)
    assert not told.done
    assert not told.refused
    counted = {
        sample.labels["reason"]: sample.value
        for family in meter.families()
        for sample in family.samples
        if sample.name == "sales_crm_bridge_intents_total" and sample.labels["result"] == "passed_over"
    }
    assert counted == {"unknown-tenant": 1, "before-first-entry": 1}


def test_a_broker_that_is_away_stops_nothing_else_and_loses_nothing(tmp_path: Path) -> None:
    """While facts cannot be published, pushes and pulls go on; when the broker is back, everything is told."""

    async def story(home: World) -> tuple[int, View, list[str]]:
        home.sink.away = True
        create(home, "L-1", "m-1", "one@sales.example")
        await live(home, 600)
        waiting, _ = await home.look(lambda ledger: ledger.outbox_depth())
        assert len(home.portal.truth().live["contacts"]) == 4
        home.sink.away = False
        told = await live(home, 600)
        return waiting, told, disagreements(told, home.portal)

    waiting, told, wrong = play(tmp_path, story)
    assert waiting >= 4
    assert told.done == {"m-1": 1}
    assert not wrong


def test_a_full_outbox_pauses_pulls_and_pushes_until_there_is_room(tmp_path: Path) -> None:
    """No more is read, and nothing is written, than can be told; when the broker is back, everything goes on to its end."""

    async def state(home: World) -> tuple[str, str]:
        (row,) = await home.look(lambda ledger: ledger.connections())
        return row.state, row.code

    async def story(home: World) -> tuple[int, int, View, list[str]]:
        relay = home.settings.relay.model_copy(update={"outbox_rows_max": 1_000})
        home.settings = home.settings.model_copy(update={"relay": relay})
        home.sink.away = True
        await live(home, 1_800)
        waiting, _ = await home.look(lambda ledger: ledger.outbox_depth())
        assert await state(home) == ("paused", "relay.outbox-full")
        create(home, "L-1", "m-1", "one@sales.example")
        await live(home, 600)
        assert await state(home) == ("paused", "relay.outbox-full")
        written = len(home.portal.truth().live["contacts"]) - 1_300
        home.sink.away = False
        told = await live(home, 1_800)
        assert await state(home) == ("ok", "")
        return waiting, written, told, disagreements(told, home.portal)

    waiting, written, told, wrong = play(tmp_path, story, leads=1_300)
    assert 1_000 <= waiting <= 1_100, "more than one page beyond what may wait"
    assert written == 0
    assert told.done == {"m-1": 1}
    assert not wrong


def test_offsets_that_are_gone_open_a_gap_that_is_told(tmp_path: Path) -> None:
    """The broker trimmed what was not read yet: nobody skips silently; a fact says so, and what comes next is carried out."""

    async def story(home: World) -> tuple[View, int]:
        await live(home, 60)
        for number in range(40):
            create(home, f"L-{number}", f"m-{number}", f"n{number}@sales.example")
        home.topics.trim()
        create(home, "L-99", "m-99", "n99@sales.example")
        await live(home, 600)
        told = await live(home, 60)
        gaps = await home.look(lambda ledger: ledger.gaps(1))
        assert told.kinds["crm_gap_opened"] == len(gaps)
        for gap in gaps:
            assert await home.look(partial(SqlLedger.gap_close, name=gap.id, who="ann", why="uttered again", now_us=1))
        told = await live(home, 120)
        assert not await home.look(lambda ledger: ledger.gaps_untold(1))
        return told, len(gaps)

    told, gaps = play(tmp_path, story)
    assert told.done == {"m-99": 1}
    assert gaps >= 1
    assert told.kinds["crm_gap_opened"] == told.kinds["crm_gap_closed"] == gaps


def test_a_changed_tenant_file_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    """A new field in the mapping is learnt without a fact; from then on its changes are told."""

    async def story(home: World) -> tuple[int, int, str]:
        file = tmp_path / "tenants" / "acme.yaml"
        ids = sorted(home.portal.truth().live["contacts"], key=int)

        async def meanwhile(_service: Service) -> None:
            await home.clock.sleep(300)
            file.write_text(file.read_text().replace("  city: city\n", "  city: city\n  job_title: jobtitle\n"))
            await home.clock.sleep(7300)  # an audit reads everything under the new mapping
            quiet.append(view(home.topics.facts).kinds["crm_lead_observed"])
            home.portal.person.edit(ids[0], {"jobtitle": "Astronomer"})
            await home.clock.sleep(300)

        quiet: list[int] = []
        await home.live(lambda service: asyncio.ensure_future(meanwhile(service)))
        told = view(home.topics.facts)
        titles = [lead.job_title for lead in told.leads.values() if lead.job_title == "Astronomer"]
        return quiet[0], told.kinds["crm_lead_observed"], titles[0]

    quiet, told, title = play(tmp_path, story)
    assert quiet == 3
    assert (told, title) == (4, "Astronomer")


def test_a_broken_tenant_file_leaves_the_accepted_one_in_force_over_restarts(tmp_path: Path) -> None:
    """Rule 17: the file is broken, then gone; the last accepted version rules, and no intent is passed over."""

    async def story(home: World) -> View:
        file = tmp_path / "tenants" / "acme.yaml"
        await live(home, 60)
        file.write_text("tenant: acme\nleads: [")
        create(home, "L-1", "m-1", "one@sales.example")
        await live(home, 600)
        file.unlink()
        create(home, "L-2", "m-2", "two@sales.example")
        return await live(home, 600)

    told = play(tmp_path, story)
    assert told.done == {"m-1": 1, "m-2": 1}


def test_a_folder_that_cannot_be_read_for_a_while_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many files are open: intents are carried out meanwhile, the log says why, and what came then is taken up later."""
    listed = Path.iterdir

    async def story(home: World) -> tuple[View, bool]:
        file = tmp_path / "tenants" / "acme.yaml"

        def refuse(_folder: Path) -> Iterator[Path]:
            raise OSError(errno.EMFILE, "Too many open files")

        async def meanwhile(service: Service) -> None:
            await home.clock.sleep(60)
            monkeypatch.setattr(Path, "iterdir", refuse)
            file.write_text(file.read_text().replace("  city: city\n", "  city: city\n  job_title: jobtitle\n"))
            create(home, "L-1", "m-1", "one@sales.example")
            await home.clock.sleep(300)
            monkeypatch.setattr(Path, "iterdir", listed)
            await home.clock.sleep(60)
            roster = service.roster
            assert isinstance(roster, Roster)
            mapped.append("job_title" in roster.tenants()["acme"].text)

        mapped: list[bool] = []
        assert not await home.live(lambda service: asyncio.ensure_future(meanwhile(service)))
        return view(home.topics.facts), mapped[0]

    told, taken_up = play(tmp_path, story)
    assert told.done == {"m-1": 1}
    assert taken_up
    codes = {vars(one)["code"] for one in caplog.records if getattr(one, "event", "") == "tenant.refused"}
    assert codes == {"tenant.folder-unreadable"}


def test_a_late_intent_of_a_retired_tenant_waits_visibly_and_is_carried_out_when_it_is_back(tmp_path: Path) -> None:
    """It was the bridge's when it was uttered, so nobody else has handled it; what was uttered after that is the domain's."""

    async def story(home: World) -> tuple[View, list[Report], View]:
        file = tmp_path / "tenants" / "acme.yaml"
        await live(home, 60)
        text, late_us, retired_us = file.read_text(), home.clock.now_us(), home.clock.now_us() + 1_000_000
        assert await home.look(lambda ledger: ledger.tenant_retire("acme", retired_us))
        await home.clock.sleep(60)
        create(home, "L-1", "m-1", "one@sales.example", occurred_us=late_us)
        create(home, "L-2", "m-2", "two@sales.example")
        told = [await live(home, 600)]
        reports = [await home.look(lambda ledger: observe.report(ledger, home.clock.now_us()))]
        entry = "  - {owner: crm, from: 2026-01-01T00:00:00Z}\n"
        assert entry in text
        since = f"  - {{owner: domain, from: {time_text(retired_us)}}}\n"
        file.write_text(text.replace(entry, entry + since))
        told.append(await live(home, 600))
        reports.append(await home.look(lambda ledger: observe.report(ledger, home.clock.now_us())))
        return told[0], reports, told[1]

    before, (waiting, over), after = play(tmp_path, story)
    assert before.done == {}
    (one,) = waiting["connections"]
    assert (one["tenant"], one["connection"], one["state"]) == ("acme", "hubspot", "out-of-force")
    assert (one["code"], one["commands"]["open"]) == ("connection.out-of-force", 1)
    assert one["commands"]["oldest_s"] > 600
    assert one["remedy"]
    assert after.done == {"m-1": 1}
    assert [(it["state"], it["commands"]["open"]) for it in over["connections"]] == [("ok", 0)]


def test_a_gap_is_no_matter_of_a_retired_tenant(tmp_path: Path) -> None:
    """Nobody could close it; the tenants in force have theirs."""

    async def story(home: World) -> list[int]:
        (tmp_path / "tenants" / "beta.yaml").write_text(
            (tmp_path / "tenants" / "acme.yaml").read_text().replace("acme", "beta").replace("4242", "4343")
        )
        create(home, "L-0", "m-0", "zero@sales.example")
        await live(home, 60)
        rows = {row.tenant: row.conn for row in await home.look(lambda ledger: ledger.tenants())}
        assert await home.look(lambda ledger: ledger.tenant_retire("acme", home.clock.now_us()))
        for number in range(40):
            create(home, f"L-{number}", f"m-{number}", f"n{number}@sales.example")
        home.topics.trim()
        await live(home, 60)
        gaps = [await home.look(partial(SqlLedger.gaps, conn=rows[name])) for name in ("acme", "beta")]
        return [len(found) for found in gaps]

    acme, beta = play(tmp_path, story)
    assert acme == 0
    assert beta > 0


def test_a_rewind_hands_over_what_intake_has_gone_by(tmp_path: Path) -> None:
    """Leads that should have been the CRM's since an hour ago: refused as it stands, and after a rewind carried out, each once.

    The process that runs meanwhile follows by itself, though no further intent comes.
    """

    async def story(home: World) -> tuple[View, View, tuple[str, ...]]:
        file = tmp_path / "tenants" / "acme.yaml"
        text = file.read_text()
        owners = re.search(r"^leads:.*\n(?:  .*\n)*", text, re.MULTILINE)
        assert owners is not None
        file.write_text(text.replace(owners[0], "leads: [{owner: domain, from: 2020-01-01T00:00:00Z}]\n"))
        told = []

        async def meanwhile(_service: Service) -> None:
            await home.clock.sleep(60)
            since = time_text(home.clock.now_us())
            create(home, "L-1", "m-1", "one@sales.example")
            await home.clock.sleep(3600)
            late = f"leads: [{{owner: domain, from: 2020-01-01T00:00:00Z}}, {{owner: crm, from: {since}}}]\n"
            file.write_text(text.replace(owners[0], late))
            await home.clock.sleep(600)
            told.append(view(home.topics.facts))
            done = await home.look(
                lambda ledger: operate.rewind_in(ledger, home.settings, time_us(since), home.clock.now_us())
            )
            accepted.extend(done.accepted)
            await home.clock.sleep(600)
            told.append(view(home.topics.facts))

        accepted: list[str] = []
        create(home, "L-0", "m-0", "zero@sales.example")
        await home.live(lambda service: asyncio.ensure_future(meanwhile(service)))
        return told[0], told[1], tuple(accepted)

    before, after, accepted = play(tmp_path, story)
    assert before.done == {}
    assert after.done == {"m-1": 1}
    assert accepted == ("acme",)


def test_a_rewind_is_refused_where_it_would_do_things_twice(tmp_path: Path) -> None:
    """Further back than the inbox remembers, or into the future: a finding, and nothing moves."""

    async def story(home: World) -> list[str]:
        await live(home, 60)
        places = await home.look(lambda ledger: ledger.places(contract.INTENT_TOPIC))
        codes = []
        for away_s in (-home.settings.retention.inbox_s - 60, 60):
            to_us = home.clock.now_us() + round(away_s * 1e6)

            async def rewind(ledger: SqlLedger, to_us: int = to_us) -> operate.Rewound:
                return await operate.rewind_in(ledger, home.settings, to_us, home.clock.now_us())

            with pytest.raises(ConfigError) as refused:
                await home.look(rewind)
            codes.append(refused.value.code)
        assert await home.look(lambda ledger: ledger.places(contract.INTENT_TOPIC)) == places
        return codes

    assert play(tmp_path, story) == ["intake.rewind-range"] * 2


def test_a_storm_of_429_costs_few_calls_and_loses_nothing(tmp_path: Path) -> None:
    """The CRM turns every call away for a while: the account pauses, and everything is carried out afterwards."""

    async def story(home: World) -> tuple[View, list[str]]:
        await live(home, 60)
        home.portal.faults.add(throttled(times=30))
        for number in range(20):
            create(home, f"L-{number}", f"m-{number}", f"n{number}@sales.example")
        told = await live(home, 3600)
        return told, disagreements(told, home.portal)

    told, wrong = play(tmp_path, story)
    assert len(told.done) == 20
    assert not wrong


def test_a_batch_that_is_rejected_whole_is_halved_until_the_bad_one_stands_alone(tmp_path: Path) -> None:
    """The CRM rejects every batch that holds one of the commands: the others take effect, the one goes to a person."""

    async def story(home: World) -> tuple[View, list[str]]:
        await live(home, 60)
        reply = {"status": "error", "category": "VALIDATION_ERROR", "message": "invalid", "correlationId": "c"}
        poison = Fault(
            FaultKind.STATUS,
            method="POST",
            path="*/contacts/batch/upsert",
            body=b"poison@",
            times=None,
            status=400,
            reply=json.dumps(reply).encode(),
        )
        home.portal.faults.add(poison)
        for number in range(20):
            name = "poison" if number == 13 else f"n{number}"
            create(home, f"L-{number}", f"m-{number}", f"{name}@sales.example")
        told = await live(home, 1800)
        home.portal.faults.clear()
        return told, disagreements(told, home.portal)

    told, wrong = play(tmp_path, story)
    assert set(told.done) == {f"m-{number}" for number in range(20) if number != 13}
    assert set(told.refused) == {"m-13"}
    assert not wrong


@pytest.mark.parametrize("minutes", [6, 90])
def test_an_outage_of_writes_parks_nothing(tmp_path: Path, minutes: int) -> None:
    """The CRM answers every write with 503 and every read: however long it lasts, every command is carried out afterwards."""

    async def story(home: World) -> tuple[View, View, list[str]]:
        await live(home, 60)
        home.portal.faults.add(
            Fault(FaultKind.STATUS, method="POST", path="*/contacts/batch/upsert", times=None, status=503)
        )
        for number in range(20):
            create(home, f"L-{number}", f"m-{number}", f"n{number}@sales.example")
        during = await live(home, minutes * 60)
        home.portal.faults.clear()
        told = await live(home, 3600)
        return during, told, disagreements(told, home.portal)

    during, told, wrong = play(tmp_path, story)
    assert not during.refused
    assert told.done == {f"m-{number}": 1 for number in range(20)}
    assert not told.refused
    assert not wrong


@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.TIMEOUT_BEFORE])
def test_one_record_that_the_crm_stumbles_over_is_parked_alone(tmp_path: Path, kind: FaultKind) -> None:
    """Every batch that holds it is answered with 500, or not at all: the others take effect, and a person looks at the one."""

    async def story(home: World) -> tuple[View, list[str]]:
        await live(home, 60)
        home.portal.faults.add(
            Fault(kind, method="POST", path="*/contacts/batch/upsert", body=b"poison@", times=None, status=500)
        )
        for number in range(20):
            name = "poison" if number == 13 else f"n{number}"
            create(home, f"L-{number}", f"m-{number}", f"{name}@sales.example")
        told = await live(home, 4 * 3600)
        home.portal.faults.clear()
        return told, disagreements(told, home.portal)

    told, wrong = play(tmp_path, story)
    assert told.done == {f"m-{number}": 1 for number in range(20) if number != 13}
    assert told.refused == {"m-13": "attempts-exhausted"}
    assert not wrong


@pytest.mark.parametrize("key", ["x" * 600, "ä" * 257, "a\x00b", "y" * 8000])
def test_a_text_in_our_key_property_that_can_be_no_lead_id_is_no_key(tmp_path: Path, key: str) -> None:
    """Whatever somebody writes there: a lead of its own, told by facts that can be read, one dead letter, and pulls go on."""

    async def story(home: World) -> tuple[View, list[str], list[str]]:
        await live(home, 120)
        home.portal.person.create("contacts", {"email": "x@y.example", "bridge_lead_id": key})
        await live(home, 1800)
        one = min(home.portal.truth().live["contacts"], key=int)
        home.portal.person.edit(one, {"city": "Lisbon"})
        told = await live(home, 300)
        letters = await home.look(lambda ledger: ledger.dead_letters("acme", 100))
        return told, disagreements(told, home.portal), [letter.code for letter in letters]

    told, wrong, letters = play(tmp_path, story)
    assert not wrong
    assert told.kinds["crm_lead_observed"] == 5
    assert letters == ["crm.key-unusable"]


def test_what_a_search_shows_later_than_the_horizon_is_met_by_the_second_pass(tmp_path: Path) -> None:
    """An index that lags by five minutes, a horizon of one: the change is told once, after the second pass."""

    async def story(home: World) -> tuple[int, int]:
        await live(home, 300)
        one = min(home.portal.truth().live["contacts"], key=int)
        home.portal.search_lag(one, 300.0)
        home.portal.person.edit(one, {"city": "Lisbon"})
        early = await live(home, 500)
        late = await live(home, 3600)
        return early.kinds["crm_lead_observed"], late.kinds["crm_lead_observed"]

    early, late = play(tmp_path, story)
    assert (early, late) == (3, 4)


def test_an_echo_makes_no_fact_and_a_later_edit_does(tmp_path: Path) -> None:
    """What we create and revise comes back in the search without a fact; a person's edit of the same field is told."""

    async def story(home: World) -> tuple[int, View]:
        await live(home, 60)
        create(home, "L-1", "m-1", "One@Sales.Example", phone="1")
        body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id="L-1", phone="2"))
        body.update_mask.paths.append("phone")
        home.utter(body, tenant="acme", lead_id="L-1", message_id="m-2")
        quiet = (await live(home, 3600)).kinds["crm_lead_observed"]
        record = next(
            name for name, fields in home.portal.truth().live["contacts"].items() if fields.get("bridge_lead_id")
        )
        home.portal.person.edit(record, {"phone": "3"})
        return quiet, await live(home, 600)

    quiet, told = play(tmp_path, story)
    assert quiet == 3
    assert told.kinds["crm_lead_observed"] == 4


def test_a_newer_edit_in_the_crm_wins_by_the_tenants_rule_and_is_told(tmp_path: Path) -> None:
    """A person changed the phone after the intent was uttered: the CRM's value stays, and a fact says why."""

    async def story(home: World) -> tuple[View, str]:
        create(home, "L-1", "m-1", "one@sales.example", phone="1")
        await live(home, 600)
        uttered_us = home.clock.now_us()
        await live(home, 60)
        record = next(
            name for name, fields in home.portal.truth().live["contacts"].items() if fields.get("bridge_lead_id")
        )
        home.portal.person.edit(record, {"phone": "hers"})
        await live(home, 600)
        body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id="L-1", phone="late"))
        body.update_mask.paths.append("phone")
        home.utter(body, tenant="acme", lead_id="L-1", message_id="m-2", occurred_us=uttered_us)
        told = await live(home, 600)
        return told, home.portal.truth().live["contacts"][record]["phone"]

    told, phone = play(tmp_path, story)
    assert phone == "hers"
    assert told.refused == {"m-2": "newer-in-crm"}
    assert told.kinds["crm_lead_conflict_detected"] == 1
    assert not told.wrong


def test_our_own_create_is_no_echo_while_its_outcome_is_not_known(tmp_path: Path) -> None:
    """Killed on the answer to a create; the next process reads the record in its first window before it has read back."""

    async def story(home: World) -> View:
        await live(home, 60)
        create(home, "L-1", "m-1", "one@sales.example")
        answered = "… POST https://crm.example/crm/v3/objects/contacts/batch/upsert 200"
        assert await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), last=answered)
        await home.clock.sleep(200)
        return await live(home, 3600)

    told = play(tmp_path, story)
    assert told.done == {"m-1": 1}
    assert told.kinds["crm_lead_observed"] == 3
    assert not told.wrong


def test_what_a_dead_process_had_under_way_is_over_before_anybody_writes_again(tmp_path: Path) -> None:
    """A revise is killed with its call on the line, and the CRM carries it out half a minute later: it is no later value."""

    async def story(home: World) -> tuple[View, Mapping[str, str]]:
        create(home, "L-1", "m-1", "one@sales.example", phone="1")
        record = (await live(home, 60)).records["L-1"]
        revise(home, "L-1", "m-2", "phone", "2")
        assert await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), last="… sending")
        revise(home, "L-1", "m-3", "phone", "3")

        async def late() -> None:
            await home.clock.sleep(29)
            body = {"inputs": [{"id": record, "properties": {"phone": "2"}}]}
            headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
            answer = home.portal.handle("POST", f"/{UPDATE}", headers, json.dumps(body).encode())
            assert answer.status == 200

        under_way = asyncio.ensure_future(late())
        told = await live(home, 600)
        await under_way
        return told, home.portal.truth().live["contacts"][record]

    told, truth = play(tmp_path, story)
    assert truth["phone"] == "3"
    assert told.done == {"m-1": 1, "m-2": 1, "m-3": 1}
    assert not told.wrong
