"""The locks: complete, pinned, and saying nothing about where they were made."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("bottlecrm", "build", "dev", "peers", "runtime")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; .+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def lines(lock: str) -> list[str]:
    """Give the lines of ``requirements/<lock>.lock``."""
    return (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8").splitlines()


def pins(lock: str) -> dict[str, str]:
    """Give the version of each package that a lock pins."""
    return {canonicalize_name(pin["name"]): pin["version"] for line in lines(lock) if (pin := PIN.match(line))}


def group(name: str) -> list[str]:
    """Give the requirements of a dependency group, those of included groups among them."""
    found = []
    for entry in PROJECT["dependency-groups"][name]:
        found.extend([entry] if isinstance(entry, str) else group(entry["include-group"]))
    return found


def asked(name: str) -> list[str]:
    """Give the requirements in ``requirements/<name>.in``."""
    text = (ROOT / "requirements" / f"{name}.in").read_text(encoding="utf-8")
    return [words for line in text.splitlines() if (words := line.partition("#")[0].strip())]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_only(lock: str) -> None:
    """Each line is an exact version or its SHA-256; the header is a command of ours: no address, no path."""
    text = lines(lock)
    assert text[1] == "#    make lock"
    strange = [line for line in text[2:] if not PIN.match(line) and not HASH.match(line)]
    assert not strange
    for line, following in zip(text, [*text[1:], ""], strict=True):
        assert not PIN.match(line) or HASH.match(following), f"no hash: {line}"


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("build", group("build")),
        ("build", PROJECT["build-system"]["requires"]),
        ("dev", group("dev")),
        ("dev", PROJECT["project"]["dependencies"]),
        ("runtime", PROJECT["project"]["dependencies"]),
        ("peers", asked("peers")),
    ],
    ids=["build", "build-system", "dev", "dev-runtime", "runtime", "peers"],
)
def test_a_lock_satisfies_what_the_project_asks_for(lock: str, wanted: list[str]) -> None:
    """Whatever pyproject.toml or peers.in requires is pinned at a version that it allows: otherwise `make lock` was forgotten."""
    pinned = pins(lock)
    for requirement in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in {lock}.lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{lock}.lock has {version} for {requirement}"


def test_what_is_tested_is_what_is_shipped() -> None:
    """The tests' environment has every runtime and build dependency at the very version that the image has."""
    dev = pins("dev")
    assert {name: dev.get(name) for name in pins("runtime")} == pins("runtime")
    assert {name: dev.get(name) for name in pins("build")} == pins("build")


def test_every_exception_from_the_linter_says_why() -> None:
    """Each rule of Ruff that is switched off has its reason beside it."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = settings.partition("[tool.ruff.lint]\n")[2].partition("\n[tool.ruff.lint.flake8")[0]
    codes = [line for line in section.splitlines() if re.match(r'^  "[A-Z]+\d*",', line)]
    assert codes
    assert [line for line in codes if not re.search(r"#\s*\w", line)] == []


def test_every_dependency_has_its_reason() -> None:
    """docs/decisions/0002-dependencies.md names every direct dependency, and none that is gone."""
    page = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text(encoding="utf-8")
    named = {canonicalize_name(name) for name in re.findall(r"^\| `([A-Za-z0-9._-]+)`", page, re.MULTILINE)}
    wanted = {
        canonicalize_name(Requirement(entry).name) for entry in [*PROJECT["project"]["dependencies"], *group("dev")]
    }
    assert named == wanted
