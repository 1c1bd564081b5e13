"""The lines to a sandbox: faults on purpose, httpx without sockets, ASGI, and a real port."""

import asyncio
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from sales_crm_bridge.sandbox import ConnectionCut, Cut, Fault, FaultKind, SandboxApp, SandboxTransport, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices, daily_limit, locked, moving, throttled
from tests.sandbox.bench import START_S, Bench

PATH = "/crm/v3/objects/contacts"
BODY = {"properties": {"firstname": "Ada"}}

KINDS = [
    (FaultKind.REFUSED, Cut.REFUSED, False),
    (FaultKind.CUT_BEFORE, Cut.CLOSED, False),
    (FaultKind.CUT_AFTER, Cut.CLOSED, True),
    (FaultKind.TIMEOUT_BEFORE, Cut.TIMEOUT, False),
    (FaultKind.TIMEOUT_AFTER, Cut.TIMEOUT, True),
]


@pytest.mark.parametrize(("kind", "how", "done"), KINDS)
def test_a_cut_line_says_whether_it_was_cut_before_or_after(
    kind: FaultKind, how: Cut, done: bool, bench: Bench
) -> None:
    """BEFORE: nothing is done. AFTER: it is done, and the answer is lost; a read or a refused write commits nothing."""
    bench.portal.faults.add(Fault(kind))
    with pytest.raises(ConnectionCut) as cut:
        bench.call("POST", PATH, BODY)
    assert (cut.value.how, cut.value.committed) == (how, done)
    assert len(bench.portal.truth().live["contacts"]) == int(done)
    bench.portal.faults.add(Fault(kind, times=2))
    for method, body in (("GET", None), ("POST", {"properties": {"nope": "1"}})):
        with pytest.raises(ConnectionCut) as cut:
            bench.call(method, PATH, body)
        assert not cut.value.committed
    assert bench.call("GET", PATH).status == 200
    assert [each[1] for each in bench.portal.faults.hits] == ["POST", "GET", "POST"]


STATUSES = [
    (Fault(FaultKind.STATUS, status=500), 500, 0),
    (Fault(FaultKind.STATUS, status=502), 502, 0),
    (Fault(FaultKind.STATUS, status=521), 521, 0),
    (Fault(FaultKind.STATUS_AFTER, status=504), 504, 1),
    (Fault(FaultKind.STATUS, status=401), 401, 0),
    (Fault(FaultKind.STATUS, status=503, reply=b'{"message":"closed"}'), 503, 0),
    (throttled(), 429, 0),
    (daily_limit(), 429, 0),
    (locked(), 423, 0),
    (moving(60), 477, 0),
]


@pytest.mark.parametrize(("fault", "status", "written"), STATUSES)
def test_a_status_comes_before_or_after_the_work(fault: Fault, status: int, written: int, bench: Bench) -> None:
    """Worded as the service does: JSON from the API, a page from the network's edge, ``Retry-After`` with 477 alone."""
    bench.portal.faults.add(fault)
    reply = bench.call("POST", PATH, BODY)
    assert (reply.status, len(bench.portal.truth().log)) == (status, written)
    assert ("retry-after" in reply.headers) is (status == 477)
    assert (reply.json is None) is (status in {502, 504, 521})
    if status == 429:
        assert reply.json["policyName"] == ("DAILY" if fault == daily_limit() else "TEN_SECONDLY_ROLLING")
    assert bench.call("POST", PATH, BODY).status == 201


