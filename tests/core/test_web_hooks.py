"""Deliveries of webhooks: every status, and the ugly ones first."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from sales_crm_bridge.errors import ConfigError, EnvironmentFault, Finding, LedgerBusy, Place
from sales_crm_bridge.model import Notice
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.web import Door
from tests.core.web_kit import HOST, LIMITS, NOW_US, House, event, house, signed

T = TypeVar("T")
MINUTES_US = 60_000_000


@pytest.fixture
async def home() -> AsyncIterator[House]:
    """Give a face over a ledger in memory; all is well."""
    made = await house()
    yield made
    await made.ledger.close()


def on_virtual_time(story: Callable[[House], Awaitable[T]], limits: Any = LIMITS) -> T:
    """Run ``story`` where a wait costs nothing."""

    async def main() -> T:
        made = await house(limits)
        try:
            return await story(made)
        finally:
            await made.ledger.close()

    return run(main(), VirtualLoop())


async def test_a_good_delivery_is_answered_when_the_ledger_has_it(home: House) -> None:
    """200, and the records that it names wait to be read back, each once."""
    answer = await home.post(signed([event(512), event(513, "contact.creation"), event(512)]))
    assert answer.status_code == 200
    assert await home.heard() == ["512", "513"]


async def test_a_delivery_that_comes_again_is_harmless(home: House) -> None:
    """The same bytes three times are answered three times, and one read is owed."""
    for _ in range(3):
        assert (await home.post(signed([event(512)]))).status_code == 200
    assert await home.heard() == ["512"]


async def test_a_name_that_no_ledger_takes_is_a_hint_that_names_no_record(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that can be no id, in a delivery that is signed well: the feeds are hurried, and the others are read back."""
    notices = [Notice(id=name, what="changed", dedupe=name) for name in ("a\0b", "x" * 600, "512")]
    monkeypatch.setattr(home.doors, "find", lambda *_: Door(conn=1, understand=lambda _: notices))
    assert (await home.post(signed([event(512)]))).status_code == 200
    assert sorted(await home.heard()) == ["", "512"]


async def test_what_hints_at_nothing_of_ours_is_taken_and_forgotten(home: House) -> None:
    """An app has one address for all it subscribes to: an event about a deal is answered 200, and nothing is owed."""
    assert (await home.post(signed([event(9, "deal.creation")]))).status_code == 200
    assert (await home.post(signed([]))).status_code == 200
    assert await home.heard() == []


@pytest.mark.parametrize(
    ("delivery", "code"),
    [
        (signed([event()], secret="another"), "bad-signature"),
        (signed([event()], path="/webhooks/acme/other"), "bad-signature"),
        (signed([event()], base="https://elsewhere.example"), "bad-signature"),
        (signed([event()], at_us=NOW_US - 6 * MINUTES_US), "too-old"),
        (signed([event()], at_us=NOW_US + 6 * MINUTES_US), "too-old"),
        ((b"[]", {}), "unsigned"),
        ((b"[]", {"x-hubspot-signature-v3": "x" * 10_000, "x-hubspot-request-timestamp": "9" * 16}), "unsigned"),
    ],
)
async def test_what_is_not_signed_well_and_lately_is_refused(
    home: House, delivery: tuple[bytes, dict[str, str]], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """401: another secret, another address, an old one played back, one from the future, none at all. Nothing is owed.

    Why stands in the log, for those who set it up.
    """
    caplog.set_level(logging.INFO, logger="sales_crm_bridge")
    answer = await home.post(delivery)
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})
    assert await home.heard() == []
    lines = [vars(record) for record in caplog.records if record.name.startswith("sales_crm_bridge")]
    assert [(line["event"], line["tenant"], line["code"]) for line in lines] == [("http.request", "acme", code)]


async def test_a_body_changed_on_the_way_is_refused(home: House) -> None:
    """401: the signature covers the body."""
    body, headers = signed([event(512)])
    assert (await home.post((body.replace(b"512", b"513"), headers))).status_code == 401


