"""The generated messages: as the texts say, and beside the platform's own package of the same name."""

import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

from google.protobuf.message_factory import GetMessageClass

from sales_crm_bridge import contract
from sales_crm_bridge.pb import POOL

ROOT = Path(__file__).parents[2]

OTHER = """
syntax = "proto3";
package ameide_core_proto.sales.core.v1;
message SalesMessageMeta { string message_id = 1; string theirs_alone = 60; }
message Invented { int64 number = 1; }
"""

BESIDE = """
import sys
from ameide_core_proto.sales.core.v1 import sales_pb2 as theirs
from sales_crm_bridge import contract
from sales_crm_bridge.pb import sales_pb2 as ours

assert "sales_crm_bridge" not in theirs.__file__, theirs.__file__
assert theirs.SalesMessageMeta.DESCRIPTOR.full_name == ours.SalesMessageMeta.DESCRIPTOR.full_name
assert theirs.SalesMessageMeta is not ours.SalesMessageMeta
assert not hasattr(ours, "Invented") and not hasattr(theirs, "Money")

# Both write and read, each its own text; what crosses are bytes, and what only one side knows survives the other.
meta = theirs.SalesMessageMeta(message_id="m", theirs_alone="kept")
mine = ours.SalesMessageMeta.FromString(meta.SerializeToString())
assert mine.message_id == "m"
assert theirs.SalesMessageMeta.FromString(mine.SerializeToString()).theirs_alone == "kept"
page = contract.FactPage(tenant_id="t", correlation_id="c", causation_id="c")
assert contract.outgoing(page.fact("lead", 1, 1, contract.CrmLeadRemoved()).value).key == b"t/lead"
from sales_crm_bridge.contract import lint
assert lint.main([]) == 0
"""


def platform_package(target: Path) -> None:
    """Generate a package ``ameide_core_proto`` whose sales.proto says something else than ours."""
    source = target / "texts" / "ameide_core_proto" / "sales" / "core" / "v1" / "sales.proto"
    source.parent.mkdir(parents=True)
    source.write_text(OTHER)
    with as_file(files("grpc_tools") / "_proto") as well_known:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"-I{target / 'texts'}",
                f"-I{well_known}",
                f"--python_out={target}",
                str(source),
            ],
            check=True,
        )


def test_both_packages_work_in_one_process(tmp_path: Path) -> None:
    """Our messages and a differing ``ameide_core_proto`` are used side by side, whichever is imported first."""
    platform_package(tmp_path)
    imports = [line for line in BESIDE.splitlines() if line.startswith(("import", "from a", "from s"))]
    other_way = "\n".join([*imports[::-1], BESIDE])
    for program in (BESIDE, other_way):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-P", "-c", program],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr


def test_nothing_of_ours_is_in_the_default_pool() -> None:
    """The platform's names in protobuf's default pool stay free for the platform's own package.

    Asked in a process that has done nothing else: other tests build clients, in the default pool, from the texts alone.
    """
    for rules in contract.ENVELOPES:
        assert POOL.FindMessageTypeByName(rules.full_name) is rules.message.DESCRIPTOR
    names = [rules.full_name for rules in contract.ENVELOPES]
    question = f"""
from google.protobuf import descriptor_pool
import sales_crm_bridge.cli, sales_crm_bridge.contract
for name in {names!r}:
    try:
        descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        continue
    raise SystemExit(name + " is in the default pool")
"""
    subprocess.run([sys.executable, "-c", question], check=True)


def test_the_well_known_types_are_of_our_pool() -> None:
    """A timestamp of our messages is a full Timestamp, though not the public class."""
    stamp = contract.SalesDomainIntent().meta.occurred_at
    assert type(stamp) is GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.Timestamp"))
    contract.set_time(stamp, 1_500_000)
    assert stamp.ToJsonString() == "1970-01-01T00:00:01.500Z"


def test_the_generated_files_are_what_the_texts_say() -> None:
    """Generating anew changes nothing."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_protos.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
