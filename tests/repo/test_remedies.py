"""Whatever a person may be shown as wrong comes with what to do: no fault or finding is made without a remedy."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sales_crm_bridge.findings import FINDINGS

ROOT = Path(__file__).parents[2]
SHOWN = {
    "ConnectionStopped",
    "CrmUnavailable",
    "EnvironmentFault",
    "Finding",
    "QuotaExhausted",
    "RuntimeFault",
    "SignInRefused",
    "Stop",
}
"""What is shown in a report, in ``status`` or in the log. (``LeaseLost`` and ``PlaceMoved`` end a step and are not.)"""


def silent(tree: ast.Module) -> Iterator[int]:
    """Yield the line of each one that is made without a remedy, or with an empty one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SHOWN:
            given = next((word.value for word in node.keywords if word.arg == "remedy"), None)
            if given is None or (isinstance(given, ast.Constant) and not given.value):
                yield node.lineno


def test_no_fault_and_no_finding_is_made_without_a_remedy() -> None:
    """In the bridge and in every adapter; the table of findings has one for each code."""
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for folder in ("sales_crm_bridge", "adapters")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not {"pb", "sandbox"} & set(file.parts)
        for line in silent(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []
    assert not [code for code, explained in FINDINGS.items() if not explained.remedy]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('EnvironmentFault("a.b", "x")', [1]),
        ('Finding(code="a.b", message="x", place=p, remedy="")', [1]),
        ('Finding(code="a.b", message="x", place=p, remedy=why)', []),
    ],
)
def test_the_check_sees_what_it_looks_for(source: str, lines: list[int]) -> None:
    """The check above is not blind."""
    assert list(silent(ast.parse(source))) == lines
