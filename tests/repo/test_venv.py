"""`make venv` with stand-ins for Python and uv: when the environment is made anew, and by which of the two."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/usr/bin/env bash
echo "python $*" >>"$ASKED"
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && touch .venv/pip ;;
  *"import pip"*) [[ -e .venv/pip ]] ;;
esac
"""
UV = """#!/usr/bin/env bash
echo "uv $1" >>"$ASKED"
[[ $1 != venv ]] || { mkdir -p .venv/bin && cp scripts/python .venv/bin/python; }
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a folder with our Makefile, empty locks, and the stand-ins."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, text in {
        "pyproject.toml": "",
        "requirements/dev.lock": "",
        "scripts/python": PYTHON,
        "uv": UV,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def make_venv(checkout: Path, *, uv: bool) -> list[str]:
    """Run ``make venv`` as after a change of the lock; give what Python and uv were asked."""
    asked = checkout / "asked"
    asked.write_text("")
    (checkout / ".venv" / ".stamp").unlink(missing_ok=True)
    subprocess.run(
        ["make", "venv", f"UV={checkout / 'uv' if uv else ''}"],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if "MAKE" not in name} | {"ASKED": str(asked)},
        check=True,
        capture_output=True,
    )
    return asked.read_text().splitlines()


def test_an_environment_by_uv_serves_without_uv_later(checkout: Path) -> None:
    """An environment of uv's has no pip: where uv is gone, the environment is made anew; where nothing is missing, it is kept."""
    assert "uv venv" in make_venv(checkout, uv=True)
    assert "uv venv" not in make_venv(checkout, uv=True)
    anew = make_venv(checkout, uv=False)
    assert "python -m venv .venv" in anew
    assert any(line.startswith("python -m pip install") for line in anew)
    assert "python -m venv .venv" not in make_venv(checkout, uv=False)