async def test_a_signed_body_of_another_form_is_told_apart(home: House) -> None:
    """400: not the sender is wrong but what it sends."""
    answer = await home.post(signed(b'{"no": "list"}'))
    assert (answer.status_code, answer.json()) == (400, {"error": "bad-form"})


async def test_the_deployments_public_address_is_what_signatures_cover() -> None:
    """Behind a proxy that ends TLS and cuts a prefix off, the address that the CRM knows counts, with its query and escapes."""
    home = await house(replace(LIMITS, public_url="https://public.example/bridge/"))
    path = "/webhooks/acme/main?x=%41&y"
    good = signed([event(7)], path=path, base="https://public.example/bridge")
    assert (await home.post(good, path)).status_code == 200
    assert (await home.post(signed([event(8)], path=path), path)).status_code == 401
    assert await home.heard() == ["7"]
    await home.ledger.close()


UNSIGNED: dict[str, tuple[bytes, dict[str, str]]] = {
    "nothing": (b"", {}),
    "unsigned": (b"[]", {}),
    "signed by another": signed([event()], secret="another"),
    "too old": signed([event()], at_us=NOW_US - 6 * MINUTES_US),
    "too large": (b"x" * (LIMITS.body_bytes_max + 1), {}),
    "a length that is none": (b"[]", {"content-length": "-1"}),
}


@pytest.mark.parametrize("delivery", UNSIGNED.values(), ids=UNSIGNED)
async def test_who_has_not_signed_learns_nothing_of_who_is_there(
    home: House, delivery: tuple[bytes, dict[str, str]]
) -> None:
    """The same answer to the last byte at an address of ours, one of nobody's, and one of ours that listens to no webhooks."""
    ours = await home.post(delivery)
    strangers = [await home.post(delivery, path) for path in ("/webhooks/nobody/main", "/webhooks/acme/other")]
    home.doors.secrets = {}
    silent = await home.post(delivery)
    assert ours.status_code in (401, 413)
    for other in (*strangers, silent):
        assert (other.status_code, other.content, other.headers) == (ours.status_code, ours.content, ours.headers)


def test_nor_by_how_long_an_answer_takes() -> None:
    """A body that is announced and does not come is waited for, wherever it was to go."""

    async def story(home: House) -> list[tuple[int, float]]:
        told = []
        for path in ("/webhooks/acme/main", "/webhooks/nobody/main"):
            began = asyncio.get_running_loop().time()
            status = await call(home, never_comes, {"content-length": "2"}, path)
            told.append((status, asyncio.get_running_loop().time() - began))
        return told

    assert on_virtual_time(story) == [(408, LIMITS.body_timeout_s)] * 2


async def test_where_none_can_be_verified_the_log_says_so(home: House, caplog: pytest.LogCaptureFixture) -> None:
    """The connection's tenant and the reason, so that who wonders why a CRM is refused finds it: there is no secret."""
    caplog.set_level(logging.INFO, logger="sales_crm_bridge")
    home.doors.secrets = {}
    await home.post(signed([event()]))
    await home.post(signed([event()]), "/webhooks/nobody/main")
    lines = [vars(record) for record in caplog.records if record.name.startswith("sales_crm_bridge")]
    assert [(line["tenant"], line["code"]) for line in lines] == [("acme", "no-secret"), ("", "unknown")]


@pytest.mark.parametrize("path", ["/webhooks/acme/main/more", "/webhooks/acme", "/webhooks", "/x"])
async def test_what_is_no_address_for_webhooks_is_not_there(home: House, path: str) -> None:
    """404, whatever it is."""
    answer = await home.post(signed([event()], path=path), path)
    assert (answer.status_code, answer.json()) == (404, {"error": "not-found"})


async def test_only_posts_are_taken(home: House) -> None:
    """405 for whatever else."""
    assert (await home.client.get("/webhooks/acme/main")).status_code == 405
    assert (await home.client.post("/metrics")).status_code == 405


