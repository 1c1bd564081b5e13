"""Secrets and persons are planted wherever a CRM could repeat them, everything goes wrong that can, and nothing shows them."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx
import pytest

from sales_crm_bridge import contract, fronts, observe
from sales_crm_bridge.console import Console
from sales_crm_bridge.observe import JsonLines
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.service import Service
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.web import Face, Meter
from tests.flow.flow_kit import TOKEN, world

HOOK = "hook-secret-that-is-planted"
EMAIL, PHONE = "ada.planted@corp.example", "+44 20 7946 0958"
ECHO = f"Bearer {TOKEN} {HOOK} may not write {EMAIL}, {PHONE}"


def reply(code: str) -> bytes:
    """An error as HubSpot words it, which repeats what it was told; ``code``: its own word for it."""
    return json.dumps(
        {
            "status": "error",
            "message": ECHO,
            "category": code,
            "subCategory": code,
            "errorType": code,
            "policyName": code,
            "errors": [{"message": ECHO, "code": code, "in": ECHO, "context": {"propertyName": [ECHO, code]}}],
            "context": {"propertyName": [ECHO, code], "requiredGranularScopes": [ECHO, code]},
        }
    ).encode()


def faults() -> dict[str, Fault]:
    """Everything that can go wrong with a request, by a name for it."""
    told = {
        f"{status} {word}": Fault(
            FaultKind.STATUS,
            status=status,
            reply=reply(code),
            headers=(("x-echo", ECHO), ("location", f"https://evil.example/?token={TOKEN}")),
            times=None,
        )
        for status in (302, 400, 401, 403, 404, 409, 423, 429, 500, 503)
        for word, code in (("with a word", "SOME_WORD"), ("with the token for one", TOKEN))
    }
    told["200 of another form"] = Fault(FaultKind.STATUS, status=200, reply=ECHO.encode(), times=None)
    told["502 in HTML"] = Fault(FaultKind.STATUS, status=502, reply=f"<html>{ECHO}</html>".encode(), times=None)
    for kind in (FaultKind.REFUSED, FaultKind.CUT_AFTER, FaultKind.TIMEOUT_AFTER, FaultKind.TRUNCATED):
        told[kind.value] = Fault(kind, times=None)
    return told


def face_of(home: World, service: Service, meter: Meter) -> Face:
    """The HTTP side of a service, as the wiring makes it."""
    roster = service.roster
    assert isinstance(roster, Roster)

    async def kafka() -> str:
        return "kafka.unreachable"

    return Face(
        ledger=service._ledger,
        clock=home.clock,
        inside=fronts.Inside(service, roster),
        doors=fronts.Doors(roster),
        meter=meter,
        limits=fronts.door_limits(home.settings),
        kafka=kafka,
        version="1",
    )


async def pages(face: Face) -> list[str]:
    """Everything that is answered over HTTP, to probes, to scrapes and to a delivery that is not signed well."""
    await face.pulse.look()
    await face.pulse.ask_kafka()
    transport = httpx.ASGITransport(face.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://bridge.example") as client:
        answers = [await client.get(path) for path in ("/healthz", "/readyz", "/metrics", f"/{EMAIL}")]
        signed = {"x-hubspot-signature-v3": HOOK, "x-hubspot-request-timestamp": TOKEN}
        hooks = ("/webhooks/acme/hubspot", f"/webhooks/{EMAIL}/{TOKEN}")
        answers += [await client.post(path, content=ECHO.encode(), headers=signed) for path in hooks]
    assert len(answers[2].text) > 2_000
    return [f"{answer.status_code} {answer.headers} {answer.text}" for answer in answers]


async def words(home: World) -> list[str]:
    """What the ledger has in words for people and machines; a dead letter's payload is the intent itself, and is not shown."""
    letters = await home.look(lambda ledger: ledger.dead_letters("", 1_000))
    runs = await home.look(lambda ledger: ledger.runs(1, 1_000))
    report = await home.look(lambda ledger: observe.report(ledger, home.clock.now_us()))
    Console().status(report)
    said = [f"{one.source} {one.code} {one.message} {one.remedy} {one.tenant}" for one in letters]
    return [json.dumps(report), *said, *(repr(one) for one in runs)]


def told(home: World) -> list[str]:
    """The facts that say what went wrong."""
    found = []
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        if received.envelope.WhichOneof("fact") in ("crm_lead_push_failed", "crm_sync_failed"):
            found.append(f"{received.envelope} {record.headers}")
    return found


def create(home: World, number: int) -> None:
    lead = contract.Lead(lead_id=f"L-{number}", email=f"{number}.{EMAIL}", phone=PHONE, first_name="Ada")
    body = contract.CreateLeadRequested(lead=lead)
    home.utter(body, tenant="acme", lead_id=f"L-{number}", message_id=f"m-{number}")


def test_whatever_goes_wrong_shows_no_secret_and_no_person(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Status, pages, metrics, dead letters, runs, facts of failures and the log, after every kind of fault, in every form of it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ACME_HOOK", HOOK)
    meter = Meter()
    shown: dict[str, list[str]] = {}

    async def story(home: World) -> None:
        home.observer = meter
        file = tmp_path / "tenants" / "acme.yaml"
        file.write_text(
            file.read_text().replace("token: env:ACME_TOKEN}", "token: env:ACME_TOKEN, client_secret: env:ACME_HOOK}")
        )
        for number, (name, fault) in enumerate(faults().items()):

            async def work(service: Service, number: int = number, name: str = name, fault: Fault = fault) -> None:
                await home.clock.sleep(10)
                home.portal.faults.add(fault)
                create(home, number)
                await home.clock.sleep(90)
                shown[name] = await pages(face_of(home, service, meter))

            assert not await home.live(lambda service: asyncio.ensure_future(work(service)))
            assert home.portal.faults.hits
            shown[name] += [*await words(home), *told(home)]
            home.portal.faults.clear()

    loop = VirtualLoop()

    async def main() -> World:
        home = world(loop, tmp_path, "planted", leads=3)
        await story(home)
        return home

    home = run(main(), loop)
    assert len(told(home)) > 5
    shown["the console"] = [capsys.readouterr().out]
    shown["the log"] = [JsonLines().format(one) for one in caplog.records if one.name.startswith("sales_crm_bridge")]
    assert len(shown["the console"][0].splitlines()) > 100
    for name, texts in shown.items():
        for planted in (TOKEN, HOOK, EMAIL, PHONE, PHONE.replace(" ", "")):
            found = [text[max(0, text.index(planted) - 200) :][:300] for text in texts if planted in text]
            assert not found, f"after {name}: {found[0]}"
