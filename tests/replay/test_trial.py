"""A tenant's file in a bundle says what it says and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sales_crm_bridge import yaml_places
from sales_crm_bridge.replay.trial import uncommented

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("# ask Ada\na: 1 # Ada's\n\nb: '# no comment'\n", "a: 1\nb: '# no comment'\n"),
        ('a: x#y\nb: "it\'s # here" # not here\n', 'a: x#y\nb: "it\'s # here"\n'),
        ("a: it's # Ada\n", "a: it's\n"),
        ("a: |\n  x\n  # kept: it is text\n", '{\n  "a": "x\\n# kept: it is text\\n"\n}\n'),
    ],
)
def test_comments_go_and_nothing_else(text: str, bare: str) -> None:
    """Outside quotes alone; a text that would lose a line is written as JSON, which means the same."""
    assert uncommented(text) == bare
    assert yaml_places.parse(bare.encode(), "").value == yaml_places.parse(text.encode(), "").value


@pytest.mark.parametrize("file", sorted((ROOT / "config" / "tenants").glob("*.yaml")), ids=lambda file: file.name)
def test_the_example_files_mean_the_same_without_their_comments(file: Path) -> None:
    """Line for line, not as JSON."""
    text = file.read_text(encoding="utf-8")
    bare = uncommented(text)
    assert "#" not in bare
    assert not bare.startswith("{")
    assert yaml_places.parse(bare.encode(), "").value == yaml_places.parse(text.encode(), "").value