async def call(
    home: House, receive: Callable[[], Awaitable[Any]], headers: dict[str, str], path: str = "/webhooks/acme/main"
) -> int:
    """Post by hand, message by message; the status."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "root_path": "",
        "headers": [(b"host", HOST.encode()), *((k.encode(), v.encode()) for k, v in headers.items())],
    }
    await home.face.app(scope, receive, send)
    (status,) = statuses
    return status


@pytest.mark.parametrize("length", ["2001", "99999999999999999999999999", "-1", "1e3", "²"])
async def test_a_body_that_says_it_is_too_large_is_not_read(home: House, length: str) -> None:
    """413 by Content-Length alone, also for a length that is none."""

    async def receive() -> Any:
        raise AssertionError("the body was read")

    assert await call(home, receive, {"content-length": length}) == 413


async def test_a_body_that_does_not_say_its_size_is_cut_off(home: House) -> None:
    """413 as soon as more has come than the limit, with and without a Content-Length that lies; the rest is not read."""
    for headers in ({}, {"content-length": "5"}):
        parts = 0

        async def receive() -> Any:
            nonlocal parts
            parts += 1
            return {"type": "http.request", "body": b"x" * 900, "more_body": True}

        assert await call(home, receive, headers) == 413
        assert parts == 3


def test_a_body_that_does_not_come_is_given_up() -> None:
    """408 when the body's time is over, whether nothing comes or a byte now and then."""

    async def story(home: House) -> list[int]:
        async def never() -> Any:
            await asyncio.get_running_loop().create_future()

        async def drip() -> Any:
            loop = asyncio.get_running_loop()
            come = loop.create_future()
            loop.call_later(1.0, come.set_result, None)
            await come
            return {"type": "http.request", "body": b"x", "more_body": True}

        return [await call(home, never, {}), await call(home, drip, {})]

    assert on_virtual_time(story) == [408, 408]


async def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(home: House) -> None:
    """Half a body and a disconnect: nothing is owed, and its place is free again."""

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    for _ in range(LIMITS.in_flight_max + 1):
        assert await call(home, receive, {}) == 499
    assert (await home.post(signed([event(5)]))).status_code == 200


def test_one_connection_cannot_hold_all_hands() -> None:
    """429 beyond the limit of signed deliveries at the same time, with a time to come again; the next is taken when one is done."""

    async def story(home: House) -> tuple[list[int], int, str]:
        async def never() -> bool:
            held: bool = await asyncio.get_running_loop().create_future()
            return held

        home.away.answers["hear"] = never
        held = [asyncio.ensure_future(home.post(signed([event()]))) for _ in range(LIMITS.in_flight_max)]
        await after(1.0)
        answer = await home.post(signed([event()]))
        nothing = await home.post(signed([event(9, "deal.creation")]))
        assert nothing.status_code == 200, "what hints at nothing needs no place"
        statuses = [(await one).status_code for one in held]
        del home.away.answers["hear"]
        return (
            statuses,
            (await home.post(signed([event()]))).status_code,
            f"{answer.status_code} {answer.headers['retry-after']}",
        )

    assert on_virtual_time(story) == ([503, 503], 200, "429 1")


def test_who_has_not_signed_takes_no_place_of_those_who_have() -> None:
    """Many bodies that drip or never come, to the same connection: a signed delivery is taken at once, all the same."""

    async def story(home: House) -> tuple[list[int], list[int]]:
        slow = [asyncio.ensure_future(call(home, never_comes, {})) for _ in range(LIMITS.bodies_max - 1)]
        await after(1.0)
        good = [(await home.post(signed([event(number)]))).status_code for number in range(1, 6)]
        return good, [await one for one in slow]

    assert on_virtual_time(story) == ([200] * 5, [408] * 3)


