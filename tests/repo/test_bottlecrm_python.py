"""Which Python the CRM of the tests runs on: scripts/bottlecrm, with programs of the test's own on its path."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAVEN = """
for argument; do
  case $argument in -DoutputDirectory=*) folder=${argument#*=} ;; -Dartifact=*) artifact=${argument#*=} ;; esac
done
echo "$artifact" >>"$ASKED"
IFS=: read -r _ name version _ platform <<<"$artifact"
echo "other bytes" >"$folder/$name-$version-$platform.jar"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Give a folder of programs that go before the machine's: a 64-bit Linux with Maven and without a new Python."""
    folder = tmp_path / "programs"
    folder.mkdir()
    texts = {"uname": "echo Linux x86_64", "java": "", "mvn": MAVEN}
    texts |= dict.fromkeys(("python3", "python3.12", "python3.13", "python3.14", "own"), "exit 1")
    for name, text in texts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def start(programs: Path, **environment: str) -> tuple[int, str, list[str]]:
    """Start the CRM in a folder beside ``programs``; give the exit code, what was said, and what Maven was asked for."""
    work = programs.parent
    asked = work / "asked"
    run = subprocess.run(
        [ROOT / "scripts" / "bottlecrm", "start"],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(work),
            "BRIDGE_TEST_WORK": str(work),
            "ASKED": str(asked),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stderr, asked.read_text().splitlines() if asked.exists() else []


def test_the_python_that_is_fetched_must_be_the_one_that_is_known(programs: Path) -> None:
    """A machine without a new Python fetches one by name and version; other bytes under that name are never run."""
    code, said, asked = start(programs)
    assert code == 1
    assert len(asked) == 1
    assert asked[0].startswith("org.bytedeco:cpython:")
    assert "is not the file that we know" in said
    assert not list(programs.parent.glob("bottlecrm/*/bin/python*"))


def test_a_python_named_by_hand_is_the_only_one_tried(programs: Path) -> None:
    """With BOTTLECRM_PYTHON nothing is fetched; if it is too old, the refusal names it and the variable."""
    code, said, asked = start(programs, BOTTLECRM_PYTHON=str(programs / "own"))
    assert (code, asked) == (1, [])
    assert f"none of these is: {programs / 'own'}; BOTTLECRM_PYTHON names another" in said
