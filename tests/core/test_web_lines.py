"""Open connections: none without an end, whatever its other side does or leaves undone, and never too many."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import pytest

from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.web import LineLimits
from sales_crm_bridge.web.face import HEAD_BYTES_MAX
from sales_crm_bridge.web.lines import IDLE_S, SEND_S, Line, Lines
from sales_crm_bridge.web.server import config_of
from tests.core.wire_kit import request

T = TypeVar("T")
LIMITS = LineLimits(head_s=10.0, answer_s=20.0, connections_max=3)


class Pipe(asyncio.Transport):
    """The lower end of a connection; ``stuck``: the other side reads nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, stuck: bool = False) -> None:
        super().__init__()
        self._loop = loop
        self._stuck = stuck
        self._waiting = 0
        self.sent = b""
        self.closing = False
        self.line: Line | None = None
        self.lost_s: float | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.sent += bytes(data)
        self._waiting += len(data) if self._stuck else 0

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing and not self._waiting:
            self._loop.call_soon(self._lost)
        self.closing = True

    def abort(self) -> None:
        self.closing = True
        self._loop.call_soon(self._lost)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def _lost(self) -> None:
        if self.lost_s is None and self.line is not None:
            self.lost_s = self._loop.time()
            self.line.connection_lost(None)


