"""The pages lead where they say, and every code that the bridge can produce is explained."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sales_crm_bridge.findings import FINDINGS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
AREAS = (
    "contract",
    "http",
    "crm",
    "kafka",
    "ledger",
    "lease",
    "relay",
    "push",
    "hubspot",
    "memory",
    "rest",
    "quota",
    "rpc",
    "sign-in",
)
CODE = re.compile(rf'"((?:{"|".join(AREAS)})\.[a-z0-9-]+)"')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_resolve(page: Path) -> None:
    """A relative link names a file that is there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


TOP = frozenset({".ci", *(entry.name for entry in ROOT.iterdir() if not entry.name.startswith("."))})
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"`([\w.-]+/[\w.<>*/-]*)`")
PROGRAMS = [
    ROOT / "Makefile",
    ROOT / ".ci" / "run",
    *(file for file in sorted((ROOT / "scripts").iterdir()) if file.is_file()),
]


def lacking(paths: Iterable[str]) -> list[str]:
    """Give those that begin with a name at the root of the repository and lead nowhere; ``*`` and ``<…>`` stand for any name."""
    ours = sorted({path for path in paths if path.partition("/")[0] in TOP})
    return [path for path in ours if not any(ROOT.glob(re.sub(r"<[^>]*>", "*", path).rstrip("/")))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """A path of the repository in backticks is that of a file or folder: nobody looks for a test that there is not."""
    assert not lacking(PATH.findall(FENCE.sub("", page.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.relative_to(ROOT)))
def test_scripts_that_the_gate_names_are_there(program: Path) -> None:
    """A script that the Makefile or another script calls or speaks of exists."""
    assert not lacking(re.findall(r"(?<![\w/.])scripts/[\w.]*\w", program.read_text(encoding="utf-8")))


def test_a_path_that_leads_nowhere_is_seen() -> None:
    """The checks above are not blind, and leave alone what is no path of ours."""
    text = "`tests/flow/test_nothing.py`, `tests/*/test_docs.py`, `docs/<page>.md`, `scripts/nothing`, `rim/caller.py`, `/healthz`"
    assert lacking(PATH.findall(text)) == ["scripts/nothing", "tests/flow/test_nothing.py"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_decisions_are_titled_alike(page: Path) -> None:
    """A decision's first line is its number and its title: ``# 0001 One ledger``."""
    number, title = page.stem.split("-")[0], page.read_text(encoding="utf-8").partition("\n")[0]
    assert re.fullmatch(rf"# {number} [A-Z0-9].*[^.:]", title), title


def test_every_code_has_its_line_in_the_operations_page() -> None:
    """What stands in a log, a fact, a dead letter or `status` can be looked up, with what to do about it."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    used = {
        code
        for folder in ("sales_crm_bridge", "adapters")
        for file in (ROOT / folder).rglob("*.py")
        if "pb" not in file.parts and "sandbox" not in file.parts
        for code in CODE.findall(file.read_text(encoding="utf-8"))
    }
    assert len(used) > 60
    missing = sorted(code for code in used - FINDINGS.keys() if f"`{code}`" not in page)
    assert not missing


def told_twice(page: str) -> list[str]:
    """Give the words that begin more than one row of a table, as a merge of two texts leaves them."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        words = [
            word for cell in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for word in re.findall(r"`[^`]+`", cell)
        ]
        found += [word for word, times in Counter(words).items() if times > 1]
    return found


def test_a_word_is_explained_once_in_a_table() -> None:
    """Who looks up a code, a metric or an event of the log finds one row, not an old one and a new one."""
    assert told_twice((ROOT / "docs" / "operations.md").read_text(encoding="utf-8")) == []
    assert told_twice("| code |\n|---|\n| `a`, `b` |\n| `b` |\n\n| `b` |\n") == ["`b`"]


FORM = re.compile(r"[a-z][a-z0-9]*([.-][a-z0-9]+)+")
SAYERS = ("HookRefused", "Refused", "NotSent", "AnswerLost", "unavailable", "_unknown")
FAULTS = ("Fault", "Stopped", "Unavailable", "Lost", "Busy", "Moved")


def codes_of(tree: ast.Module) -> Iterator[str]:
    """Every constant that stands where a code does: behind ``code=`` or ``reason=``, first in what says a fault."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        said = [word.value for word in node.keywords if word.arg in ("code", "reason")]
        if name in SAYERS or name.endswith(FAULTS):
            said += node.args[:2]
        for value in said:
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and FORM.fullmatch(part.value):
                    yield part.value


def test_every_word_for_what_happened_is_explained() -> None:
    """Also those without an area: why a command waits, why a delivery was refused, what a CRM's answer lacked."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    used = {
        code
        for folder in ("sales_crm_bridge", "adapters")
        for file in (ROOT / folder).rglob("*.py")
        if not {"pb", "sandbox", "simulate", "demo", "mapping"} & set(file.parts)
        for code in codes_of(ast.parse(file.read_text(encoding="utf-8")))
        if not code.startswith("bug.")
    }
    assert len(used) > 100
    told = {code.rpartition(".")[2] for code in re.findall(r"`((?:rest|hubspot|memory)\.[a-z-]+)`", page)}
    explained = {*re.findall(r"`([a-z0-9.-]+)`", page), *told, *FINDINGS}
    assert not sorted(used - explained)


def test_every_finding_is_in_the_reference_page() -> None:
    """The codes of the files' findings stand in docs/config.md, which is generated."""
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert not [code for code in FINDINGS if f"`{code}`" not in page]
