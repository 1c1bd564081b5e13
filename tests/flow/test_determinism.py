"""The simulation's trace tells what was said, not only that something was: chance that is planted anywhere shows in it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.clerk import Job
from sales_crm_bridge.facts import Scribe
from sales_crm_bridge.model import Write
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import SeededDice
from tests.flow.flow_kit import world


def trace(folder: Path) -> tuple[list[str], list[bytes]]:
    """The trace of an import, a create and an edit, and the facts."""
    folder.mkdir()
    loop = VirtualLoop()

    async def main() -> tuple[list[str], list[bytes]]:
        home = world(loop, folder, "determinism", leads=3)
        lead = contract.Lead(lead_id="L-1", email="one@sales.example")
        home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="m-1")
        await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(120)))
        return home.trace, home.topics.facts

    return run(main(), loop)


def any_name(_: SeededDice) -> str:
    """A process's name, which the ledger is told: by chance."""
    return uuid.uuid4().hex[:16]


def any_cause(page: Callable[..., contract.FactPage]) -> Callable[..., contract.FactPage]:
    """A fact's cause: by chance."""
    return lambda scribe, correlation, _, *rest: page(scribe, correlation, uuid.uuid4().hex, *rest)


def any_phone(said: Callable[[Job], Write]) -> Callable[[Job], Write]:
    """A value in a request's body: by chance."""

    def write(job: Job) -> Write:
        made = said(job)
        return msgspec.structs.replace(made, fields={**made.fields, "phone": uuid.uuid4().hex})

    return write


def test_one_seed_gives_one_trace_and_the_same_facts(tmp_path: Path) -> None:
    """Twice in one process: line by line, byte by byte."""
    assert trace(tmp_path / "one") == trace(tmp_path / "two")


@pytest.mark.parametrize(
    ("where", "what", "planted", "first"),
    [
        (SeededDice, "name", lambda _: any_name, "leases_renew …"),
        (Scribe, "_page", any_cause, "commit …"),
        (Job, "write", any_phone, "POST https://crm.example/crm/v3/objects/contacts/batch/upsert …"),
    ],
)
def test_planted_chance_shows_in_the_trace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    what: str,
    planted: Callable[[object], object],
    first: str,
) -> None:
    """In an argument of the ledger, in a fact, in a request: the first line that differs is the one that carries it."""
    monkeypatch.setattr(where, what, planted(getattr(where, what)))
    one, two = (trace(tmp_path / name)[0] for name in ("one", "two"))
    assert len(one) == len(two)
    differing = [a for a, b in zip(one, two, strict=True) if a != b]
    assert f" {first} " in differing[0]
