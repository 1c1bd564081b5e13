"""What docs/replay.md tells a domain developer to do works as it stands, with the built wheel in a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")


def code(begins: str) -> str:
    """The block of the page that begins with this comment, without it."""
    (found,) = re.findall(rf"```python\n{re.escape(begins)}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


class Fresh:
    """An environment that has the wheel by itself; what it needs besides is that of ours."""

    def __init__(self, folder: Path) -> None:
        out = folder / "dist"
        call(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(ROOT))
        call(sys.executable, "-m", "venv", str(folder / "venv"))
        self.bin = folder / "venv" / "bin"
        call(
            str(self.bin / "python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            *map(str, out.glob("*.whl")),
        )
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        self.folder = folder / "domain"
        self.folder.mkdir()

    def __call__(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def call(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Give an empty folder, and a fresh environment with the built wheel."""
    return Fresh(tmp_path_factory.mktemp("fresh"))


def test_from_an_empty_folder_to_a_failing_and_then_passing_test(fresh: Fresh) -> None:
    """The page's own commands and files: the bundle is made, the test fails for the reason it names, and is mended."""
    code_, said = fresh("python", "-c", "import sales_crm_bridge; print(sales_crm_bridge.__file__)")
    assert (code_, str(fresh.bin.parent) in said) == (0, True), said
    commands = re.findall(r"^sales-crm-bridge (demo --record bundles/\S+)$", PAGE, re.MULTILINE)
    (fresh.folder / "bundles").mkdir()
    code_, said = fresh("sales-crm-bridge", *commands[0].split())
    assert code_ == 0, said
    test = code("# test_pipeline.py")
    (fresh.folder / "test_pipeline.py").write_text(test)
    code_, said = fresh("python", "-m", "pytest", "-q", "test_pipeline.py")
    assert (code_, "1 failed" in said, "assert not removed" in said) == (1, True, True), said
    branch = (
        '        if fact.kind == "crm_lead_observed":\n            self.by_email[fact.body.lead.email] = fact.lead_id\n'
    )
    assert branch in test
    cure = code("# test_pipeline.py, in Pipeline.take")
    (fresh.folder / "test_pipeline.py").write_text(test.replace(branch, branch + cure))
    code_, said = fresh("python", "-m", "pytest", "-q", "test_pipeline.py")
    assert (code_, "1 passed" in said) == (0, True), said


def test_the_scripted_examples_pass(fresh: Fresh) -> None:
    """As they stand on the page."""
    (fresh.folder / "test_scripted.py").write_text(code("# test_scripted.py"))
    code_, said = fresh("python", "-m", "pytest", "-q", "test_scripted.py")
    assert (code_, "2 passed" in said) == (0, True), said
