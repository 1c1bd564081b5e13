"""What the service shows of itself over HTTP: alive, ready, and every number with what it is made of."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from sales_crm_bridge.state import Census
from sales_crm_bridge.web.face import CENSUS_S, HEAD_BYTES_MAX
from sales_crm_bridge.web.health import KAFKA_EVERY_S, LEDGER_AGE_MAX_S, LEDGER_EVERY_S, Pulse
from tests.core.census_kit import CENSUS, FINDINGS, RIMS
from tests.core.web_kit import NOW_US, House, event, house, signed

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PREFIX = "sales_crm_bridge_"
AGE_MAX_US = round(LEDGER_AGE_MAX_S * 1e6)
AWAY = EnvironmentFault("ledger.unreachable", "away")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
async def home() -> AsyncIterator[House]:
    """Give a face over a ledger in memory; all is well."""
    made = await house()
    yield made
    await made.ledger.close()


async def whole_census() -> Census:
    """Answer as the ledger, by hand."""
    return CENSUS


async def ready(home: House) -> tuple[int, list[str]]:
    """Ask /readyz: the status and the reasons."""
    answer = await home.client.get("/readyz")
    body = answer.json()
    assert body["ready"] is (answer.status_code == 200)
    return answer.status_code, body["reasons"]


async def scrape(home: House) -> Samples:
    """Ask /metrics: each sample by its name and its labels in order, without the prefix."""
    answer = await home.client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    """Pick one sample."""
    return samples[name, tuple(sorted(labels.items()))]


# --- ready ------------------------------------------------------------------------------------------------------------


async def test_readiness_tells_how_everything_stands(home: House) -> None:
    """200 when all is well, with ledger, Kafka and every connection in the body, in the words that `status` has for them."""
    await home.ledger.connection_say(1, "stopped", "crm.consent", "consent is gone", "sign in anew", NOW_US)
    await home.face.pulse.look()
    answer = await home.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "reasons": [],
        "ledger": {"ok": True, "code": ""},
        "kafka": {"ok": True, "code": ""},
        "connections": [
            {
                "tenant": "acme",
                "connection": "main",
                "state": "stopped",
                "code": "crm.consent",
                "remedy": "sign in anew",
                "since": "2026-09-21T14:13:20.000000Z",
            }
        ],
    }


async def test_a_process_that_has_only_begun_is_not_ready() -> None:
    """503 with each thing that it does not know yet: the ledger, Kafka, the tenants in force."""
    made = House(await open_ledger("sqlite://:memory:"))
    made.doors.loaded = False
    assert await ready(made) == (503, ["ledger.not-asked", "kafka.not-asked", "starting"])
    assert (await made.client.get("/readyz")).json()["connections"] == []
    await made.face.pulse.look()
    assert await ready(made) == (503, ["kafka.not-asked", "starting"])
    await made.face.pulse.ask_kafka()
    assert await ready(made) == (503, ["starting"])
    made.doors.loaded = True
    assert await ready(made) == (200, [])
    await made.ledger.close()


async def test_a_process_that_drains_is_not_ready(home: House) -> None:
    """503 from the moment it is asked to stop, so that nobody begins anything with it."""
    home.inside.draining = True
    assert await ready(home) == (503, ["draining"])


async def test_a_ledger_that_is_away_makes_unready_after_a_while(home: House) -> None:
    """A busy moment is no absence: 15 s after the last answer 503 with the ledger's code, and 200 with the next answer."""
    home.away.fault = LedgerBusy("ledger.busy", "busy")
    home.clock.now += AGE_MAX_US
    await home.face.pulse.look()
    assert await ready(home) == (200, [])
    assert (await home.client.get("/readyz")).json()["ledger"] == {"ok": True, "code": "ledger.busy"}
    home.clock.now += 1
    assert await ready(home) == (503, ["ledger.busy"])
    answer = (await home.client.get("/readyz")).json()
    assert answer["ledger"] == {"ok": False, "code": "ledger.busy"}
    assert [one["tenant"] for one in answer["connections"]] == ["acme"], "what was last seen is still told"
    home.away.fault = None
    await home.face.pulse.look()
    assert await ready(home) == (200, [])


async def test_a_look_that_never_comes_back_makes_unready_too(home: House) -> None:
    """503 by age alone, when the ledger was well when it was asked last and nothing has been heard since."""
    home.clock.now += AGE_MAX_US + 1
    assert await ready(home) == (503, ["ledger.unreachable"])