def test_an_answer_can_break_off(bench: Bench) -> None:
    """The status is good and half of the body is missing."""
    bench.portal.faults.add(Fault(FaultKind.TRUNCATED))
    headers = {"authorization": f"Bearer {bench.token}"}
    half = bench.portal.handle("GET", PATH, headers, b"")
    whole = bench.portal.handle("GET", PATH, headers, b"")
    assert half.status == whole.status == 200
    assert whole.body.startswith(half.body)
    assert len(half.body) == len(whole.body) // 2


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        (Fault(FaultKind.STATUS, times=None), "1111"),
        (Fault(FaultKind.STATUS, times=2), "1100"),
        (Fault(FaultKind.STATUS, times=1, skip=2), "0010"),
        (Fault(FaultKind.STATUS, method="POST", times=None), "0101"),
        (Fault(FaultKind.STATUS, path="*/contacts", times=None), "1100"),
        (Fault(FaultKind.STATUS, body=b"needle", times=None), "0001"),
        (Fault(FaultKind.STATUS, chance=0.0, times=None), "0000"),
    ],
)
def test_a_fault_chooses_its_requests(fault: Fault, hit: str, bench: Bench) -> None:
    """By method, path, body, how many pass first, how many it takes; it happens to no other."""
    bench.portal.faults.add(fault)
    calls = [
        ("GET", PATH, None),
        ("POST", PATH, BODY),
        ("GET", f"{PATH}/1", None),
        ("POST", f"{PATH}/search", {"query": "needle"}),
    ]
    statuses = [bench.call(*each).status for each in calls]
    assert "".join("1" if status == 500 else "0" for status in statuses) == hit
    bench.portal.faults.clear()
    assert bench.portal.faults.waiting == 0


def test_the_first_fault_that_applies_is_the_one_that_happens(bench: Bench) -> None:
    """One request has one fault; the next in line gets the next request."""
    bench.portal.faults.add(Fault(FaultKind.STATUS, status=500), Fault(FaultKind.STATUS, status=503))
    assert [bench.call("GET", PATH).status for _ in range(3)] == [500, 503, 200]


def test_random_faults_are_the_seed_s() -> None:
    """A chance hits about as often as it says, and the same seed hits the same requests."""

    def run() -> list[int]:
        bench = Bench(burst_per_10_s=10_000)
        bench.portal.faults.add(Fault(FaultKind.STATUS, chance=0.2, times=None))
        return [bench.call("GET", PATH).status for _ in range(500)]

    first = run()
    assert first == run()
    assert 60 < Counter(first)[500] < 140


Client = Callable[[Bench], httpx.AsyncClient]
ERRORS = {Cut.REFUSED: httpx.ConnectError, Cut.CLOSED: httpx.ReadError, Cut.TIMEOUT: httpx.ReadTimeout}


def client(bench: Bench, sleep: Callable[[float], Awaitable[None]] | None = None) -> httpx.AsyncClient:
    """An httpx client straight into the sandbox."""
    return httpx.AsyncClient(
        transport=SandboxTransport(bench.portal, sleep),
        base_url="https://api.hubapi.com",
        headers={"authorization": f"Bearer {bench.token}"},
    )


@pytest.mark.parametrize(("kind", "how", "done"), KINDS)
async def test_the_transport_raises_what_httpx_raises(kind: FaultKind, how: Cut, done: bool, bench: Bench) -> None:
    """No sockets, the same errors."""
    bench.portal.faults.add(Fault(kind))
    async with client(bench) as http:
        with pytest.raises(ERRORS[how]):
            await http.post(PATH, json=BODY)
        assert len((await http.get(PATH)).json()["results"]) == int(done)


async def test_the_transport_carries_everything(bench: Bench) -> None:
    """Query, body, headers and status arrive both ways, encoded characters in a path too."""
    async with client(bench) as http:
        created = await http.post(PATH, json={"properties": {"email": "a+b@corp.example"}})
        assert (created.status_code, created.headers["x-hubspot-ratelimit-max"]) == (201, "190")
        found = await http.get(
            f"{PATH}/a%2Bb%40corp.example", params={"idProperty": "email", "properties": "email,city"}
        )
        assert found.json()["properties"]["email"] == "a+b@corp.example"
        assert (await http.delete(f"{PATH}/{created.json()['id']}")).status_code == 204


