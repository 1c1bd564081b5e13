"""The verbs about dead letters, as an operator calls them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import (
    CommandChange,
    CommandState,
    Commit,
    DeadLetter,
    Fence,
    InboxRow,
    Intake,
    NewCommand,
)
from tests.cli.test_verbs import accepted, call, deployment  # noqa: F401 - fixtures

Ask = Callable[..., Any]


def letter(source: str, code: str, payload: bytes, **more: Any) -> DeadLetter:
    whole = {"tenant": "acme", "lead_id": "L-1", "key": b"acme/L-1", "headers": b"", **more}
    return DeadLetter(
        source=source, code=code, message="what is wrong", remedy="mend it", payload=payload, created_us=1, **whole
    )


def intent(message_id: str) -> bytes:
    body = contract.CreateLeadRequested(lead=contract.Lead(lead_id="L-1", email="ann@sales.example"))
    names = {"message_id": message_id, "correlation_id": "c", "producer": "p"}
    envelope = contract.intent(body, tenant_id="acme", aggregate_id="L-1", occurred_us=1_790_000_000_000_000, **names)
    return contract.record_of(envelope).value


@pytest.fixture
def letters(accepted: Path) -> Path:  # noqa: F811 - the fixture
    """A ledger with three letters: 1 a parked command, 2 noise from the topic, 3 another tenant's record."""

    async def fill() -> None:
        ledger = await open_ledger(f"sqlite:///{accepted.parent / 'bridge.db'}")
        (row,) = await ledger.tenants()
        epochs = await ledger.leases_take(["account/acme"], "p1", 0, 10**16)
        fence = Fence(lease="account/acme", holder="p1", epoch=epochs["account/acme"])
        command = NewCommand(
            conn=row.conn, lead_id="L-1", operation=Operation.CREATE, payload=intent("m-1"), occurred_us=1
        )
        wanted = InboxRow(tenant="acme", message_id="m-1", command=command)
        await ledger.take(Intake(rows=[wanted], dead=(), offsets={}, now_us=1))
        (made,) = await ledger.commands_open(row.conn, ["L-1"])
        parked = CommandChange(seq=made.seq, state=CommandState.PARKED, attempt=1, reason="INVALID_EMAIL")
        headers = msgspec.msgpack.encode([("ce_id", b"m-2"), ("ce_none", None)])
        dead = [
            letter(f"command {made.seq}", "push.validation", intent("m-1")),
            letter(
                "sales.domain.intents.v1[0]@5", "contract.unreadable", b"\xff\xffnoise", headers=headers, lead_id=""
            ),
            letter("beta/record/7@1", "crm.record-unreadable", b'{"id": "7"}', tenant="beta", key=b"7"),
        ]
        await ledger.commit(fence, Commit(conn=row.conn, commands=[parked], dead=dead))
        await ledger.leases_drop("p1", ["account/acme"])
        await ledger.close()

    asyncio.run(fill())
    return accepted


