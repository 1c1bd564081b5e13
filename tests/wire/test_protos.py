"""The texts as buf sees them: style, comments, and no break against what was released."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from sales_crm_bridge import contract
from sales_crm_bridge.contract.descriptors import DOMAIN_FACTS, INTEGRATION_FACTS, INTENTS, PROCESS_FACTS

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
BUF = Path(sys.executable).with_name("buf")


def buf(*arguments: str, cwd: Path = PROTOS) -> subprocess.CompletedProcess[str]:
    """Run buf in the folder of the texts."""
    return subprocess.run([BUF, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_texts_are_clean() -> None:
    """Buf's lint and the break check against the released image find nothing."""
    for arguments in (("lint",), ("breaking", "--against", "released.binpb")):
        run = buf(*arguments)
        assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ("optional string email = 6;", "optional string email = 66;"),
        ("optional string email = 6;", "optional string mail = 6;"),
        ("optional string email = 6;", "optional bytes email = 6;"),
        ("  // E-mail address.\n  optional string email = 6;\n", ""),
    ],
)
def test_a_break_is_refused(tmp_path: Path, there: str, then: str) -> None:
    """A field that is renumbered, renamed, retyped or removed without a reservation is a break."""
    shutil.copytree(PROTOS, tmp_path / "protos")
    text = tmp_path / "protos" / "ameide_core_proto" / "sales" / "core" / "v1" / "opportunity.proto"
    before = text.read_text()
    assert before.count(there) == 1
    text.write_text(before.replace(there, then))
    assert buf("breaking", "--against", "released.binpb", cwd=tmp_path / "protos").returncode == 100


def test_the_set_is_complete() -> None:
    """Fifteen intents and one of ours, fifteen facts, six process facts; the released image holds every file of the contract."""
    counts = [len(rules.variants) for rules in (INTENTS, DOMAIN_FACTS, PROCESS_FACTS)]
    assert counts == [16, 15, 6]
    assert len(INTEGRATION_FACTS.variants) == 3 + len(contract.OURS) == 16
    released = {file.name for file in FileDescriptorSet.FromString((PROTOS / "released.binpb").read_bytes()).file}
    texts = {path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto")}
    assert texts == {name for name in released if not name.startswith("google/")}
    assert len(texts) == 11


def test_what_is_set_tells_empty_from_absent() -> None:
    """Every scalar detail of a lead knows whether it was set, so that a revise can clear it and a snapshot can leave it out."""
    without = {"lead_id", "status"}
    for field in contract.Lead.DESCRIPTOR.fields:
        if not field.is_repeated and field.name not in without:
            assert field.has_presence, field.name