def test_of_too_many_bodies_the_slowest_is_given_up() -> None:
    """However many come and never end, to whichever address, one more is read: the one that has come for longest makes room."""

    async def story(home: House) -> tuple[list[float], list[int], list[str]]:
        ended: list[float] = []

        async def slow() -> int:
            status = await call(home, never_comes, {})
            ended.append(asyncio.get_running_loop().time())
            return status

        crowd = []
        for _ in range(LIMITS.bodies_max + 2):
            crowd.append(asyncio.ensure_future(slow()))
            await after(1.0)
        good = [(await home.post(signed([event(number)]))).status_code for number in (1, 2)]
        statuses = [await one for one in crowd]
        assert set(statuses) == {408}
        return ended, good, await home.heard()

    # The fifth and the sixth made one go each, the first good one a third; the others had their time, which began at 3 s.
    ended, good, heard = on_virtual_time(story)
    assert good == [200, 200]
    assert heard == ["1", "2"]
    assert ended == [4.0, 5.0, 6.0, 13.0, 14.0, 15.0]


def test_a_body_that_made_room_is_told_from_one_that_was_too_slow(caplog: pytest.LogCaptureFixture) -> None:
    """The log's code says which of the two limits it was, since they are raised apart."""
    caplog.set_level(logging.INFO, logger="sales_crm_bridge")

    async def story(home: House) -> None:
        await asyncio.gather(*(call(home, never_comes, {}) for _ in range(LIMITS.bodies_max + 1)))

    on_virtual_time(story)
    codes = [vars(one)["code"] for one in caplog.records if getattr(one, "event", "") == "http.request"]
    assert codes == ["room-needed", *["body-too-slow"] * LIMITS.bodies_max]


def test_a_body_whose_time_is_over_at_that_very_moment_makes_room_too() -> None:
    """One that comes just when the others' time is over is read, and they are answered like any that was too slow."""

    async def story(home: House) -> tuple[int, list[int]]:
        async def late() -> int:
            # Within the clock's resolution: both timers run in one turn of the loop, this one first.
            await after(LIMITS.body_timeout_s - 5e-10)
            return (await home.post(signed([event()]))).status_code

        coming = asyncio.ensure_future(late())
        await asyncio.sleep(0)
        slow = [asyncio.ensure_future(call(home, never_comes, {})) for _ in range(LIMITS.bodies_max)]
        return await coming, [await one for one in slow]

    assert on_virtual_time(story) == (200, [408] * LIMITS.bodies_max)


async def never_comes() -> Any:
    """Wait for a message that never comes."""
    await asyncio.get_running_loop().create_future()


async def after(seconds: float) -> None:
    """Let virtual time pass."""
    gone = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, gone.set_result, None)
    await gone


@pytest.mark.parametrize(
    "fault",
    [
        LedgerBusy("ledger.busy", "busy"),
        EnvironmentFault("ledger.unreachable", "away"),
        EnvironmentFault("ledger.outcome-unknown", "nobody knows"),
    ],
)
async def test_nothing_is_acknowledged_that_the_ledger_has_not(
    home: House, fault: LedgerBusy | EnvironmentFault
) -> None:
    """503 with a time to come again while the ledger is away or nobody knows; the same delivery then is taken."""
    home.away.fault = fault
    answer = await home.post(signed([event(512)]))
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, {"error": fault.code}, "5")
    home.away.fault = None
    assert (await home.post(signed([event(512)]))).status_code == 200
    assert await home.heard() == ["512"]


def test_a_ledger_that_is_too_slow_is_not_waited_for() -> None:
    """503 before the CRM loses its patience."""

    async def story(home: House) -> tuple[int, float]:
        async def slow(*_: object) -> None:
            await asyncio.get_running_loop().create_future()

        home.away.hear = slow  # type: ignore[attr-defined]
        answer = await home.post(signed([event()]))
        return answer.status_code, asyncio.get_running_loop().time()

    assert on_virtual_time(story) == (503, LIMITS.answer_s)


