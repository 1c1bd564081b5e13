"""Other tools beside the bridge: same CRM, same rounds, their own environment; what is told of them is of one set of versions."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import beside
from benchmarks.cases import CASES
from benchmarks.measuring import Measured
from benchmarks.place import Place

ROOT = Path(__file__).parents[2]
PROGRAMS = {name: ROOT / "benchmarks" / "peers" / file for name, (_, file) in beside.TOOLS.items()}


def test_without_their_environment_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing runs, the exit code is the one for an environment that lacks something, and the remedy is named."""
    monkeypatch.setattr(beside, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(command, "say", print)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--peers", "--count", "1", "--rounds", "1"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 3
    assert "make bench-peers" in capsys.readouterr().out
    assert re.search(r"^bench-peers: venv \$\(PEERS\)/\.stamp", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_they_run_beside_the_same_work_and_only_when_asked() -> None:
    """With ``--peers``: each tool and our pull to SQLite on both servers. Without: none of them, so that a run stays as long."""

    def chosen(*, peers: bool) -> set[str]:
        return set(command.part(argparse.Namespace(studies=False, peers=peers)))

    theirs = {f"pull.{adapter}.{tool}" for adapter in ("hubspot", "rest") for tool in beside.TOOLS}
    assert chosen(peers=True) == theirs | {"pull.hubspot.sqlite", "pull.rest.sqlite"}
    assert chosen(peers=False) == set(CASES) - theirs
    for name in theirs:
        ours = CASES[name.rpartition(".")[0] + ".sqlite"]
        assert (CASES[name].floor, CASES[name].page) == (ours.floor, ours.page)


@pytest.mark.parametrize("tool", PROGRAMS)
def test_a_tool_is_measured_without_us(tool: str) -> None:
    """Its program imports nothing of the bridge or of the benchmarks: what it costs is its own."""
    tree = ast.parse(PROGRAMS[tool].read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.startswith(("benchmarks", "sales_crm"))]
    assert {"Keeps:", "Does not:"} <= set(re.findall(r"Keeps:|Does not:", ast.get_docstring(tree) or ""))


async def test_what_a_tool_tells_is_taken_and_its_failure_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON line is its figures; a tool that read too little fails the run with its own words."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('import sys\nprint(\'{"count": %s, "cpu_s": 1.0, "wall_s": 2.0, "peak_mb": 3.0}\' % sys.argv[3])\n')
    bad.write_text('import sys\nsys.exit(f"read 6 of {sys.argv[3]} leads")\n')
    monkeypatch.setitem(beside.TOOLS, "good", ("good", str(good)))
    monkeypatch.setitem(beside.TOOLS, "bad", ("bad", str(bad)))
    place = Place(count=7, page=2, crm="http://127.0.0.1:1", peers=sys.executable)
    assert await beside.runs("good")(place) == Measured(count=7, cpu_s=1.0, wall_s=2.0, peak_mb=3.0)
    with pytest.raises(RuntimeError, match=r"bad\.py: exit 1\nread 6 of 7 leads"):
        await beside.runs("bad")(place)


def test_the_tables_tell_of_the_versions_in_the_lock() -> None:
    """Figures of one version beside the lock of another would mislead: a new lock asks for a new run."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page.partition("## Beside other tools\n")[2].partition("\n## ")[0]
    tables = [block for block in section.split("\n\n") if block.startswith("|")]
    told = [dict(re.findall(r"`(dlt|singer-sdk|airbyte-cdk)` (\d[\w.]*)", table)) for table in tables]
    assert told == [beside.versions()]
    assert all(f"({Path('..') / program.relative_to(ROOT)})" in section for program in PROGRAMS.values())
