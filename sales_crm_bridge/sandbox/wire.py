"""What passes between a sandbox and whoever calls it: requests, answers, and lines that go dead."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping


class Request(NamedTuple):
    """One call as the sandbox sees it: ``path`` undecoded and without query, ``headers`` by lower-case name."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Take a request line apart; of a query parameter that comes several times, the values are joined by commas."""
        path, _, text = target.partition("?")
        query: dict[str, str] = {}
        if text:
            for name, value in parse_qsl(text, keep_blank_values=True):
                query[name] = f"{query[name]},{value}" if name in query else value
        return cls(method.upper(), path, query, headers, body)

    def segments(self) -> list[str]:
        """The path's parts, each decoded after the split, so that an encoded slash stays inside its part."""
        parts = self.path.strip("/").split("/")
        return [unquote(part) for part in parts] if "%" in self.path else parts


class Answer(NamedTuple):
    """What goes back. ``delay_s``: how long it is to be held back; the caller sleeps, a sandbox never does."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    delay_s: float = 0.0


class Cut(enum.StrEnum):
    """What a caller notices of a dead line."""

    REFUSED = "refused"
    CLOSED = "closed"
    TIMEOUT = "timeout"


class ConnectionCut(Exception):
    """No answer comes. ``committed`` tells a test what the caller cannot know: whether the request changed anything."""

    def __init__(self, how: Cut, *, committed: bool) -> None:
        super().__init__(f"{how}, {'committed' if committed else 'nothing done'}")
        self.how = how
        self.committed = committed


class Sandbox(Protocol):
    """A local stand-in for one account at one CRM: a state, no clock of its own, no I/O."""

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request as the real service would.

        ``target``: path and query as sent. ``headers``: lower-case names. Raises ``ConnectionCut`` where no answer is to come.
        """
        ...

    def pause_s(self) -> float:
        """Seconds that the next request is under way before it is carried out, and its answer afterwards."""
        ...
