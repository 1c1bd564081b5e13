"""``status --watch``: looked at again and again until somebody has seen enough."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge import cli
from sales_crm_bridge.console import Console
from sales_crm_bridge.errors import EXIT_OK
from sales_crm_bridge.ledger import migrate, open_ledger
from sales_crm_bridge.state import TenantRow


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A deployment that has a ledger and nothing in it."""
    file = tmp_path / "bridge.yaml"
    file.write_text(f"ledger: sqlite:///{tmp_path / 'bridge.db'}\n")
    asyncio.run(migrate(f"sqlite:///{tmp_path / 'bridge.db'}"))
    return file


@pytest.fixture
def pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks; in the first one a tenant comes, in the second somebody presses Ctrl-C."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        if len(found) > 1:
            raise KeyboardInterrupt
        ledger = await open_ledger(f"sqlite:///{tmp_path / 'bridge.db'}")
        row = TenantRow(
            tenant="acme", text="", digest="d", accepted_us=1, connection="main", adapter="hubspot", account="1"
        )
        await ledger.tenant_accept(row)
        await ledger.close()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


def call(*args: str) -> int:
    """Run the command line; its exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(args))
    return int(ended.value.code or 0)


def test_a_machine_that_watches_is_given_a_line_a_look(
    config: Path, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``--json`` each look is one line, as it comes, every two seconds, and Ctrl-C is a quiet end."""
    assert call("status", "-c", str(config), "--watch", "--json") == cli.EXIT_INTERRUPTED
    out, err = capsys.readouterr()
    seen = [json.loads(line) for line in out.splitlines()]
    assert [[one["tenant"] for one in look["connections"]] for look in seen] == [[], ["acme"]]
    assert pauses == [2, 2]
    assert "Traceback" not in err


def test_a_person_who_watches_is_shown_each_look_in_place_of_the_last(
    config: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--json`` each look clears what the one before has shown."""
    shown: list[tuple[int, bool]] = []

    def status(_console: Console, report: Mapping[str, Any], *, clear: bool = False) -> None:
        shown.append((len(report["connections"]), clear))

    monkeypatch.setattr(Console, "status", status)
    assert call("status", "-c", str(config), "--watch") == cli.EXIT_INTERRUPTED
    assert shown == [(0, True), (1, True)]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_without_it_one_look_is_enough(
    config: Path, pauses: list[float], form: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """One look, no pause, exit code 0; and machines get one JSON value, also where it goes over several lines."""
    assert call("status", "-c", str(config), *form) == EXIT_OK
    assert pauses == []
    out = capsys.readouterr().out
    if form:
        assert json.loads(out)["connections"] == []
