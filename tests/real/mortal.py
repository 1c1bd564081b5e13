"""The bridge's command line in a process that stops itself at a named step.

``python -m tests.real.mortal NAME TIMES SIGNAL run …``: everything is the real thing; only what crosses the process's border is
counted. A crossing is named as in the simulation: ``take …`` before the ledger's step, ``… take`` after it; a commit by what it
carries. At the ``TIMES``-th crossing of ``NAME`` the process sends ``SIGNAL`` to itself: KILL ends it between two lines, STOP
holds it there until somebody says CONT.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

from sales_crm_bridge import cli, operate, wiring
from sales_crm_bridge.kafka import KafkaFacts, KafkaIntents
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import Published, TopicPartition
from sales_crm_bridge.ports import Transport
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.state import Commit, OutboxRow
from sales_crm_bridge.tenants import Tenant


class Fate:
    """When this process stops, and how."""

    def __init__(self, name: str, times: int, how: signal.Signals) -> None:
        self._name = name
        self._left = times
        self._how = how

    def cross(self, what: str) -> None:
        """Say that ``what`` happens now; it may be the last that is said."""
        if what != self._name:
            return
        self._left -= 1
        if self._left == 0:
            print(f"at its end: {what}", file=sys.stderr, flush=True)  # noqa: T201 - the test's log
            os.kill(os.getpid(), self._how)


def name_of(method: str, args: Sequence[object]) -> str:
    """A step of the ledger by its method; a commit by what it carries, an intake by whether it brings an intent."""
    match args:
        case (_, Commit() as commit) if method == "commit":
            return "commit answer" if commit.commands else "commit page" if commit.positions else "commit other"
        case _:
            return method


class Ledger:
    """The real ledger, with a crossing before and after each of its steps."""

    def __init__(self, ledger: Any, fate: Fate) -> None:
        self._ledger = ledger
        self._fate = fate

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._ledger, method)
        if method in {"wait", "close"}:
            return real

        @functools.wraps(real)
        async def step(*args: object, **kwargs: object) -> object:
            name = name_of(method, args)
            self._fate.cross(f"{name} …")
            value = await real(*args, **kwargs)
            self._fate.cross(f"… {name}")
            return value

        return step


class Wire:
    """The real transport; a call that writes is named ``write``, any other ``read``."""

    def __init__(self, inner: Transport, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        what = "write" if method != "GET" and not url.endswith(("/search", "/batch/read")) else "read"
        self._fate.cross(f"{what} …")
        answer = await self._inner.send(method, url, headers, body, timeout_s)
        self._fate.cross(f"… {what}")
        return answer

    async def close(self) -> None:
        await self._inner.close()  # type: ignore[attr-defined] # the rim asks for it where there is one


def die(fate: Fate) -> None:
    """Let everything that the command line makes cross ``fate``."""
    real_transport = wiring.real_transport

    class Facts(KafkaFacts):
        async def publish(self, rows: Sequence[OutboxRow]) -> Published:
            fate.cross("publish …")
            published = await super().publish(rows)
            fate.cross("… publish")
            return published

    class Intents(KafkaIntents):
        async def mark(self, places: dict[TopicPartition, int]) -> None:
            fate.cross("mark …")
            await super().mark(places)
            fate.cross("… mark")

    async def ledger(*args: Any, **kwargs: Any) -> Any:
        return Ledger(await open_ledger(*args, **kwargs), fate)

    def transport(settings: Settings) -> Callable[[Tenant], Transport]:
        make = real_transport(settings)
        return lambda tenant: Wire(make(tenant), fate)

    for where, what, watched in (
        (operate, "open_ledger", ledger),
        (operate, "KafkaFacts", Facts),
        (operate, "KafkaIntents", Intents),
        (wiring, "real_transport", transport),
    ):
        patch.object(where, what, watched).start()


if __name__ == "__main__":
    name, times, how, *verb = sys.argv[1:]
    die(Fate(name, int(times), signal.Signals[f"SIG{how}"]))
    cli.main(verb)
