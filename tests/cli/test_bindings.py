"""The verbs about bindings and about what is under way, as an operator calls them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sales_crm_bridge import seeding, wiring
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.model import LeadState, Operation
from sales_crm_bridge.roster import row_of
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.state import (
    Binding,
    CommandChange,
    CommandState,
    Commit,
    Fence,
    InboxRow,
    Intake,
    NewCommand,
    lease_name,
)
from sales_crm_bridge.tenants import parse
from sales_crm_bridge.units import time_us
from tests.cli.test_online import shop
from tests.cli.test_verbs import accepted, call, deployment, surroundings  # noqa: F401 - fixtures

T = TypeVar("T")
LEASE = lease_name("acme", "hubspot")


def on_ledger(config: Path, work: Callable[[SqlLedger], Awaitable[T]]) -> T:
    async def main() -> T:
        ledger = await open_ledger(f"sqlite:///{config.parent / 'bridge.db'}")
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    return asyncio.run(main())


class Desk:
    """Where an operator works: a deployment with a ledger, and the pairs in a file."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self.folder = config, config.parent
        self._capsys = capsys

    def write(self, text: str, name: str = "pairs.csv") -> str:
        file = self.folder / name
        file.write_text(text)
        return str(file)

    def ask(self, *verb: str, code: int = 0) -> str:
        self._capsys.readouterr()
        given = call(*verb, "-c", str(self.config))
        said = self._capsys.readouterr()
        assert given == code, said
        return said.out or said.err

    def told(self, *verb: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(*verb, "--json", code=code))
        return found


@pytest.fixture
def desk(deployment: Path, capsys: pytest.CaptureFixture[str]) -> Desk:  # noqa: F811 - the fixture
    assert call("migrate", "-c", str(deployment)) == 0
    return Desk(deployment, capsys)


PAIRS = "lead_id,crm_id\nL-1,70\nL-2,71\nL-2,71\nL-3,72\nL-4,72\noops\n"


def test_pairs_are_imported_once_and_what_does_not_match_is_told(desk: Desk) -> None:
    """Before the tenant is in force, from a draft: a dry run, the import, the same again, and out again in the same form."""
    file = desk.write(PAIRS)
    draft = desk.folder / "acme-draft.yaml"
    (desk.folder / "tenants" / "acme.yaml").rename(draft)
    verb = ("bindings", "import", file, "--tenant", "acme", "--draft", str(draft))
    counts = {"lines": 6, "repeated": 1, "refused": 3}
    codes = {"bindings.bad-line": 1, "bindings.twice-in-file": 2}
    dry = desk.told(*verb, "--dry-run", code=1)
    assert dry.items() >= {**counts, "bound": 2, "known": 0, "dry_run": True, "codes": codes}.items()
    assert [one["line"] for one in dry["misfits"]] == [5, 6, 7]
    assert on_ledger(desk.config, lambda ledger: ledger.connection_find("acme", "hubspot")) == 0
    done = desk.told(*verb, code=1)
    assert done.items() >= {**counts, "bound": 2, "known": 0, "codes": codes}.items()
    again = desk.told(*verb, code=1)
    assert again.items() >= {**counts, "bound": 0, "known": 2, "codes": codes}.items()
    said = desk.ask(*verb, code=1)
    assert "known\t2" in said
    assert "[bindings.bad-line] line 7:" in said
    draft.rename(desk.folder / "tenants" / "acme.yaml")
    out = desk.ask("bindings", "export", "--tenant", "acme")
    assert out == "lead_id,crm_id,state\nL-1,70,live\nL-2,71,live\n"
    lines = desk.ask("bindings", "export", "--tenant", "acme", "--json")
    back = desk.told("bindings", "import", desk.write(lines, "back.jsonl"), "--tenant", "acme")
    assert (back["known"], back["bound"], back["refused"]) == (2, 0, 0)


def test_a_pair_that_the_ledger_contradicts_is_refused(desk: Desk) -> None:
    """Bound to another record, to another lead: the binding stays, and both are named."""
    desk.ask("bindings", "import", desk.write("lead_id,crm_id\nL-1,70\nL-2,71\n"), "--tenant", "acme")
    wrong = desk.told("bindings", "import", desk.write("lead_id,crm_id\nL-1,79\nL-9,71\n"), "--tenant", "acme", code=1)
    assert wrong["codes"] == {"bindings.lead-bound": 1, "bindings.record-bound": 1}
    assert "'L-2'" in wrong["misfits"][1]["message"]
    assert desk.ask("bindings", "export", "--tenant", "acme").splitlines()[1:] == ["L-1,70,live", "L-2,71,live"]


