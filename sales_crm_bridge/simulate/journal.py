"""What the CRM has really held, version by version, and whose work each was: the truth that the bridge cannot see."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.sandbox.wire import ConnectionCut, Cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sales_crm_bridge.sandbox.wire import Answer
    from sales_crm_bridge.simulate.crm import Crm, Values

PEOPLE, BRIDGE = "people", "bridge"

MARK = re.compile(rb"\+9 \d+")
"""How a phone number looks that a person has written: no two of them are equal."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One commit to one record: what it held ``before`` (None: it was not there) and ``after`` (None: it is not there)."""

    number: int
    at_us: int
    who: str
    record: str
    before: Values | None
    after: Values | None


class Journal:
    """Watches one CRM. ``look`` is to be called after everything that may have changed it.

    ``entries``: every commit in order. ``versions``: what each record has held, in order. ``read``: the marks of people that have
    stood in an answer to the bridge. ``blind``: fields of people that the bridge has overwritten without having seen them.
    """

    def __init__(self, crm: Crm, now_us: Callable[[], int]) -> None:
        self._crm = crm
        self._now_us = now_us
        self._moves = -1
        self._live: dict[str, Values] = {}
        self.entries: list[Entry] = []
        self.versions: dict[str, list[Values]] = {}
        self.read: set[str] = set()
        self.blind: list[str] = []
        self.made: dict[str, list[str]] = {}
        """By our key, or by the address where there is none: the records that the bridge has made."""
        self.twice: list[tuple[str, str, str, bool]] = []
        """Of a record that was made though another had been: key, that other one, itself, whether the other was there then."""

    @property
    def live(self) -> Mapping[str, Values]:
        """What is there now."""
        return self._live

    def look(self, who: str) -> None:
        """Write down what ``who`` has just committed, if anything."""
        moves = self._crm.moves()
        if moves == self._moves:
            return
        self._moves = moves
        now = self._crm.live()
        before = self._live
        for record, after in now.items():
            held = before.get(record)
            if held != after:
                self._note(who, record, held, after)
        for record, held in before.items():
            if record not in now:
                self._note(who, record, held, None)
        self._live = now

    def _note(self, who: str, record: str, before: Values | None, after: Values | None) -> None:
        number = len(self.entries)
        entry = Entry(number=number, at_us=self._now_us(), who=who, record=record, before=before, after=after)
        self.entries.append(entry)
        if after is not None:
            self.versions.setdefault(record, []).append(after)
        if who != BRIDGE or after is None:
            return
        if before is None:
            made = self.made.setdefault(after["key"] or after["email"] or after["name"], [])
            self.twice += [(after["key"] or after["email"], one, record, one in self._live) for one in made]
            made.append(record)
            return
        phone = before["phone"]
        if phone != after["phone"] and MARK.fullmatch(phone.encode()) and phone not in self.read:
            self.blind.append(f"record {record}: {phone} was overwritten, and had stood in no answer")

    def heard(self, answer: Answer) -> None:
        """The bridge has been given this answer."""
        if b"+9 " in answer.body:
            self.read.update(mark.decode() for mark in MARK.findall(answer.body))


class Watched:
    """The CRM's front door in the simulation: what comes through it is written down, and some of it is carried out late.

    ``late``: of a request that it concerns, the line is cut at once, and the CRM carries it out some seconds later.
    """

    def __init__(self, crm: Crm, journal: Journal) -> None:
        self._sandbox = crm.sandbox
        self._journal = journal
        self.late: deque[tuple[str, float, Callable[[], None]]] = deque()
        self.place_of: Callable[[str, str, bytes], str] = lambda method, target, body: ""  # noqa: ARG005 - set by the world

    def pause_s(self) -> float:
        """See ``Sandbox``."""
        pause: float = self._sandbox.pause_s()
        return pause

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """See ``Sandbox``."""
        if self.late:
            place = self.place_of(method, target, body)
            for one in self.late:
                if one[0] == place:
                    self.late.remove(one)
                    one[2]()
                    loop = asyncio.get_running_loop()
                    loop.call_later(one[1], self._carry_out_late, method, target, dict(headers), body)
                    raise ConnectionCut(Cut.CLOSED, committed=False)
        try:
            answer: Answer = self._sandbox.handle(method, target, headers, body)
        finally:
            self._journal.look(BRIDGE)
        self._journal.heard(answer)
        return answer

    def _carry_out_late(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        try:
            self._sandbox.handle(method, target, headers, body)
        except ConnectionCut:
            pass
        finally:
            self._journal.look(BRIDGE)
