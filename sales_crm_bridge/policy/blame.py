"""Whose trouble it is that a write does not take effect: its own command's, one of its batch's, or the whole account's.

A CRM that carries out no write for an hour says the same as one that stumbles over a single record: 503, or nothing at all. What
tells them apart is what becomes of the other writes, so that is remembered here, for as long as a session lasts. Whatever a new
session does not know counts against nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sales_crm_bridge.state import Command


MARKED = 100
"""Commands that are marked in one transaction as being sent, unless a single batch has more."""


@dataclass(slots=True)
class _Tried:
    """What is known of a command whose writes fail. Moments are numbers of events, in the order in which they came.

    ``began``: its first try; ``judged``: when a try was last found not to have taken effect; ``batch``, ``together``: the batch
    of the newest try, and how many were in it; ``limit``: how many may be in the next one (0: as many as there are);
    ``failures``: tries that count against it.
    """

    began: int
    judged: int
    batch: int = 0
    together: int = 0
    limit: int = 0
    failures: int = 0


class Blame:
    """The writes of one account in one session. No I/O, no clock: what comes first is all that matters."""

    def __init__(self) -> None:
        self._events = 0
        self._good = 0
        self._doubt = 0
        self._tried: dict[int, _Tried] = {}
        self._probe: set[int] = set()
        self._probe_batch = 0

    def _event(self) -> int:
        self._events += 1
        return self._events

    def sent(self, seqs: Sequence[int]) -> None:
        """These commands are about to be written, in one conversation."""
        now = self._event()
        for seq in seqs:
            one = self._tried.setdefault(seq, _Tried(began=now, judged=now))
            one.batch, one.together = now, len(seqs)

    def took_effect(self) -> None:
        """The CRM has accepted a write."""
        self._good = self._event()

    def ended(self, seqs: Iterable[int]) -> None:
        """These commands have an outcome."""
        for seq in seqs:
            self._tried.pop(seq, None)
            self._probe.discard(seq)

    def failed(self, seq: int) -> int:
        """A try of this command did not take effect. Gives how many tries count against it now; 0: this one does not.

        It counts if the command was written alone, and another write took effect since its last failure; or since its first try,
        while no other command has failed that is not itself under suspicion. An outage meets every command alike, so it counts
        against none. A command that was written with others may suffer for one of them: next time it goes with fewer.
        """
        now = self._event()
        one = self._tried.get(seq)
        if one is None:
            self._doubt = now
            return 0
        alive = self._good > one.began
        suspect = one.together == 1 and alive and (self._good > one.judged or self._good > self._doubt)
        one.judged = now
        if suspect:
            one.failures += 1
            return one.failures
        self._doubt = now
        if one.together > 1 and (alive or self._probes(seq, one.batch)):
            one.limit = (one.together + 1) // 2
        return 0

    def _probes(self, seq: int, batch: int) -> bool:
        """Whether it is of the one batch that is taken apart while nothing takes effect: in an outage the others stay whole."""
        if not self._probe:
            self._probe_batch = batch
        if seq in self._probe or batch == self._probe_batch:
            self._probe.add(seq)
            return True
        return False

    def batches(self, commands: Sequence[Command], size: int) -> list[Sequence[Command]]:
        """Commands in batches of at most ``size``, those under suspicion in smaller ones among themselves."""
        by_limit: dict[int, list[Command]] = {}
        for command in commands:
            one = self._tried.get(command.seq)
            limit = min(size, one.limit) if one is not None and one.limit else size
            by_limit.setdefault(limit, []).append(command)
        return [some[at : at + limit] for limit, some in sorted(by_limit.items()) for at in range(0, len(some), limit)]


def grouped(batches: Sequence[Sequence[Command]]) -> list[list[Sequence[Command]]]:
    """Small batches together, as long as they are no more than ``MARKED``; a transaction for each would cost more than its call."""
    groups: list[list[Sequence[Command]]] = []
    room = 0
    for batch in batches:
        if len(batch) > room:
            groups.append([])
            room = MARKED
        groups[-1].append(batch)
        room -= len(batch)
    return groups
