#!/usr/bin/env python3
"""Generate ``sales_crm_bridge/pb`` from ``protos/``: message classes and type stubs, flat, in a descriptor pool of our own.

    python scripts/generate_protos.py           write
    python scripts/generate_protos.py --check   write nothing; exit 1 if what is there differs

protoc's own Python output registers every file in protobuf's default pool under the file's path, and imports its
dependencies by the package ``ameide_core_proto``. Both belong to the platform, whose own package of that name may be installed
beside us. So two things are rewritten: imports go to ``sales_crm_bridge.pb``, and the pool is ``sales_crm_bridge.pb.POOL``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "sales_crm_bridge" / "pb"
PACKAGE = "sales_crm_bridge.pb"
KEPT = {"__init__.py"}  # written by hand

_IMPORT = re.compile(r"^from ameide_core_proto\.[a-z0-9_.]+ import (\w+_pb2) as (\w+)$", re.MULTILINE)
_WELL_KNOWN = re.compile(r"^from google\.protobuf import \w+_pb2 as google_dot_\w+\n", re.MULTILINE)
_POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
_POOL = "_descriptor_pool.Default()"
_MODULE = re.compile(r"'ameide_core_proto\.[a-z0-9_.]+\.(\w+_pb2)'")


def sources() -> list[str]:
    """The contract's files, relative to ``protos/``, in a fixed order. Raises if two would share one flat name."""
    found = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    names = [Path(path).name for path in found]
    if len(set(names)) != len(names):
        raise SystemExit("two .proto files share a name; the generated package is flat")
    return found


def run_protoc(out: Path) -> None:
    """Run protoc with both generators into ``out``."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    with as_file(files("grpc_tools") / "_proto") as well_known:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"-I{PROTOS}",
                f"-I{well_known}",
                f"--plugin=protoc-gen-mypy={plugin}",
                f"--python_out={out}",
                f"--mypy_out=quiet:{out}",
                *sources(),
            ],
            check=True,
        )


def rewrite(text: str, *, stub: bool) -> str:
    """One generated file as we keep it. Raises if protoc's output no longer has the places that must be rewritten."""
    text = _IMPORT.sub(rf"from {PACKAGE} import \1 as \2", text)
    if not stub:
        if text.count(_POOL_IMPORT) != 1 or text.count(_POOL) != 1:
            raise SystemExit("protoc's output has changed: the descriptor pool is not where it was")
        text = text.replace(_POOL_IMPORT, f"from {PACKAGE} import POOL as _POOL\n").replace(_POOL, "_POOL")
        text = _WELL_KNOWN.sub("", text)  # our pool has its own
        text = _MODULE.sub(rf"'{PACKAGE}.\1'", text)
    if re.search(r"^(?:from|import) ameide_core_proto", text, re.MULTILINE):
        raise SystemExit("an import of the platform's package is left")
    return text


def generate() -> dict[str, str]:
    """File name → text of everything that is generated."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        run_protoc(out)
        paths = sorted(path for path in out.rglob("*_pb2.py*") if path.is_file())
        return {path.name: rewrite(path.read_text(), stub=path.suffix == ".pyi") for path in paths}


def main() -> int:
    """Write the files, or say which of them differ."""
    parser = argparse.ArgumentParser(description="generate sales_crm_bridge/pb from protos/")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if what is there differs")
    check = parser.parse_args().check
    wanted = generate()
    present = {path.name for path in TARGET.glob("*.py*") if path.name not in KEPT}
    differing = sorted(name for name, text in wanted.items() if not _same(TARGET / name, text))
    stale = sorted(present - set(wanted))
    if check:
        for name in (*differing, *stale):
            print(f"{TARGET.relative_to(ROOT) / name} is not what protos/ says", file=sys.stderr)
        return 1 if differing or stale else 0
    for name in differing:
        (TARGET / name).write_text(wanted[name])
    for name in stale:
        (TARGET / name).unlink()
    return 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
