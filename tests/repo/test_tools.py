"""scripts/tools with a stand-in for Go: how the programs are built that Debian does not have."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
GO = """#!/usr/bin/env bash
echo "CGO_ENABLED=$CGO_ENABLED GOTOOLCHAIN=$GOTOOLCHAIN $*" >"$ASKED"
mkdir -p "$GOBIN" && touch "$GOBIN/kustomize" && chmod +x "$GOBIN/kustomize"
"""


def test_kustomize_is_built_without_a_c_compiler(tmp_path: Path) -> None:
    """Debian's Go comes without gcc: it is told to need none, to build one version, and to fetch no other Go."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "promtool").write_text("")
    (tools / "promtool").chmod(0o755)
    (tmp_path / "go").write_text(GO)
    (tmp_path / "go").chmod(0o755)
    asked = tmp_path / "asked"
    run = subprocess.run(
        [ROOT / "scripts" / "tools", "install"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "BRIDGE_TEST_WORK": str(tmp_path),
            "ASKED": str(asked),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.read_text().startswith("CGO_ENABLED=0 GOTOOLCHAIN=local install sigs.k8s.io/kustomize/kustomize/v5@v")
    assert "BRIDGE_TEST_KUSTOMIZE=" in run.stdout
