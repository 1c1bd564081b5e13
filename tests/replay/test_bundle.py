"""A bundle is written whole, read as it was, and refused by name when it is not what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.replay import bundle
from sales_crm_bridge.replay.bundle import (
    Body,
    Bundle,
    Draw,
    Exchange,
    Fact,
    LedgerRow,
    Manifest,
    Notice,
    Round,
    Utterance,
)


def one() -> Bundle:
    """A bundle with a line in each file."""
    return Bundle(
        manifest=Manifest(
            format=bundle.FORMAT,
            bridge="0.1.0",
            contract="1.0.0",
            adapter="hubspot",
            tenant="acme",
            tenant_file="acme.yaml",
            mode="once",
            began_us=1_790_000_000_000_000,
            lasted_us=5,
            hash_key="a key of the bundle's own",
            settings={"push": {"attempts_max": 8}},
            files={},
        ),
        tenant="tenant: acme\n",
        exchanges=[
            Exchange(
                asked_us=1,
                answered_us=2,
                method="POST",
                url="https://crm.example/x?a=b",
                body=Body.of(b"{}"),
                status=200,
                headers=(("content-type", "application/json"),),
                answer=Body.of(b"\xff\x00"),
            ),
            Exchange(
                asked_us=3, answered_us=4, method="GET", url="https://crm.example/y", fault="http.timeout", sent=True
            ),
        ],
        intents=[Utterance(at_us=3, intent={"meta": {"message_id": "m-1"}})],
        notices=[Notice(at_us=4, crm_ids=("512",), rows_max=10)],
        ids=[Draw(name="0123456789abcdef"), Draw(fraction=0.25)],
        rounds=[Round(at_us=4, commands=("m-1",))],
        ledger=[LedgerRow(table="positions", row={"feed": "list"})],
        facts=[Fact(key="acme/L-1", message_id="f-1", sha256="00", fact={"crm_lead_observed": {}})],
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """All parts, bytes that are no text too; and nothing else lies beside it."""
    manifest = bundle.write(one(), tmp_path / "b")
    found = bundle.read(tmp_path / "b")
    assert found == msgspec.structs.replace(one(), manifest=manifest)
    assert found.exchanges[0].answer.bytes() == b"\xff\x00"
    assert manifest.files["ids.jsonl"].lines == 2
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A place that is taken, or in no folder, is refused before anything is written."""
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match=r"already"):
        bundle.write(one(), tmp_path / "b")
    with pytest.raises(ConfigError) as caught:
        bundle.write(one(), tmp_path / "none" / "b")
    assert caught.value.code == "replay.no-folder"
    assert not list((tmp_path / "b").iterdir())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2])


def change(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data.replace(b"a", b"e", 1) if b"a" in data else data + b"\n")


@pytest.mark.parametrize(
    "name",
    [*bundle.PARTS, bundle.TENANT],
)
@pytest.mark.parametrize(
    ("spoil", "code"), [(cut, "replay.truncated"), (Path.unlink, "replay.truncated"), (change, "replay.tampered")]
)
def test_what_was_spoilt_is_refused_by_its_name(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], code: str
) -> None:
    """Cut off, missing or changed: the file is named."""
    bundle.write(one(), tmp_path / "b")
    spoil(tmp_path / "b" / name)
    with pytest.raises(ConfigError) as caught:
        bundle.read(tmp_path / "b")
    assert (caught.value.code, Path(caught.value.place).name) == (code, name)


def edited(file: Path, **values: object) -> None:
    """Change the manifest, as somebody does who does not know of its own hash."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"format": 0}, "replay.format-old"),
        ({"format": 2}, "replay.format-new"),
        ({"format": "one"}, "replay.no-bundle"),
        ({"adapter": "rest"}, "replay.tampered"),
        ({"files": {}}, "replay.tampered"),
    ],
)
def test_another_manifest_is_refused(tmp_path: Path, values: dict[str, object], code: str) -> None:
    """An older or newer format with what to do, a changed one as changed."""
    bundle.write(one(), tmp_path / "b")
    edited(tmp_path / "b" / "manifest.json", **values)
    with pytest.raises(ConfigError) as caught:
        bundle.read(tmp_path / "b")
    assert caught.value.code == code
    assert caught.value.remedy


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(ConfigError) as caught:
        bundle.read(tmp_path)
    assert caught.value.code == "replay.no-bundle"
    assert caught.value.place == str(tmp_path)