class Server:
    """Connections on virtual time, over an application that takes as long as it is told to."""

    def __init__(self, limits: LineLimits = LIMITS, *, serves_s: float = 0.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.serves_s = serves_s
        self.cut: list[tuple[float, str]] = []
        self.lines = Lines(limits, lambda why: self.cut.append((self.loop.time(), why)))
        self._config = config_of(self._app)

    async def _app(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        await self.after(self.serves_s)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def connect(self, *, stuck: bool = False) -> tuple[Line, Pipe]:
        """Let somebody connect."""
        pipe = Pipe(self.loop, stuck=stuck)
        line = Line(self._config, self.lines, {}, self.loop)
        pipe.line = line
        line.connection_made(pipe)
        return line, pipe

    async def after(self, seconds: float) -> None:
        """Let time pass."""
        gone = self.loop.create_future()
        self.loop.call_later(seconds, gone.set_result, None)
        await gone


def on_virtual_time(story: Callable[[], Awaitable[T]]) -> T:
    """Run ``story`` where a wait costs nothing."""

    async def main() -> T:
        return await story()

    return run(main(), VirtualLoop())


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    """Nothing, half a line, or headers without an end: the connection is cut when the head's time is over."""

    async def story() -> tuple[float | None, list[tuple[float, str]]]:
        server = Server()
        line, pipe = server.connect()
        if sent:
            line.data_received(sent)
        await server.after(60)
        assert not server.lines.connections
        return pipe.lost_s, server.cut

    assert on_virtual_time(story) == (10.0, [(10.0, "slow")])


def test_a_head_that_drips_gains_no_time() -> None:
    """A byte a second keeps nothing open: the whole head must have come in its time."""

    async def story() -> float | None:
        server = Server()
        line, pipe = server.connect()
        for byte in request("GET", "/healthz", "X: aaaaaaaa"):
            if pipe.lost_s is None:
                line.data_received(bytes((byte,)))
            await server.after(1)
        return pipe.lost_s

    assert on_virtual_time(story) == 10.0


def test_a_connection_that_is_kept_has_the_same_limits_for_each_request() -> None:
    """After an answer it may idle for as long as proxies like; once the next head has begun, that has a head's time."""

    async def story() -> tuple[int, float | None]:
        server = Server()
        line, pipe = server.connect()
        for _ in range(3):
            line.data_received(request("GET", "/healthz"))
            await server.after(IDLE_S - 1)
        assert pipe.lost_s is None
        line.data_received(b"GET /h")
        await server.after(IDLE_S)
        return pipe.sent.count(b"200 OK"), pipe.lost_s

    assert on_virtual_time(story) == (3, 3 * (IDLE_S - 1) + 10)


def test_a_head_that_began_behind_another_request_has_no_more_time() -> None:
    """The beginning of the next head, sent along with a whole request, is no idling."""

    async def story() -> float | None:
        server = Server()
        line, pipe = server.connect()
        line.data_received(request("GET", "/healthz") + b"GET /h")
        await server.after(IDLE_S)
        return pipe.lost_s

    assert on_virtual_time(story) == 10.0


def test_an_idle_connection_is_closed_in_good_order() -> None:
    """At the end of its idling it is closed, and not counted as cut off."""

    async def story() -> tuple[float | None, list[tuple[float, str]]]:
        server = Server()
        line, pipe = server.connect()
        line.data_received(request("GET", "/healthz"))
        await server.after(2 * IDLE_S)
        return pipe.lost_s, server.cut

    assert on_virtual_time(story) == (IDLE_S, [])


def test_a_body_that_nobody_wanted_keeps_nothing_open() -> None:
    """A request that is answered while its body still comes: what follows must end in a head's time, as bytes of a head must."""

    async def story() -> float | None:
        server = Server()
        line, pipe = server.connect()
        line.data_received(request("POST", "/metrics", "Content-Length: 1000000"))
        await server.after(1)
        assert pipe.sent.endswith(b"ok")
        for _ in range(60):
            if pipe.lost_s is None:
                line.data_received(b"x")
            await server.after(1)
        return pipe.lost_s

    assert on_virtual_time(story) == 11.0


def test_a_request_has_the_time_that_its_answer_may_take() -> None:
    """While it is served no head is waited for; a request that is never answered, by a bug, is cut off all the same."""

    async def story(serves_s: float) -> tuple[bool, float | None]:
        server = Server(serves_s=serves_s)
        line, pipe = server.connect()
        line.data_received(request("GET", "/healthz"))
        await server.after(LIMITS.answer_s + SEND_S + 1)
        return pipe.sent.endswith(b"ok"), pipe.lost_s

    assert on_virtual_time(lambda: story(LIMITS.answer_s)) == (True, None)
    assert on_virtual_time(lambda: story(10_000)) == (False, LIMITS.answer_s + SEND_S)


def test_pipelined_requests_are_served_one_by_one_each_in_its_time() -> None:
    """Three requests that come at once are answered in turn, and the time of each begins when its turn comes."""

    async def story() -> tuple[int, float | None]:
        server = Server(serves_s=LIMITS.answer_s)
        line, pipe = server.connect()
        line.data_received(request("GET", "/healthz") * 3)
        await server.after(3 * LIMITS.answer_s + 1)
        return pipe.sent.count(b"200 OK"), pipe.lost_s

    assert on_virtual_time(story) == (3, None)


@pytest.mark.parametrize(("size", "status"), [(HEAD_BYTES_MAX - 2000, b"200"), (HEAD_BYTES_MAX + 2000, b"400")])
def test_a_head_in_pieces_has_the_limit_of_a_whole_one(size: int, status: bytes) -> None:
    """However it is cut: below the limit its end is waited for, beyond it the answer does not wait."""

    async def story() -> bytes:
        server = Server()
        line, pipe = server.connect()
        head = request("GET", "/healthz", f"X: {'a' * size}")
        for start in range(0, len(head), 1000):
            if not pipe.closing:
                line.data_received(head[start : start + 1000])
        await server.after(1)
        return pipe.sent[9:12]

    assert on_virtual_time(story) == status


@pytest.mark.parametrize("field", ["Connection: close", "Connection: keep-alive"])
def test_an_answer_that_nobody_reads_keeps_nothing_open(field: str) -> None:
    """Closed in good order it would wait for ever for its last bytes to be read: it is cut off."""

    async def story() -> tuple[float | None, list[str]]:
        server = Server()
        line, pipe = server.connect(stuck=True)
        line.data_received(request("GET", "/healthz", field))
        await server.after(2 * IDLE_S)
        return pipe.lost_s, [why for _, why in server.cut]

    assert on_virtual_time(story) == (IDLE_S, ["slow"])


def test_beyond_the_limit_who_has_waited_longest_makes_room() -> None:
    """However many connect and say nothing, who connects now and asks is answered; requests under way are left alone."""

    async def story() -> tuple[list[bool], list[tuple[float, str]], bool]:
        server = Server(serves_s=5)
        asking, asked = server.connect()
        asking.data_received(request("GET", "/healthz"))
        await server.after(1)
        pipes = []
        for _ in range(4):
            pipes.append(server.connect()[1])
            await server.after(1)
        late, answered = server.connect()
        late.data_received(request("GET", "/healthz"))
        assert len(server.lines.connections) == LIMITS.connections_max
        await server.after(6)
        assert asked.sent.endswith(b"ok")
        return [pipe.lost_s is not None for pipe in pipes], server.cut, answered.sent.endswith(b"ok")

    silent, cut, served = on_virtual_time(story)
    assert served
    assert silent == [True, True, True, False]
    assert cut == [(3.0, "room"), (4.0, "room"), (5.0, "room")]


def test_where_all_are_served_the_newest_finds_no_room() -> None:
    """A request under way is never given up for a connection that has asked for nothing yet."""

    async def story() -> tuple[float | None, int]:
        server = Server(serves_s=5)
        busy = [server.connect() for _ in range(LIMITS.connections_max)]
        for line, _ in busy:
            line.data_received(request("GET", "/healthz"))
        _, pipe = server.connect()
        await server.after(6)
        return pipe.lost_s, sum(one.sent.endswith(b"ok") for _, one in busy)

    assert on_virtual_time(story) == (0.0, LIMITS.connections_max)


def test_many_at_the_same_moment_cost_no_more_than_they_are() -> None:
    """Those that come in one turn of the loop make each other go, one for one, and nobody else."""

    async def story() -> tuple[int, int]:
        server = Server()
        for _ in range(LIMITS.connections_max + 5):
            server.connect()
        await server.after(1)
        return len(server.lines.connections), len(server.cut)

    assert on_virtual_time(story) == (LIMITS.connections_max, 5)


@pytest.mark.parametrize(
    ("files", "connections"), [(resource.RLIM_INFINITY, 500), (1_048_576, 500), (256, 128), (1, 1)]
)
def test_no_more_connections_than_the_process_has_files_for(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most half of the files that the process may open: without the others it could read no file and reach no CRM."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    limits = LineLimits(head_s=1.0, answer_s=1.0, connections_max=500)
    assert limits.connections == connections