@pytest.fixture
def ask(letters: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Call a verb about dead letters with ``--json``; what it printed, for exit code ``code``."""

    def do(*args: str, code: int = 0) -> Any:
        assert call("deadletters", *args, "-c", str(letters), "--json") == code
        return json.loads(capsys.readouterr().out)

    return do


def test_letters_are_listed_without_their_messages(ask: Ask, letters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them or some, the oldest first; nothing personal, for people or machines."""
    rows = ask("list")
    assert [(one["id"], one["tenant"], one["kind"], one["code"]) for one in rows] == [
        (1, "acme", "command", "push.validation"),
        (2, "acme", "intent", "contract.unreadable"),
        (3, "beta", "record", "crm.record-unreadable"),
    ]
    assert [one["id"] for one in ask("list", "--tenant", "acme", "--after", "1")] == [2]
    assert [one["id"] for one in ask("list", "--code", "crm.record-unreadable")] == [3]
    assert call("deadletters", "list", "-c", str(letters), "--limit", "2") == 0
    said = capsys.readouterr().out
    assert "push.validation" in said
    assert "there may be more: --after 2" in said
    assert "ann@" not in said + json.dumps(rows)


def test_a_letter_is_shown_whole(ask: Ask, letters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An intent and a record as JSON, by the contract's names; what is neither as base64, with its headers."""
    command = ask("show", "1")
    assert command["content"]["create_lead_requested"]["lead"]["email"] == "ann@sales.example"
    noise = ask("show", "2")
    assert noise["content"] == {"base64": "//9ub2lzZQ=="}
    assert noise["headers"] == [["ce_id", "m-2"], ["ce_none", ""]]
    assert ask("show", "3")["content"] == {"id": "7"}
    assert call("deadletters", "show", "2", "-c", str(letters)) == 0
    said = capsys.readouterr().out
    assert "header ce_id: m-2" in said
    assert "remedy: mend it" in said


def test_what_can_go_on_goes_on_and_what_cannot_stays(ask: Ask) -> None:
    """A dry run says the same and does nothing. Exit code 1 says that some stayed."""
    planned = ask("redrive", "--all", "--dry-run", code=1)
    assert planned["closed"] == 0
    assert [(one["id"], one["what"], one["why"]) for one in planned["letters"]] == [
        (1, "again", "INVALID_EMAIL"),
        (2, "stays", "contract.unreadable"),
        (3, "stays", "tenant-out-of-force"),
    ]
    assert len(ask("list")) == 3
    done = ask("redrive", "--all", "--yes", "--by", "ann", "--why", "mapping mended", code=1)
    assert (done["closed"], done["stayed"], done["letters"]) == (1, 2, planned["letters"])
    assert [one["id"] for one in ask("list")] == [2, 3]
    (closed,) = ask("list", "--closed")
    assert (closed["id"], closed["how"], closed["who"], closed["why"]) == (1, "redriven", "ann", "mapping mended")


def test_what_is_dropped_is_gone_and_remembered(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the machine is named where nobody else is."""
    monkeypatch.setenv("LOGNAME", "bob")
    done = ask("drop", "2", "1", "--why", "a test", "--yes")
    assert [(one["id"], one["what"]) for one in done["letters"]] == [(1, "dropped"), (2, "dropped")]
    assert [one["id"] for one in ask("list")] == [3]
    assert {(one["how"], one["who"], one["why"]) for one in ask("list", "--closed")} == {("dropped", "bob", "a test")}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("redrive",), "which dead letters?"),
        (("redrive", "1", "--all"), "not both"),
        (("drop", "1", "--yes"), "--why"),
        (("drop", "--why", "x", "--yes"), "which dead letters?"),
        (("redrive", "1", "99"), "[config.no-dead-letter] the ledger: there is no dead letter 99"),
        (("show", "99"), "[config.no-dead-letter] the ledger: there is no dead letter 99"),
        (("show", "x"), "not a valid integer"),
    ],
    ids=["none", "both", "no reason", "none to drop", "unknown", "unknown to show", "no id"],
)
def test_a_mistake_of_the_caller_does_nothing(
    args: tuple[str, ...], said: str, ask: Ask, letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a word about it; every letter is still there."""
    assert call("deadletters", *args, "-c", str(letters)) == 2
    assert said in capsys.readouterr().err
    assert len(ask("list")) == 3


def test_what_is_about_many_or_for_good_asks_first(
    ask: Ask, letters: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what would become of them; no is no."""
    monkeypatch.setattr(click, "confirm", lambda *_args, **_kwargs: False)
    for args in (("redrive", "--all"), ("drop", "1", "--why", "x")):
        assert call("deadletters", *args, "-c", str(letters)) == 1
        said = capsys.readouterr().err
        assert "1: " in said
        assert "nothing was done" in said
    assert len(ask("list")) == 3
