"""Which recorded exchange answers a request, and how two requests differ.

Concurrent requests come in whatever order, so a request is matched by what it says and not by when it comes: by method, address and
body, the earliest such exchange first. Where none says quite the same, one is taken that differs in nothing that matters: in a time
by minutes, or in naming fewer of the same fields.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sales_crm_bridge.replay.bundle import Exchange

TIMES_APART_S = 600.0
"""How far apart two times of else equal requests may be: the end of a window follows the clock."""

_EPOCH = re.compile(r"1\d{9}|1\d{12}|1\d{15}")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")


class Said(msgspec.Struct, frozen=True):
    """One value of a request: under which ``name`` it stands, and its text."""

    name: str
    text: str


def parts(method: str, url: str, body: bytes) -> dict[str, Said]:
    """A request taken apart: where each value stands → what it says. Hosts and headers say nothing about what is asked."""
    address = urlsplit(url)
    found = {"method": Said("method", method)}
    for number, segment in enumerate(address.path.strip("/").split("/"), start=1):
        found[f"part {number} of the path"] = Said("id", unquote(segment))
    for name, value in parse_qsl(address.query, keep_blank_values=True):
        found[_free(found, f"query {name}")] = Said(name, value)
    for where, said in _body(body):
        found[_free(found, where)] = said
    return found


def _free(found: dict[str, Said], where: str) -> str:
    number, place = 1, where
    while place in found:
        number += 1
        place = f"{where} ({number})"
    return place


def _body(body: bytes) -> Iterator[tuple[str, Said]]:
    text = body.decode("utf-8", "replace")
    if not text:
        return
    try:
        value = json.loads(text)
    except ValueError:
        pairs = parse_qsl(text, keep_blank_values=True)
        if pairs:
            yield from ((f"body {name}", Said(name, value)) for name, value in pairs)
        else:
            yield "body", Said("", text)
        return
    yield from _leaves(value, "body", "")


def _leaves(value: Any, where: str, name: str) -> Iterator[tuple[str, Said]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}", key)
    elif isinstance(value, list) and value and all(isinstance(one, str) and "," not in one for one in value):
        yield where, Said(name, ",".join(value))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{number}]", name)
    else:
        yield where, Said(name, value if isinstance(value, str) else json.dumps(value))


def alike(recorded: Said, asked: Said) -> bool:
    """Whether two values differ in nothing that matters."""
    if recorded.text == asked.text:
        return True
    one, other = seconds_of(recorded.text), seconds_of(asked.text)
    if one is not None and other is not None:
        return abs(one - other) <= TIMES_APART_S
    fields = recorded.text.split(",")
    return len(fields) > 1 and set(asked.text.split(",")) <= set(fields)


def seconds_of(text: str) -> float | None:
    """A time as a request says it, in epoch seconds; None: it is none."""
    if _EPOCH.fullmatch(text):
        return int(text[:10]) + float(f"0.{text[10:] or 0}")
    if not _ISO.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text if text[-1] == "Z" or "+" in text[10:] else f"{text}Z").timestamp()
    except ValueError:
        return None


class Unmatched(Exception):
    """No recorded exchange answers a request; the text says which comes nearest and how it differs."""


class Tape:
    """Recorded exchanges, each to be taken once. ``same``: when two values are, where a request is not recorded word for word."""

    def __init__(self, exchanges: Sequence[Exchange], same: Callable[[Said, Said], bool] = alike) -> None:
        self._exchanges = exchanges
        self._same = same
        self._exact: dict[tuple[str, str, bytes], list[int]] = defaultdict(list)
        self._kinds: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._parts: list[dict[str, Said]] = []
        for number, one in enumerate(exchanges):
            body = one.body.bytes()
            self._exact[one.method, one.url, body].append(number)
            self._kinds[one.method, one.url.partition("?")[0].count("/")].append(number)
            self._parts.append(parts(one.method, one.url, body))
        self.left = dict.fromkeys(range(len(exchanges)))
        """The numbers of those that nobody has taken yet, in order."""

    def take(self, method: str, url: str, body: bytes) -> int:
        """The number of the exchange that answers this request. Raises ``Unmatched``."""
        for number in self._exact.get((method, url, body), ()):
            if number in self.left:
                return self._taken(number)
        asked = parts(method, url, body)
        for number in self._kinds.get((method, url.partition("?")[0].count("/")), ()):
            if number in self.left and next(self._differences(number, asked), None) is None:
                return self._taken(number)
        raise Unmatched(self._explained(method, url, asked))

    def _taken(self, number: int) -> int:
        del self.left[number]
        return number

    def _differences(self, number: int, asked: dict[str, Said]) -> Iterator[str]:
        recorded = self._parts[number]
        for where, said in asked.items():
            before = recorded.get(where)
            if before is None:
                yield f"{where} is {_short(said)}, and was not there"
            elif not self._same(before, said):
                yield _differs(where, before, said)
        yield from (
            f"{where} is not there, and was {_short(said)}" for where, said in recorded.items() if where not in asked
        )

    def _explained(self, method: str, url: str, asked: dict[str, Said]) -> str:
        said = f"nothing recorded answers {method} {urlsplit(url).path}"
        ranked = [(sum(1 for _ in self._differences(number, asked)), number) for number in range(len(self._exchanges))]
        if not ranked:
            return f"{said}: the recording holds no request"
        # One that was taken already is named only if it comes nearer than any that is left.
        _, _, nearest = min((count, number not in self.left, number) for count, number in ranked)
        near = self._exchanges[nearest]
        taken = "" if nearest in self.left else ", which was answered before"
        differs = "; ".join(list(self._differences(nearest, asked))[:5]) or "nothing else differs"
        return f"{said}; the nearest is line {nearest + 1}, {near.method} {urlsplit(near.url).path}{taken}: {differs}"


def _differs(where: str, before: Said, said: Said) -> str:
    """In words; of two lists what the one names beside the other."""
    old, new = before.text.split(","), said.text.split(",")
    more = [one for one in new if one not in old]
    if len(old) > 1 and len(new) > 1 and len(more) < len(new):
        return f"{where} names {', '.join(map(repr, more))} besides"
    return f"{where} is {_short(said)}, and was {_short(before)}"


def _short(said: Said, most: int = 60) -> str:
    text = said.text if len(said.text) <= most else f"{said.text[: most - 1]}…"
    return repr(text)
