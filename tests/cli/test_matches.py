"""The verbs about matches, as an operator calls them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import LeadState, Operation
from sales_crm_bridge.state import (
    Binding,
    CommandChange,
    CommandState,
    Commit,
    Fence,
    InboxRow,
    Intake,
    Match,
    MatchState,
    NewCommand,
)
from tests.cli.test_letters import intent, letter
from tests.cli.test_verbs import accepted, call, deployment  # noqa: F401 - fixtures

Ask = Callable[..., Any]


@pytest.fixture
def matches(accepted: Path) -> Path:  # noqa: F811 - the fixture
    """A ledger with two matches: 1 of L-1 with record 77, which was told of as born-77; 2 of L-2 with record 88, never seen."""

    async def fill() -> None:
        ledger = await open_ledger(f"sqlite:///{accepted.parent / 'bridge.db'}")
        (row,) = await ledger.tenants()
        epochs = await ledger.leases_take(["account/acme"], "p1", 0, 10**16)
        fence = Fence(lease="account/acme", holder="p1", epoch=epochs["account/acme"])
        wanted = [
            InboxRow(
                tenant="acme",
                message_id=f"m-{number}",
                command=NewCommand(
                    conn=row.conn,
                    lead_id=f"L-{number}",
                    operation=Operation.CREATE,
                    payload=intent(f"m-{number}"),
                    occurred_us=1,
                ),
            )
            for number in (1, 2)
        ]
        await ledger.take(Intake(rows=wanted, dead=(), offsets={}, now_us=1))
        made = await ledger.commands_open(row.conn, ["L-1", "L-2"])
        found = [
            Match(
                conn=row.conn,
                tenant="acme",
                lead_id=one.lead_id,
                crm_id=crm_id,
                state=MatchState.PROPOSED,
                seq=one.seq,
                since_us=1_790_000_000_000_000,
            )
            for one, crm_id in zip(made, ("77", "88"), strict=True)
        ]
        parked = [CommandChange(seq=one.seq, state=CommandState.PARKED, reason="match-proposed") for one in made]
        dead = [letter(f"command {one.seq}", "push.match-proposed", one.payload, lead_id=one.lead_id) for one in made]
        born = Binding(conn=row.conn, lead_id="born-77", crm_id="77", state=LeadState.LIVE, aggregate_version=1)
        await ledger.commit(fence, Commit(conn=row.conn, bindings=[born], commands=parked, dead=dead, matches=found))
        await ledger.leases_drop("p1", ["account/acme"])
        await ledger.close()

    asyncio.run(fill())
    return accepted


@pytest.fixture
def ask(matches: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Call a verb about matches with ``--json``; what it printed, for exit code ``code``."""

    def do(*args: str, code: int = 0) -> Any:
        assert call("matches", *args, "-c", str(matches), "--json") == code
        return json.loads(capsys.readouterr().out)

    return do


def test_matches_are_listed_with_both_sides_and_nothing_personal(
    ask: Ask, matches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lead, the record, and the lead as which the record was told of; by tenant, from any one on, for people or machines."""
    rows = ask("list")
    assert [(one["id"], one["tenant"], one["lead"], one["record"], one["told_as"], one["state"]) for one in rows] == [
        (1, "acme", "L-1", "77", "born-77", "proposed"),
        (2, "acme", "L-2", "88", "", "proposed"),
    ]
    assert [one["id"] for one in ask("list", "--after", "1")] == [2]
    assert ask("list", "--tenant", "beta") == []
    assert call("matches", "list", "-c", str(matches), "--limit", "1") == 0
    said = capsys.readouterr().out
    assert "born-77" in said
    assert "there may be more: --after 1" in said
    assert "@" not in said + json.dumps(rows)


def test_one_is_accepted_and_one_refused_and_both_are_remembered(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run says the same and does nothing. What was decided before stays as it is: exit code 1."""
    told = {"id": 1, "tenant": "acme", "lead": "L-1", "record": "77", "what": "accepted"}
    assert ask("accept", "1", "--dry-run") == {"dry_run": True, "decided": 0, "stayed": 0, "matches": [told]}
    assert len(ask("list")) == 2
    assert ask("accept", "1", "--by", "ann") == {"dry_run": False, "decided": 1, "stayed": 0, "matches": [told]}
    refused = ask("refuse", "1", "2", "--why", "a shared mailbox", "--by", "ben", "--yes", code=1)
    assert (refused["decided"], refused["stayed"]) == (1, 1)
    assert [one["what"] for one in refused["matches"]] == ["stays", "refused"]
    assert ask("list") == []
    decided = ask("list", "--decided")
    assert {one["lead"]: (one["state"], one["who"], one["why"]) for one in decided} == {
        "L-1": ("accepted", "ann", ""),
        "L-2": ("refused", "ben", "a shared mailbox"),
    }
    assert all(one["decided"] for one in decided)


def test_a_refusal_says_why_and_is_asked_about(
    matches: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reason, an answer or a match of that id nothing is done; a table tells what becomes of each."""
    assert call("matches", "refuse", "1", "-c", str(matches)) == 2
    assert "--why" in capsys.readouterr().err
    assert call("matches", "accept", "-c", str(matches)) == 2
    monkeypatch.setattr("sys.stdin", None)
    assert call("matches", "refuse", "1", "--why", "w", "-c", str(matches)) == 2
    assert "say --yes" in capsys.readouterr().err
    assert call("matches", "accept", "1", "9", "-c", str(matches)) == 2
    assert "[config.no-match] the ledger: there is no match 9" in capsys.readouterr().err
    assert call("matches", "refuse", "1", "--why", "w", "--dry-run", "-c", str(matches)) == 0
    assert "the pair is not proposed again" in capsys.readouterr().out
    assert call("matches", "list", "--decided", "-c", str(matches)) == 0
    assert "L-1" not in capsys.readouterr().out


def test_status_says_how_many_wait(matches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In its tables, with the code and remedy of their letters, and as JSON."""
    assert call("status", "-c", str(matches)) == 0
    said = capsys.readouterr().out
    assert "matches: 2" in said
    assert "push.match-proposed" in said
    assert call("status", "--json", "-c", str(matches)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["matches"] == 2
    assert told["connections"][0]["matches"]["waiting"] == 2