async def test_kafka_counts_until_it_has_answered_once() -> None:
    """503 with Kafka's own code while it has never answered, so a bad roll-out stops; its absence later on is told, no more."""
    made = House(await open_ledger("sqlite://:memory:"))
    made.kafka = "kafka.rights"
    await made.face.pulse.look()
    await made.face.pulse.ask_kafka()
    assert await ready(made) == (503, ["kafka.rights"])
    made.kafka = ""
    await made.face.pulse.ask_kafka()
    assert await ready(made) == (200, [])
    made.kafka = "kafka.unreachable"
    await made.face.pulse.ask_kafka()
    assert await ready(made) == (200, [])
    assert (await made.client.get("/readyz")).json()["kafka"] == {"ok": False, "code": "kafka.unreachable"}
    await made.ledger.close()


async def test_every_reason_is_told_at_once(home: House) -> None:
    """Who mends one thing knows of the others."""
    home.inside.draining = True
    home.doors.loaded = False
    home.clock.now += AGE_MAX_US + 1
    home.face.pulse.kafka_ever, home.face.pulse.kafka_code = False, "kafka.timed-out"
    assert await ready(home) == (503, ["draining", "ledger.unreachable", "kafka.timed-out", "starting"])


async def test_alive_is_alive_whatever_else_is_wrong(home: House) -> None:
    """/healthz is 200 without a look at anything: to restart a process mends neither ledger nor Kafka."""
    home.away.fault = AWAY
    home.inside.draining = True
    home.doors.loaded = False
    home.clock.now += AGE_MAX_US + 1
    answer = await home.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_the_pulse_goes_on_by_itself() -> None:
    """The ledger is looked at every 2 s and Kafka every 10 s; a look that hangs is given up after 15 s, and the next is made."""

    async def story() -> tuple[list[float], list[float], list[str]]:
        loop = asyncio.get_running_loop()
        looks: list[float] = []
        asked: list[float] = []

        class Ledger:
            def __getattr__(self, name: str) -> Any:
                raise AssertionError(f"{name} was asked for")

            async def connections(self, _conn: int = 0) -> list[Any]:
                looks.append(loop.time())
                if len(looks) == 2:
                    await loop.create_future()
                return []

        async def kafka() -> str:
            asked.append(loop.time())
            return ""

        clock = VirtualClock(loop, NOW_US)
        pulse = Pulse(Ledger(), clock, kafka)
        beating = asyncio.create_task(pulse.beat())
        codes = []
        for _ in range(3):
            await clock.sleep(9.5)
            codes.append(pulse.ledger_code)
        beating.cancel()
        return looks, asked, codes

    looks, asked, codes = run(story(), VirtualLoop())
    hung_s = LEDGER_EVERY_S + LEDGER_AGE_MAX_S
    assert looks[:4] == [0.0, LEDGER_EVERY_S, hung_s + LEDGER_EVERY_S, hung_s + 2 * LEDGER_EVERY_S]
    assert asked == [0.0, KAFKA_EVERY_S, 2 * KAFKA_EVERY_S]
    assert codes == ["", "ledger.unreachable", ""]


# --- metrics ----------------------------------------------------------------------------------------------------------


async def test_a_process_without_its_ledger_still_tells_of_itself(
    home: House, caplog: pytest.LogCaptureFixture
) -> None:
    """200 with ``ledger_up`` 0 and everything that the process knows by itself; what the ledger knows is absent, not 0."""
    home.away.answers["census"] = whole_census
    home.inside.rims = dict(RIMS)
    there = await scrape(home)
    home.away.fault = EnvironmentFault("ledger.full", "no room")
    gone = await scrape(home)
    assert (of(there, "ledger_up"), of(gone, "ledger_up")) == (1, 0)
    assert of(gone, "crm_calls_today", tenant="acme", connection="main") == 70
    lost = {name for name, _ in there} - {name for name, _ in gone}
    assert {"processes", "connection_state", "feed_lag_seconds", "outbox_facts", "dead_letters", "gaps_open"} <= lost
    assert not {name for name, _ in gone} - {name for name, _ in there}
    told = [record for record in caplog.records if getattr(record, "event", "") == "http.no-ledger"]
    assert [record.code for record in told] == ["ledger.full"]  # type: ignore[attr-defined]


def test_a_scrape_waits_for_the_ledger_for_a_short_time() -> None:
    """A ledger that does not answer costs a scrape 3 s, not the scraper's patience."""

    async def story() -> tuple[float, float]:
        home = await house()
        loop = asyncio.get_running_loop()

        async def never() -> Census:
            found: Census = await loop.create_future()
            return found

        home.away.answers["census"] = never
        began = loop.time()
        up = of(await scrape(home), "ledger_up")
        await home.ledger.close()
        return up, loop.time() - began

    assert run(story(), VirtualLoop()) == (0, CENSUS_S)


