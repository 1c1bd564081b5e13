"""What is published: a wheel, built from the sdist as an index's user would, that works from anywhere."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wire.test_private_pool import BESIDE, platform_package

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel that is built from the sdist that is built from this checkout."""
    out = tmp_path_factory.mktemp("dist")
    # Without --sdist or --wheel, build makes the sdist first and the wheel from it, not from the checkout.
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    assert len(list(out.glob("*.tar.gz"))) == 1
    (made,) = out.glob("*.whl")
    return made


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """Two typed top-level packages; no test, no .proto text, and never the platform's own name."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sales_crm_adapters", "sales_crm_bridge"}
    assert {"sales_crm_bridge/py.typed", "sales_crm_adapters/py.typed"} <= set(names)
    assert not [name for name in names if name.endswith((".proto", ".pyc")) or "/tests/" in name]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_imports_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed by itself, both packages and the command come from there, not from the checkout."""
    target = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    program = """
import importlib.metadata, pathlib, sys
import sales_crm_adapters, sales_crm_bridge
target = pathlib.Path(sys.argv[1])
for package in (sales_crm_bridge, sales_crm_adapters):
    assert target in pathlib.Path(package.__file__).parents, package.__file__
(script,) = [
    entry
    for entry in importlib.metadata.distribution("sales-crm-bridge").entry_points
    if entry.group == "console_scripts"
]
assert callable(script.load())
"""
    run = subprocess.run(
        # -P: the current folder is not on the path. The target comes before the editable checkout's entry.
        [sys.executable, "-P", "-c", program, str(target)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_wheel_works_beside_the_platforms_own_package(wheel: Path, tmp_path: Path) -> None:
    """Installed beside a differing ``ameide_core_proto``, both are used in one process, whichever is imported first."""
    target = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    platform_package(target)
    check = "\nimport pathlib, sys\nassert pathlib.Path(sys.argv[1]) in pathlib.Path(ours.__file__).parents\n"
    for program in (BESIDE, "import sales_crm_bridge.contract\n" + BESIDE):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-P", "-c", program + check, str(target)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(target)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