@pytest.mark.parametrize(
    ("pairs", "tenant", "code"),
    [("L-1,70\n", "acme", "bindings.bad-file"), ("lead_id,crm_id\n", "beta", "config.no-tenant")],
)
def test_what_cannot_be_imported_at_all_is_a_mistake_of_the_caller(
    pairs: str, tenant: str, code: str, desk: Desk
) -> None:
    """No header; no such tenant: exit code 2, and what to do."""
    said = desk.ask("bindings", "import", desk.write(pairs), "--tenant", tenant, code=2)
    assert f"[{code}]" in said
    assert "Fix: " in said


def test_a_draft_of_another_tenant_or_account_is_refused(desk: Desk) -> None:
    """Pairs of one account must not be bound in another one."""
    pairs = desk.write("lead_id,crm_id\nL-1,70\n")
    text = (desk.folder / "tenants" / "acme.yaml").read_text()
    draft = desk.write(text.replace('account: "4242"', 'account: "9999"'), "draft.yaml")
    tenant, _ = parse(text.encode(), "acme.yaml", wiring.catalogue(), secrets=False)
    assert tenant is not None
    on_ledger(desk.config, lambda ledger: ledger.tenant_accept(row_of(tenant, 1)))
    said = desk.ask("bindings", "import", pairs, "--tenant", "acme", "--draft", draft, code=2)
    assert "[tenant.account-moved]" in said
    said = desk.ask("bindings", "import", pairs, "--tenant", "beta", "--draft", draft, code=2)
    assert "[tenant.wrong-file]" in said


def test_two_imports_at_once_do_not_mix(desk: Desk) -> None:
    """The second is turned away while the first holds the account; a process that does not let go is not waited for for ever."""
    pairs = desk.write("lead_id,crm_id\nL-1,70\n")

    async def take(ledger: SqlLedger, *names: str) -> None:
        await ledger.leases_take(names, "somebody", 1, 10**17)

    async def drop(ledger: SqlLedger, *names: str) -> None:
        await ledger.leases_drop("somebody", names)

    verb = ("bindings", "import", pairs, "--tenant", "acme", "--wait", "300ms")
    on_ledger(desk.config, lambda ledger: take(ledger, f"hold/{LEASE}"))
    assert "[bindings.import-elsewhere]" in desk.ask(*verb, code=1)
    on_ledger(desk.config, lambda ledger: drop(ledger, f"hold/{LEASE}"))
    on_ledger(desk.config, lambda ledger: take(ledger, LEASE))
    assert "[bindings.account-busy]" in desk.ask(*verb, code=1)
    on_ledger(desk.config, lambda ledger: drop(ledger, LEASE))
    assert desk.told(*verb)["bound"] == 1
    leases = on_ledger(desk.config, lambda ledger: ledger.leases())
    assert {lease.until_us for lease in leases} == {0}


def test_a_large_file_goes_in_batches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was written stays when the next one fails; then the import goes on behind it."""
    monkeypatch.setattr(seeding, "BATCH", 10)
    pairs = desk.write("lead_id,crm_id\n" + "".join(f"L-{at},{at}\n" for at in range(35)))
    commit, batches = SqlLedger.commit, 0

    async def failing(self: SqlLedger, fence: Fence, done: Commit) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise OSError
        await commit(self, fence, done)

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "commit", failing)
        assert call("bindings", "import", pairs, "--tenant", "acme", "-c", str(desk.config)) == 1
    told = desk.told("bindings", "import", pairs, "--tenant", "acme")
    assert (told["known"], told["bound"]) == (20, 15)


# --- what is under way ------------------------------------------------------------------------------------------------


def in_force(desk: Desk, *entries: tuple[str, timedelta]) -> int:
    """Accept the tenant's file with these entries after its own, by the time from now on; its connection."""
    now = datetime.now(UTC)
    text = (desk.folder / "tenants" / "acme.yaml").read_text()
    after = "  - {owner: crm, from: 2026-01-01T00:00:00Z}\n"
    assert after in text
    more = "".join(f"  - {{owner: {owner}, from: {(now + since).isoformat()}}}\n" for owner, since in entries)
    text = text.replace(after, more)
    (desk.folder / "tenants" / "acme.yaml").write_text(text)
    tenant, found = parse(text.encode(), "acme.yaml", wiring.catalogue(), secrets=False)
    assert tenant is not None, found
    return on_ledger(desk.config, lambda ledger: ledger.tenant_accept(row_of(tenant, 1)))


def intent(desk: Desk, conn: int) -> int:
    """Take an intent in; its command's number."""
    new = NewCommand(conn=conn, lead_id="L-1", operation=Operation.REVISE, payload=b"x", occurred_us=5)

    async def work(ledger: SqlLedger) -> int:
        row = InboxRow(tenant="acme", message_id="m-1", command=new)
        await ledger.take(Intake(rows=[row], dead=(), offsets={}, now_us=5))
        (command,) = await ledger.commands_open(conn, ["L-1"])
        return command.seq

    return on_ledger(desk.config, work)