async def test_what_a_process_says_of_itself(home: House) -> None:
    """Version, readiness as /readyz gives it, Kafka as it was found last, and what it refuses, by code."""
    home.inside.findings = FINDINGS
    samples = await scrape(home)
    assert of(samples, "build_info", version="1.2.3") == 1
    assert (of(samples, "ready"), of(samples, "kafka_up")) == (1, 1)
    assert of(samples, "config_findings", code="config.bad-value") == 2
    assert of(samples, "config_findings", code="yaml.syntax") == 1
    home.inside.draining = True
    home.kafka = "kafka.timed-out"
    await home.face.pulse.ask_kafka()
    samples = await scrape(home)
    assert (of(samples, "ready"), of(samples, "kafka_up")) == (0, 0)


@pytest.mark.parametrize(
    ("name", "acme", "beta"),
    [
        ("crm_signed_in", 1, 0),
        ("crm_paused", 1, 0),
        ("crm_calls_today", 70, 70),
        ("crm_calls_in_flight", 3, 3),
        ("crm_calls_waiting", 4, 4),
        ("crm_clock_skew_seconds", -1.5, -1.5),
        ("crm_calls_total", 41, 41),
        ("crm_call_repeats_total", 6, 6),
    ],
)
async def test_what_a_worker_finds_of_its_crm(home: House, name: str, acme: float, beta: float) -> None:
    """Every number of the account's calls is the one that its limiter and its sign-in have."""
    home.inside.rims = dict(RIMS)
    samples = await scrape(home)
    assert of(samples, name, tenant="acme", connection="main") == acme
    assert of(samples, name, tenant="beta", connection="side") == beta


async def test_calls_left_are_told_where_a_limit_is_known(home: House) -> None:
    """What is left of the day is absent without a limit: neither 0, which would alarm, nor a number of ours."""
    home.inside.rims = dict(RIMS)
    samples = await scrape(home)
    assert {key: value for key, value in samples.items() if key[0] == "crm_calls_left_day"} == {
        ("crm_calls_left_day", (("connection", "main"), ("tenant", "acme"))): 930
    }


