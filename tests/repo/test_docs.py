"""The pages lead where they say, and every code that the bridge can produce is explained."""

import re
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


def test_every_finding_is_in_the_reference_page() -> None:
    """The codes of the files' findings stand in docs/config.md, which is generated."""
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert not [code for code in FINDINGS if f"`{code}`" not in page]