async def test_latency_and_delays_pass_by_the_sleep_that_was_handed_in() -> None:
    """Both ways take their time; an answer beyond the client's read timeout is one, although the work was done."""
    bench = Bench(latency_s=(0.5, 0.5))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        bench.now_s += seconds

    async with client(bench, sleep) as http:
        assert (await http.get(PATH)).headers["date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
        assert slept == [0.5, 0.5]
        bench.portal.faults.add(Fault(FaultKind.DELAY, delay_s=60), Fault(FaultKind.TIMEOUT_BEFORE))
        for written in (1, 1):
            slept.clear()
            with pytest.raises(httpx.ReadTimeout):
                await http.post(PATH, json=BODY, timeout=3)
            assert slept == [0.5, 3]
            assert len(bench.portal.truth().log) == written


@pytest.fixture
async def served(bench: Bench) -> AsyncIterator[tuple[Bench, httpx.AsyncClient]]:
    """The same account on a real port."""
    headers = {"authorization": f"Bearer {bench.token}"}
    async with serve(SandboxApp(bench.portal)) as url, httpx.AsyncClient(base_url=url, headers=headers) as http:
        yield bench, http


async def test_a_real_port_answers_the_same(served: tuple[Bench, httpx.AsyncClient]) -> None:
    """Create, read by an encoded address, search, delete, the page for what is not there: over HTTP as without."""
    bench, http = served
    created = await http.post(PATH, json={"properties": {"email": "a+b@corp.example"}})
    assert (created.status_code, created.headers["date"]) == (201, "Thu, 01 Jan 2026 00:00:00 GMT")
    assert len(created.headers.get_list("date")) == len(created.headers.get_list("content-type")) == 1
    found = await http.get(f"{PATH}/a%2Bb%40corp.example", params={"idProperty": "email"})
    assert found.json()["id"] == created.json()["id"]
    assert (await http.post(f"{PATH}/search", json={})).json()["total"] == 1
    assert (await http.delete(f"{PATH}/{created.json()['id']}")).content == b""
    missing = await http.get(f"{PATH}/1")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html;charset=iso-8859-1")
    form = await http.post("/oauth/v1/token", data={"grant_type": "x"})
    assert form.json()["status"] == "BAD_GRANT_TYPE"
    assert len(bench.portal.truth().log) == 2


@pytest.mark.parametrize(("kind", "done"), [(FaultKind.CUT_BEFORE, False), (FaultKind.CUT_AFTER, True)])
async def test_a_real_line_is_cut_without_an_answer(
    kind: FaultKind, done: bool, served: tuple[Bench, httpx.AsyncClient]
) -> None:
    """The socket closes, no status comes, and the server goes on."""
    bench, http = served
    bench.portal.faults.add(Fault(kind))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await http.post(PATH, json=BODY)
    assert len((await http.get(PATH)).json()["results"]) == int(done)


async def test_a_silent_line_lasts_until_the_caller_gives_up(served: tuple[Bench, httpx.AsyncClient]) -> None:
    """Nothing comes and nothing closes: the client's own timeout ends it, with the work done or not."""
    bench, http = served
    bench.portal.faults.add(Fault(FaultKind.TIMEOUT_AFTER), Fault(FaultKind.TIMEOUT_BEFORE))
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            await http.post(PATH, json=BODY, timeout=httpx.Timeout(5, read=0.05))
    assert len((await http.get(PATH)).json()["results"]) == 1


async def test_the_shim_works_under_any_asgi_server(bench: Bench) -> None:
    """Within httpx's own ASGI transport it answers; a cut line, which ASGI has no word for, is an error that says so."""
    transport = httpx.ASGITransport(SandboxApp(bench.portal))
    async with httpx.AsyncClient(transport=transport, base_url="https://api.hubapi.com") as http:
        headers = {"authorization": f"Bearer {bench.token}"}
        assert (await http.get(f"{PATH}?limit=1", headers=headers)).json() == {"results": []}
        bench.portal.faults.add(Fault(FaultKind.CUT_AFTER))
        with pytest.raises(RuntimeError, match="no access to its socket"):
            await http.get(PATH, headers=headers)


async def test_the_server_gives_its_port_back(bench: Bench) -> None:
    """After the context nobody listens, and the port can be taken again."""
    async with serve(SandboxApp(bench.portal)) as url:
        port = int(url.rpartition(":")[2])
    async with serve(SandboxApp(bench.portal), port=port) as again:
        assert again == url
        with pytest.raises(OSError, match=r"[Aa]ddress"):
            async with serve(SandboxApp(bench.portal), port=port):
                pass
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_the_program_serves_until_it_is_interrupted() -> None:
    """``python -m sales_crm_bridge.sandbox hubspot`` prints address and token, answers, and ends cleanly on Ctrl-C."""
    program = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "sales_crm_bridge.sandbox",
            "hubspot",
            "--port",
            "0",
            "--leads",
            "3",
            "--lead-objects",
            "2",
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    line = (await program.stdout.readline()).decode()
    told = re.search(r"token (?P<token>\S+), at (?P<url>http://\S+)\. Try", line)
    assert told is not None, line
    async with httpx.AsyncClient(base_url=told["url"], headers={"authorization": f"Bearer {told['token']}"}) as http:
        assert len((await http.get(PATH)).json()["results"]) == 3
        assert len((await http.get("/crm/v3/objects/leads")).json()["results"]) == 2
        assert (await http.get("/crm/v3/properties/contacts/bridge_lead_id")).json()["hasUniqueValue"] is True
    program.send_signal(signal.SIGINT)
    _, complaint = await program.communicate()
    assert (program.returncode, complaint) == (0, b"")


def test_one_seed_is_one_world() -> None:
    """The same seed gives the same records and, call by call, byte by byte, the same answers; another seed another world."""

    def run(seed: int) -> list[bytes]:
        now = [START_S]
        portal = Portal.seeded(seed, clock=lambda: now[0], leads=50, lead_objects=20, vices=Vices.typical())
        headers = {"authorization": "Bearer pat-na1-sandbox", "content-type": "application/json"}
        rng = random.Random(0)
        answers = []
        for number in range(300):
            now[0] += rng.random()
            live = sorted(portal.truth().live["contacts"])
            target, body = rng.choice(
                [
                    (f"{PATH}?limit=20", b""),
                    (f"{PATH}/search", b"{}"),
                    (f"{PATH}/{rng.choice(live)}", b'{"properties":{"city":"York"}}'),
                    (
                        f"{PATH}/batch/create",
                        b'{"inputs":[{"properties":{"firstname":"A"}},{"properties":{"firstname":"B"}}]}',
                    ),
                ],
            )
            method = "GET" if not body else "PATCH" if b"York" in body else "POST"
            answers.append(portal.handle(method, target, headers, body).body)
            if number % 50 == 0:
                portal.person.merge(*rng.sample(live, 2))
        return answers

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_seeded_people_are_varied_and_of_the_size_of_real_ones() -> None:
    """About twenty properties and 0.7 to 1.3 KB with all of them; every lead has a contact; nobody has another's address."""
    bench = Bench({"seed": 5, "leads": 300, "lead_objects": 40})
    truth = bench.portal.truth()
    assert (len(truth.live["contacts"]), len(truth.live["leads"])) == (300, 40)
    people = list(truth.live["contacts"].values())
    assert len({each["email"] for each in people}) == 300
    assert all(each["email"].endswith(".example") for each in people)
    assert {len(each) > 25 for each in people} == {True}
    names = ",".join(sorted({name for each in people for name in each}))
    page = bench.call("GET", f"{PATH}?limit=100&properties={names}")
    assert 700 < len(page.body) / 100 < 1800
    assert len({each["lastmodifieddate"] for each in people}) > 250
    leads = bench.call("GET", "/crm/v3/objects/leads?limit=100&associations=contacts").json["results"]
    assert all(each["associations"]["contacts"]["results"] for each in leads)
    # What was seeded keeps the same rules as what is written.
    for record, each in truth.live["contacts"].items():
        writable = {
            name: value
            for name, value in each.items()
            if name in {"hs_lead_status", "numemployees", "hubspot_owner_id", "email"}
        }
        bench.portal.person.edit(record, writable)