def becomes(desk: Desk, conn: int, seq: int, state: CommandState) -> None:
    async def work(ledger: SqlLedger) -> None:
        taken = await ledger.leases_take([LEASE], "p", 1, 2)
        fence = Fence(lease=LEASE, holder="p", epoch=taken[LEASE])
        held = Binding(conn=conn, lead_id="L-1", crm_id="70", state=LeadState.LIVE, aggregate_version=0)
        change = CommandChange(seq=seq, state=state, finished_us=9)
        await ledger.commit(fence, Commit(conn=conn, bindings=[held], commands=[change]))
        await ledger.leases_drop("p", [LEASE])

    on_ledger(desk.config, work)


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_what_is_under_way_is_told_until_nothing_is(desk: Desk) -> None:
    """Not yet the domain's; a command waits; it is parked, so waiting is over at once; it is done, and the tenant handed back."""
    conn = in_force(desk, ("crm", -DAY), ("domain", timedelta(seconds=2)))
    verb = ("tenant", "under-way", "acme")
    told = desk.told(*verb, code=1)
    assert (told["owner"], told["next"], told["code"]) == ("crm", "domain", "handover.not-yet")
    seq = intent(desk, conn)
    told = desk.told(*verb, "--wait", "--timeout", "3s", code=1)
    assert (told["owner"], told["code"], told["commands"]["open"]) == ("domain", "handover.under-way", 1)
    becomes(desk, conn, seq, CommandState.PARKED)
    told = desk.told(*verb, "--wait", code=1)
    assert (told["code"], told["commands"]) == ("handover.needs-person", {"open": 0, "unknown": 0, "parked": 1})
    assert "deadletters list --tenant acme" in desk.ask(*verb, code=1)
    becomes(desk, conn, seq, CommandState.DONE)
    assert desk.told(*verb, "--wait")["handed_back"] is True
    assert "nothing is under way" in desk.ask(*verb)


def test_nobody_waits_for_what_never_comes(desk: Desk) -> None:
    """No entry gives the leads back; a retired tenant's commands are carried out by nobody; there is no such tenant."""
    conn = in_force(desk, ("crm", -DAY))
    assert desk.told("tenant", "under-way", "acme", code=1)["code"] == "handover.not-yet"
    assert "[handover.no-end]" in desk.ask("tenant", "under-way", "acme", "--wait", code=2)
    assert "[config.no-tenant]" in desk.ask("tenant", "under-way", "beta", "--wait", code=2)
    intent(desk, conn)
    assert "Open commands: 1. They" in desk.ask("tenant", "retire", "acme", "--yes")
    assert "[connection.out-of-force]" in desk.ask("tenant", "under-way", "acme", "--wait", code=1)


def test_status_and_check_say_from_when(desk: Desk) -> None:
    """A `from` to come stands in both, for people and for machines."""
    in_force(desk, ("crm", HOUR))
    (connection,) = desk.told("status")["connections"]
    leads = connection["leads"]
    assert (leads["owner"], leads["next"]) == ("domain", "crm")
    assert f"domain, crm from {leads['from']}" in desk.ask("status")
    (checked,) = desk.told("check")["tenants"]
    assert checked["leads"].startswith(f"domain, crm from {leads['from']}, in 59m")
    assert time_us(leads["from"]) > 0


async def test_the_crm_is_asked_for_what_is_to_be_bound(tmp_path: Path) -> None:
    """--online, in a dry run and in earnest: a record that is gone, one with another lead's key, one that is good."""
    crm = Portal.seeded(seed=1, leads=3, clock=time.time, vices=Vices(search_per_s=100))
    crm.add_property("contacts", "bridge_lead_id", unique=True)
    good, gone, theirs = sorted(crm.truth().live["contacts"])
    crm.person.delete(gone)
    crm.person.edit(theirs, {"bridge_lead_id": "L-9"})
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"lead_id,crm_id\nL-1,{good}\nL-2,{gone}\nL-3,{theirs}\nL-4,999999\n")
    async with shop(tmp_path, crm) as deployed:
        assert (await deployed.call("migrate"))[0] == 0
        verb = ("bindings", "import", str(pairs), "--tenant", "acme", "--online", "--json")
        for more, known in ((("--dry-run",), 0), ((), 0), ((), 1)):
            code, said = await deployed.call(*verb, *more)
            told = json.loads(said)
            assert (code, told["known"], told["bound"]) == (1, known, 1 - known), said
            assert told["codes"] == {"bindings.key-differs": 1, "bindings.no-record": 2}
            assert [one["line"] for one in told["misfits"]] == [3, 4, 5]