async def test_before_the_tenants_are_known_nobody_is_sent_away(home: House) -> None:
    """503, not 404, while this process has only begun: a CRM would give up on a 404."""
    home.doors.loaded = False
    for path in ("/webhooks/acme/main", "/webhooks/nobody/main"):
        answer = await home.post(signed([event()], path=path), path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("loaded", [True, False])
async def test_what_an_address_says_is_no_tenant_until_one_is_found(
    home: House, loaded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger's text in the address reaches neither log nor metrics, also before it is known who the tenants are."""
    caplog.set_level(logging.DEBUG, logger="sales_crm_bridge")
    home.doors.loaded = loaded
    await home.client.post("/webhooks/ada@corp.example%0Aforged/secret-name", content=b"{}")
    ours = [record.__dict__ for record in caplog.records if record.name.startswith("sales_crm_bridge")]
    assert ours
    told = json.dumps(ours, default=str)
    page = (await home.client.get("/metrics")).text
    for word in ("ada@corp.example", "forged", "secret-name"):
        assert word not in told + page


async def test_a_secret_that_is_gone_is_our_fault(home: House) -> None:
    """503: the delivery may be good, so it is to come again when the secret is back."""
    finding = Finding(
        code="config.unresolvable-secret", message="gone", place=Place(file="acme.yaml"), remedy="put it back"
    )
    home.doors.fault = ConfigError([finding])
    answer = await home.post(signed([event()]))
    assert (answer.status_code, answer.json()) == (503, {"error": "config.unresolvable-secret"})


async def test_a_bug_is_answered_500_and_says_no_values(home: House, caplog: pytest.LogCaptureFixture) -> None:
    """What an adapter raises that it should not is told by its kind and its place, since its words may be a person's."""
    home.doors.fault = KeyError("ada@corp.example")
    caplog.set_level(logging.DEBUG)
    answer = await home.post(signed([event()]))
    assert answer.status_code == 500
    told = json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert "KeyError" in told
    assert "ada@corp.example" not in told + answer.text


async def test_too_many_records_collapse_into_one_hint(home: House) -> None:
    """Beyond the named limit a connection's notices become one about any record; what comes later is told apart again."""
    for start in range(0, 120, 40):
        delivery = signed([event(1000 + number) for number in range(start, start + 12)])
        assert (await home.post(delivery)).status_code == 200
    assert len(await home.heard()) == 36
    for start in range(200, 300, 10):
        await home.post(signed([event(1000 + number) for number in range(start, start + 10)]))
    heard = await home.heard()
    assert heard[0] == ""
    assert len(heard) <= LIMITS.notices_max + 1


async def test_the_log_has_one_line_a_delivery_and_nothing_of_it(home: House, caplog: pytest.LogCaptureFixture) -> None:
    """Route, status, time, tenant where there is one, code; never a body, a signature, a query or a made-up path."""
    caplog.set_level(logging.DEBUG, logger="sales_crm_bridge")
    path = "/webhooks/acme/main?secret=in-the-query"
    body, headers = signed([event(987654321)], path=path)
    await home.post((body, headers), path)
    await home.post(signed([event()], path="/webhooks/an-invented-name/x"), "/webhooks/an-invented-name/x")
    await home.client.get("/healthz")
    lines = [record for record in caplog.records if getattr(record, "event", "").startswith("http.")]
    assert [(line.event, line.route) for line in lines] == [  # type: ignore[attr-defined]
        ("http.request", "/webhooks/{tenant}/{connection}"),
        ("http.request", "/webhooks/{tenant}/{connection}"),
        ("http.probe", "/healthz"),
    ]
    assert [(line.status, line.tenant) for line in lines[:2]] == [(200, "acme"), (401, "")]  # type: ignore[attr-defined]
    told = json.dumps([record.__dict__ for record in caplog.records], default=str)
    for secret in ("987654321", headers["x-hubspot-signature-v3"], "in-the-query", "an-invented-name"):
        assert secret not in told
