"""What people see: whole on a terminal of any width, greppable in a pipe, and steered by nobody's words."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from sales_crm_bridge import checkup, observe
from sales_crm_bridge.console import Console
from sales_crm_bridge.errors import Finding, Place
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.state import Commit, DeadLetter, Fence, Gap, Refusal, TenantRow

ESCAPES = re.compile("\x1b\\[[0-9;?]*[a-zA-Z]")
AT_US = 1_790_000_000_000_000
LONG = "word " * 60


class Screen(io.StringIO):
    """A terminal: what was written to it can be looked at."""

    def isatty(self) -> bool:
        return True

    @property
    def plain(self) -> str:
        return ESCAPES.sub("", self.getvalue())


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals, where there is one, have colours and 100 columns, and nothing in the environment says otherwise."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


def screen(monkeypatch: pytest.MonkeyPatch, stream: str = "stdout") -> Screen:
    """From here on ``stream`` is a terminal (a fixture could not do it: pytest's capture comes between)."""
    made = Screen()
    monkeypatch.setattr(sys, stream, made)
    return made


def findings(*places: Place, message: str = "it is wrong", remedy: str = "mend it") -> tuple[Finding, ...]:
    return tuple(Finding(code="config.wrong", message=message, place=place, remedy=remedy) for place in places)


def report(*found: Finding) -> checkup.CheckReport:
    return checkup.CheckReport(findings=found, tenants=())


def test_a_piped_table_is_a_line_a_row_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """``cut -f`` finds each cell, however long the others are, and no colour gets in its way."""
    Console().table("things", ("name", "what", "how"), [("a", LONG, 1), ("b", "", 2)])
    assert capsys.readouterr().out.splitlines() == ["things", "name\twhat\thow", f"a\t{LONG}\t1", "b\t\t2"]


def test_colours_are_for_terminals_whose_owner_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a good end is green; with ``NO_COLOR`` the same words come without any colour."""
    bright = screen(monkeypatch)
    Console().check(report())
    monkeypatch.setenv("NO_COLOR", "1")
    sober = screen(monkeypatch)
    Console().check(report())
    assert "\x1b[32m" in bright.getvalue()
    assert "\x1b[3" not in sober.getvalue()
    assert sober.plain == bright.plain


@pytest.mark.parametrize("columns", [30, 60, 100, 240])
def test_no_cell_is_lost_on_a_terminal_of_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table or blocks: every sign of every cell is shown, and no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = screen(monkeypatch)
    cells = [f"cell-{number}" for number in range(9)]
    Console().table("things", [f"column-{number}" for number in range(9)], [[*cells[:-1], "x" * 300]])
    lines = shown.plain.splitlines()
    assert shown.plain.count("x") == 300
    assert all(any(cell in line for line in lines) for cell in cells[:-1])
    assert max(map(cell_len, lines)) <= columns


@pytest.mark.parametrize("piped", [True, False])
def test_foreign_words_steer_neither_terminal_nor_lines(
    piped: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences, line ends, changes of direction and the printer's own markup in a CRM's words are just signs."""
    shown = None if piped else screen(monkeypatch)
    nasty = "a\x1b]0;owned\x07b\r\nc\td\u202e\u2028[red]e[/red]\x9bf"
    Console().check(report(*findings(Place(file="x\x1b[2J.yaml", line=1), message=nasty, remedy=nasty)))
    Console().table(nasty, ("what", "how"), [(nasty, nasty)])
    said = capsys.readouterr().out if shown is None else shown.plain
    assert not set("\x1b\x07\r\u202e\u2028\x9b") & set(said)
    assert said.count("[red]e[/red]") == 5
    if piped:
        assert len(said.splitlines()) == 7
        assert said.splitlines()[-1].count("\t") == 1


def test_findings_stand_together_by_file_in_the_order_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Every finding once, under its file, with its place and what to do; and how many there are in all."""
    b, a9, a10 = Place(file="b.yaml"), Place(file="a.yaml", line=9, column=2), Place(file="a.yaml", line=10)
    Console().check(report(*findings(b, a10, a9)))
    said = capsys.readouterr().out
    assert re.findall(r"^\[config.wrong\] (\S+): it is wrong$", said, re.MULTILINE) == [
        "a.yaml:9:2",
        "a.yaml:10",
        "b.yaml",
    ]
    assert said.count("  Fix: mend it\n") == 3
    assert said.splitlines()[-1] == "3 problems in all"


def test_where_json_is_wanted_nothing_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A console for machines is silent: what they get is printed elsewhere."""
    console = Console(as_json=True)
    console.say("hello")
    console.table("things", ("name",), [("a",)])
    console.check(report(*findings(Place(file="a.yaml"))))
    with console.progress() as progress:
        progress.tell("acme", "list", 1)
    assert capsys.readouterr() == ("", "")


async def test_status_says_what_stands_in_the_way_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped connection is told with its code, message and remedy; one that waits says that nobody need act."""
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'b.db'}", migrate=True)
    try:
        conns = {}
        for tenant in ("acme", "umbrella"):
            row = TenantRow(
                tenant=tenant,
                text="",
                digest="d",
                accepted_us=AT_US,
                connection="main",
                adapter="hubspot",
                account=f"account-of-{tenant}",
            )
            conns[tenant] = await ledger.tenant_accept(row)
        await ledger.connection_say(conns["acme"], "stopped", "crm.consent", "consent is gone", "sign in anew", AT_US)
        await ledger.connection_say(conns["umbrella"], "unavailable", "crm.unavailable", "no answer", "", AT_US)
        told = await observe.report(ledger, AT_US + 1)
    finally:
        await ledger.close()
    Console().status(told)
    lines = capsys.readouterr().out.splitlines()
    (acme,) = [line.split("\t") for line in lines if line.startswith("acme\t")]
    assert acme[:3] == ["acme", "hubspot/account-of-acme", "stopped"]
    assert lines[lines.index("[crm.consent] acme: consent is gone") + 1] == "  Fix: sign in anew"
    after = lines[lines.index("[crm.unavailable] umbrella: no answer") + 1]
    assert after.startswith("  Fix: none is needed")


async def troubled(tmp_path: Path) -> dict[str, Any]:
    """A status report of a ledger with dead letters, a gap, and a file that two processes refuse."""
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'b.db'}", migrate=True)
    try:
        row = TenantRow(
            tenant="acme", text="", digest="d", accepted_us=AT_US, connection="main", adapter="hubspot", account="1"
        )
        conn = await ledger.tenant_accept(row)
        taken = await ledger.leases_take(["x", "process/p1", "process/p2"], "p1", AT_US, AT_US + 60_000_000)
        for number, holder in enumerate(("p1", "p2")):
            refusal = Refusal(
                holder=holder,
                number=0,
                since_us=AT_US + number * 1_000_000,
                code="config.bad-value",
                place="tenants/beta.yaml:3:5",
                message="no such word",
                remedy="mend the word",
            )
            await ledger.refuse(holder, [refusal])
        letters = [
            DeadLetter(
                source=str(number),
                tenant=tenant,
                lead_id="L-1",
                code=code,
                message=f"message {number}",
                remedy=f"remedy {number}",
                key=b"",
                payload=b"personal",
                headers=b"",
                created_us=AT_US + number,
            )
            for number, (tenant, code) in enumerate(
                [("acme", "push.validation"), ("acme", "push.validation"), ("", "contract.unreadable")]
            )
        ]
        gap = Gap(id="g", conn=conn, feed="intents", from_us=0, to_us=1, cause="offsets 3..9 are gone", opened_us=AT_US)
        fence = Fence(lease="x", holder="p1", epoch=taken["x"])
        await ledger.commit(fence, Commit(conn=conn, dead=letters, gaps=[gap]))
        return await observe.report(ledger, AT_US + 1)
    finally:
        await ledger.close()


@pytest.mark.parametrize("watched", [False, True])
async def test_status_shows_refused_files_dead_letters_and_gaps_with_their_remedies(
    watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a person must act on is told as it is to machines: code, whose it is, how many, since when, and what to do.

    A file that several processes refuse is one problem; of many dead letters with one code the newest speaks; no lead is named.
    ``--watch`` shows the same.
    """
    told = await troubled(tmp_path)
    shown = screen(monkeypatch) if watched else None
    Console().status(told, clear=watched)
    said = capsys.readouterr().out if shown is None else shown.plain
    assert dict(re.findall(r"^(\[.+\] .+)\n  Fix: (.+)$", said, re.MULTILINE)) == {
        "[config.bad-value] tenants/beta.yaml:3:5: no such word (refused by 2 processes since 2026-09-21T14:13:20Z)": (
            "mend the word"
        ),
        "[contract.unreadable] no known tenant: 1 dead letter since 2026-09-21T14:13:20Z: message 2": "remedy 2",
        "[push.validation] acme: 2 dead letters since 2026-09-21T14:13:20Z: message 1": "remedy 1",
        "[gap.open] acme/main intents: open since 2026-09-21T14:13:20Z: offsets 3..9 are gone": observe.GAP_REMEDY,
    }
    assert "L-1" not in said
    assert "personal" not in said


def test_progress_is_drawn_beside_the_output_and_only_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal standard error shows how far each feed is; in a pipe nothing is said; standard output stays clean."""
    with Console().progress() as progress:
        progress.tell("acme", "list", 3)
    assert capsys.readouterr() == ("", "")
    drawn = screen(monkeypatch, "stderr")
    with Console().progress() as progress:
        progress.tell("acme", "list", 3, 10)
        progress.tell("acme", "list", 7, 10)
        progress.tell("umbrella", "search", 2)
    last = [line for line in drawn.plain.splitlines() if line.startswith("acme list")][-1]
    assert "7/10" in last
    assert "umbrella search" in drawn.plain
    assert capsys.readouterr().out == ""
