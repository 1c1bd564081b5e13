"""Faults on purpose: what goes wrong, with which requests, how often. Scripted, or drawn from the caller's seed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from sales_crm_bridge.sandbox.wire import Request


class FaultKind(enum.StrEnum):
    """What goes wrong; BEFORE means that nothing was done, AFTER that it was."""

    REFUSED = "refused"
    CUT_BEFORE = "cut-before"
    CUT_AFTER = "commit-then-cut"
    TIMEOUT_BEFORE = "timeout-before"
    TIMEOUT_AFTER = "commit-then-timeout"
    STATUS = "status"
    STATUS_AFTER = "commit-then-status"
    TRUNCATED = "truncated"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    ``method`` and ``path`` (``*`` and ``?`` as in a shell, without the query) and ``body`` (bytes contained in it) say with
    which requests; of those the first ``skip`` pass, each later one is hit with probability ``chance``, until it has hit
    ``times`` requests (None: no end). ``status``, ``reply`` and ``headers`` are the answer of the STATUS kinds; without
    ``reply`` the sandbox words it as its service does. ``delay_s`` holds back the answer that is given.
    """

    kind: FaultKind
    method: str | None = None
    path: str = "*"
    body: bytes | None = None
    times: int | None = 1
    skip: int = 0
    chance: float = 1.0
    status: int = 500
    reply: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0

    def concerns(self, request: Request) -> bool:
        """Whether it is about this request."""
        return (
            (self.method is None or self.method == request.method)
            and (self.path == "*" or fnmatchcase(request.path, self.path))
            and (self.body is None or self.body in request.body)
        )


@dataclass(slots=True)
class _Armed:
    fault: Fault
    seen: int = 0
    hits: int = 0


class Faults:
    """The faults that a sandbox has in store; the first that applies to a request is the one that happens."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._armed: list[_Armed] = []
        self.hits: list[tuple[Fault, str, str]] = []
        """What has happened so far: the fault, the request's method and path."""

    def add(self, *faults: Fault) -> None:
        """Put faults behind those that are there."""
        self._armed.extend(_Armed(fault) for fault in faults)

    def clear(self) -> None:
        """Forget those that have not happened; ``hits`` stays."""
        self._armed.clear()

    @property
    def waiting(self) -> int:
        """How many faults may still happen."""
        return len(self._armed)

    def take(self, request: Request) -> Fault | None:
        """Choose what goes wrong with this request, if anything."""
        for armed in self._armed:
            fault = armed.fault
            if not fault.concerns(request):
                continue
            armed.seen += 1
            if armed.seen <= fault.skip or (fault.chance < 1 and self._rng.random() >= fault.chance):
                continue
            armed.hits += 1
            if fault.times is not None and armed.hits >= fault.times:
                self._armed.remove(armed)
            self.hits.append((fault, request.method, request.path))
            return fault
        return None