async def test_a_breaker_is_in_one_state(home: House) -> None:
    """1 for the state it is in, 0 for the others."""
    home.inside.rims = dict(RIMS)
    samples = await scrape(home)
    for tenant, connection, now in (("acme", "main", "half-open"), ("beta", "side", "closed")):
        states = {
            state: of(samples, "crm_breaker", tenant=tenant, connection=connection, state=state)
            for state in ("closed", "half-open", "open")
        }
        assert states == {"closed": 0, "half-open": 0, "open": 0} | {now: 1}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("processes", {}, 2),
        ("lease_held", {"lease": "relay"}, 1),
        ("lease_held", {"lease": "house"}, 0),
        ("connection_held", {"tenant": "acme", "connection": "main"}, 1),
        ("connection_held", {"tenant": "beta", "connection": "side"}, 0),
        ("connection_state_age_seconds", {"tenant": "acme", "connection": "main"}, 90),
        ("connection_state_age_seconds", {"tenant": "beta", "connection": "side"}, 0),
        ("feed_lag_seconds", {"tenant": "acme", "connection": "main", "feed": "list"}, 7200),
        ("feed_lag_seconds", {"tenant": "acme", "connection": "main", "feed": "search"}, 20),
        ("feed_overdue_seconds", {"tenant": "acme", "connection": "main", "feed": "list"}, 45),
        ("feed_overdue_seconds", {"tenant": "acme", "connection": "main", "feed": "search"}, 0),
        ("feed_failures", {"tenant": "acme", "connection": "main", "feed": "list"}, 2),
        ("feed_failures", {"tenant": "acme", "connection": "main", "feed": "search"}, 0),
        ("feed_running", {"tenant": "acme", "connection": "main", "feed": "list"}, 1),
        ("feed_running", {"tenant": "acme", "connection": "main", "feed": "search"}, 0),
        ("commands", {"tenant": "acme", "connection": "main", "state": "waiting"}, 5),
        ("commands", {"tenant": "acme", "connection": "main", "state": "unknown"}, 2),
        ("commands", {"tenant": "acme", "connection": "main", "state": "parked"}, 3),
        ("commands", {"tenant": "beta", "connection": "side", "state": "waiting"}, 0),
        ("commands_oldest_age_seconds", {"tenant": "acme", "connection": "main"}, 400),
        ("commands_oldest_age_seconds", {"tenant": "beta", "connection": "side"}, 0),
        ("outbox_facts", {"tenant": "acme", "connection": "main"}, 5),
        ("outbox_facts", {"tenant": "beta", "connection": "side"}, 1),
        ("outbox_oldest_age_seconds", {"tenant": "acme", "connection": "main"}, 30),
        ("outbox_oldest_age_seconds", {"tenant": "beta", "connection": "side"}, 60),
        ("notices", {"tenant": "acme", "connection": "main"}, 0),
        ("notices", {"tenant": "beta", "connection": "side"}, 8),
        ("notices_oldest_age_seconds", {"tenant": "beta", "connection": "side"}, 12),
        ("matches", {"tenant": "acme", "connection": "main"}, 9),
        ("matches", {"tenant": "beta", "connection": "side"}, 1),
        ("matches_oldest_age_seconds", {"tenant": "acme", "connection": "main"}, 77),
        ("gaps_open", {"tenant": "acme", "connection": "main", "feed": "intents"}, 2),
        ("commands", {"tenant": "acme", "connection": "main", "state": "held"}, 12),
        (
            "fields_quarantined",
            {"tenant": "acme", "connection": "main", "field": "city", "cause": "field-gone"},
            1,
        ),
        (
            "fields_quarantined",
            {"tenant": "acme", "connection": "main", "field": "status", "cause": "option-gone"},
            2,
        ),
        ("gaps_oldest_age_seconds", {"tenant": "acme", "connection": "main", "feed": "intents"}, 800),
        ("out_of_force_connections", {"why": "retired"}, 2),
        ("out_of_force_connections", {"why": "other-connection"}, 1),
        ("out_of_force_commands", {"why": "retired", "state": "waiting"}, 41),
        ("out_of_force_commands", {"why": "retired", "state": "unknown"}, 9),
        ("out_of_force_commands", {"why": "retired", "state": "parked"}, 1),
        ("out_of_force_commands", {"why": "other-connection", "state": "waiting"}, 0),
        ("out_of_force_commands", {"why": "other-connection", "state": "parked"}, 6),
        ("out_of_force_oldest_age_seconds", {"why": "retired"}, 9700),
        ("out_of_force_oldest_age_seconds", {"why": "other-connection"}, 0),
    ],
)
async def test_what_the_ledger_knows(home: House, name: str, labels: dict[str, str], value: float) -> None:
    """Every gauge is the number that the census has, an age counts from its time to now, and no work is 0."""
    home.away.answers["census"] = whole_census
    assert of(await scrape(home), name, **labels) == value


async def test_a_connection_is_in_one_state(home: House) -> None:
    """1 for the state it is in, 0 for each other one that there is."""
    home.away.answers["census"] = whole_census
    samples = await scrape(home)
    for labels, now in (
        ({"tenant": "acme", "connection": "main", "crm": "hubspot"}, "unavailable"),
        ({"tenant": "beta", "connection": "side", "crm": "rest"}, "new"),
    ):
        states = {
            state: of(samples, "connection_state", state=state, **labels)
            for state in ("new", "ok", "quota", "paused", "unavailable", "stopped")
        }
        assert states == dict.fromkeys(states, 0) | {now: 1}


async def test_a_strangers_tenant_is_no_label(home: House) -> None:
    """What a message names as its tenant is told under no name unless we know the tenant: labels are ours to bound."""
    home.away.answers["census"] = whole_census
    letters = {key: value for key, value in (await scrape(home)).items() if key[0] == "dead_letters"}
    assert letters == {
        ("dead_letters", (("code", "contract.unreadable"), ("tenant", ""))): 5,
        ("dead_letters", (("code", "push.auth"), ("tenant", "acme"))): 2,
        ("dead_letters", (("code", "push.auth"), ("tenant", "gone"))): 6,
    }
    assert "stranger" not in (await home.client.get("/metrics")).text


async def test_connections_out_of_force_have_no_series_of_their_own(home: House) -> None:
    """However many tenants are retired, what waits for them is counted under why it waits; `status` names them."""
    home.away.answers["census"] = whole_census
    samples = await scrape(home)
    tenants = {dict(labels).get("tenant") for name, labels in samples if name != "dead_letters"} - {None, ""}
    assert tenants == {"acme", "beta"}
    assert {dict(labels)["connection"] for name, labels in samples if name == "commands"} == {"main", "side"}
    found = [labels for name, labels in samples if name.startswith("out_of_force")]
    assert {name for labels in found for name, _ in labels} == {"why", "state"}
    assert {dict(labels)["why"] for labels in found} == {"retired", "other-connection"}


