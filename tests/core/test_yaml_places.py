"""YAML 1.2 with places: what is text stays text, everything has a line and a column, and no file can hurt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge import yaml_places

if TYPE_CHECKING:
    from pathlib import Path


def codes(raw: bytes) -> list[str]:
    return [one.code for one in yaml_places.parse(raw, "x.yaml").findings]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            (text, text)
            for text in ("NO", "no", "yes", "on", "off", "y", "2026-01-01", "12:30:45", "1_000", "0b1", "=", "<<")
        ),
        *((text, None) for text in ("", "~", "null", "Null")),
        ("true", True),
        ("False", False),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("'4242'", "4242"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    """The core schema, and no more: NO is Norway, 12:30:45 is no number, and a time is text."""
    document = yaml_places.parse(f"key: {text}\n".encode(), "x.yaml")
    assert not document.findings
    assert isinstance(document.value, dict)
    found = document.value["key"]
    assert (found, type(found)) == (value, type(value))


def test_every_value_and_key_has_its_place() -> None:
    """Lines and columns count from 1; a route that leads past the file stops at what encloses it."""
    document = yaml_places.parse(b"a: 1\nlist:\n  - {owner: crm,\n     from: x}\n", "x.yaml")
    assert str(document.place(("list", 0, "from"))) == "x.yaml:4:12"
    assert str(document.place(("list", 0, "from"), key=True)) == "x.yaml:4:6"
    assert str(document.place(("list", "list[Entry]", 0, "owner"))) == "x.yaml:3:13"
    assert str(document.place(("list", 0, "absent"))) == "x.yaml:3:5"
    assert document.places()["list", "0", "from"] == document.place(("list", 0, "from"))


def test_an_anchor_may_be_used_again() -> None:
    """An alias is its anchor's value."""
    assert yaml_places.parse(b"a: &x {k: [1]}\nb: *x\n", "x.yaml").value == {"a": {"k": [1]}, "b": {"k": [1]}}


def test_a_character_that_json_has_escaped_in_two_halves_is_one() -> None:
    """JSON is YAML: what a JSON writer makes of a character beyond U+FFFF is read as that character."""
    assert yaml_places.parse(rb'{"\ud83d\ude00": "\ud83d\ude00!"}', "x.yaml").value == {"😀": "😀!"}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "yaml.empty"),
        (b"# nothing\n", "yaml.empty"),
        (b"a: [1\n", "yaml.syntax"),
        (b"a: 1\n---\nb: 2\n", "yaml.syntax"),
        (b"a: \x01\n", "yaml.syntax"),
        (b"a: *nothing\n", "yaml.syntax"),
        (rb'a: "\ud83d"', "yaml.syntax"),
        (rb'"\udc00": 1', "yaml.syntax"),
        (b"a: \xff\n", "yaml.not-utf8"),
        (b"a: 1\nb: 2\na: 3\n", "yaml.duplicate-key"),
        (b"a: !!python/name:os.system x\n", "yaml.bad-tag"),
        (b"? [a, b]\n: 1\n", "yaml.bad-key"),
        (b"a: &a [*a]\n", "yaml.cycle"),
        (b"a: " + b"[" * 60 + b"]" * 60, "yaml.too-deep"),
        (b"a: " + b"[" * 10_000, "yaml.too-deep"),
        (b"#" * (yaml_places.BYTES_MAX + 1), "yaml.too-large"),
    ],
)
def test_a_bad_text_is_one_finding(raw: bytes, code: str) -> None:
    """Each way a text can be wrong has its code, once."""
    assert codes(raw) == [code]


def test_a_file_cannot_unfold_without_end() -> None:
    """Aliases of aliases of aliases, a few hundred bytes that stand for millions of values, end at the limit."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{depth}: &a{depth} [{', '.join([f'*a{depth - 1}'] * 10)}]" for depth in range(1, 9)]
    assert codes("\n".join(lines).encode()) == ["yaml.too-deep"]


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    """No exception for what a disk holds."""
    assert [one.code for one in yaml_places.read(tmp_path / "no.yaml", "no.yaml").findings] == ["yaml.unreadable"]


@given(st.one_of(st.binary(max_size=60), st.text("[]{}:,&*!|>-?#'\"\n ax1", max_size=60).map(str.encode)))
def test_no_bytes_raise(raw: bytes) -> None:
    """Whatever the bytes: a value or findings, and every place is inside the file."""
    document = yaml_places.parse(raw, "x.yaml")
    lines = raw.decode("utf-8", "replace").count("\n") + 2
    assert all(one.place.line <= lines for one in document.findings)
    assert not (isinstance(document.value, float) and math.isnan(document.value))