async def test_deliveries_are_counted_by_the_connections_that_there_are(home: House) -> None:
    """By status, under the tenant's name; whatever names somebody makes up, they are counted under none."""
    await home.post(signed([event(512), event(513)]))
    await home.post(signed([event(512)], secret="another"))
    for name in ("stranger", "ada@corp.example"):
        await home.post(signed([event()], path=f"/webhooks/{name}/x"), f"/webhooks/{name}/x")
    samples = {key: value for key, value in (await scrape(home)).items() if key[0] == "webhook_deliveries_total"}
    assert samples == {
        ("webhook_deliveries_total", (("connection", "main"), ("status", "200"), ("tenant", "acme"))): 1,
        ("webhook_deliveries_total", (("connection", "main"), ("status", "401"), ("tenant", "acme"))): 1,
        ("webhook_deliveries_total", (("connection", ""), ("status", "401"), ("tenant", ""))): 2,
    }
    assert of(await scrape(home), "notices_heard_total", tenant="acme", connection="main") == 2


async def test_openmetrics_is_spoken_where_it_is_asked_for(home: House) -> None:
    """Prometheus asks for OpenMetrics first: the same families, in the form that it can check."""
    home.away.answers["census"] = whole_census
    home.inside.rims = dict(RIMS)
    home.meter.took("push", 0.02)
    answer = await home.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    parsed = openmetrics.text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]  # the library has no types here
    names = {family.name for family in parsed}
    assert {f"{PREFIX}step_seconds", f"{PREFIX}crm_calls", f"{PREFIX}dead_letters"} <= names


async def test_the_page_says_which_metrics_go_with_the_ledger(home: House) -> None:
    """What docs/operations.md marks L is what a scrape lacks while the ledger is away, and what it marks P is what stays."""
    home.away.answers["census"] = whole_census
    home.inside.rims = dict(RIMS)
    table = PAGE.read_text(encoding="utf-8").partition("| metric | labels |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \| .*?\| ([PL]): ", table, re.MULTILINE)
    told = {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    everything = await families(home)
    home.away.fault = AWAY
    alone = await families(home)
    assert told == {name: "P" if name in alone else "L" for name in everything}


async def families(home: House) -> set[str]:
    """Ask /metrics: the families, by the names that Prometheus knows them under."""
    parsed = text_string_to_metric_families((await home.client.get("/metrics")).text)
    return {family.name.removeprefix(PREFIX) + ("_total" if family.type == "counter" else "") for family in parsed}


@pytest.mark.parametrize("where", ["a header", "many headers", "the query", "the path"])
async def test_a_head_that_is_too_large_is_refused_wherever_it_is_large(home: House, where: str) -> None:
    """431 for a request that has come whole, too, and nothing of it is looked at; the connection is not kept."""
    long = "a" * HEAD_BYTES_MAX
    fields = {f"x-{number}": "a" for number in range(HEAD_BYTES_MAX // 10)} if where == "many headers" else {"x": long}
    path = {"the query": f"/healthz?{long}", "the path": f"/webhooks/{long}/x"}.get(where, "/healthz")
    answer = await home.client.get(path, headers=fields if "header" in where else {})
    assert (answer.status_code, answer.json()) == (431, {"error": "head-too-large"})
    assert answer.headers["connection"] == "close"
    small = {"x": long[: HEAD_BYTES_MAX - 200]}
    assert (await home.client.get("/healthz", headers=small)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/healthz/", "/readyz/", "/metrics/", "/webhooks/acme/main/", "/", "//elsewhere.example"]
)
async def test_nobody_is_sent_elsewhere(home: House, path: str) -> None:
    """404 for an address that there is not, a slash at its end included: a redirect would go where the request's Host says."""
    for method in ("GET", "POST"):
        answer = await home.client.request(
            method, f"https://bridge.example{path}", headers={"host": "elsewhere.example"}
        )
        assert (answer.status_code, answer.json()) == (404, {"error": "not-found"})
        assert "location" not in answer.headers


async def test_probes_leave_no_line_in_the_log(home: House, caplog: pytest.LogCaptureFixture) -> None:
    """A probe that is answered 200 is a line for debugging alone; one that is refused is told at the usual level."""
    caplog.set_level(logging.DEBUG, logger="sales_crm_bridge")
    await home.client.get("/readyz")
    home.inside.draining = True
    await home.client.get("/readyz")
    lines = [record for record in caplog.records if getattr(record, "route", "") == "/readyz"]
    assert [(line.levelname, line.event) for line in lines] == [  # type: ignore[attr-defined]
        ("DEBUG", "http.probe"),
        ("INFO", "http.request"),
    ]
