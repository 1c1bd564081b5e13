"""What every text file of the repository keeps to: no trace of one machine, links that lead somewhere."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ONE_MACHINE = {
    "an absolute path of one machine": re.compile(r"(?<![\w.-])/(?:work|root|tmp|home/\w+|Users/\w+)/"),
    "a package registry's address": re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|repo1?\.maven\.(?:apache\.)?org|proxy\.golang\.org|deb\.debian\.org",
    ),
    "a folder outside the repository": re.compile(r"\.\./(?:\.\./)*shared/"),
}
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.DOTALL | re.MULTILINE)


def ignored(rule: str, path: str) -> bool:
    """Whether a line of .gitignore names a file, or a folder (``path`` ends with a slash then), by its path from the root.

    What is understood is what ours has: a name, ``*`` in a name, a slash behind it for folders, one before it for the root.
    """
    assert not set(rule) & set("!\\[?"), f"this walk does not understand {rule}"
    assert "/" not in rule.strip("/"), f"this walk does not understand {rule}"
    folder = path.endswith("/")
    path = path.rstrip("/")
    if rule.endswith("/") and not folder:
        return False
    return fnmatch(f"/{path}" if rule.startswith("/") else path.rpartition("/")[2], rule.rstrip("/"))


def walked(root: Path) -> Iterator[str]:
    """Yield the paths that git would add, by .gitignore alone: for a tree that was unpacked, or a machine without git."""
    lines = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    rules = [".git/", *(line for line in lines if line and not line.startswith("#"))]
    for place, folders, files in os.walk(root):
        here = Path(place).relative_to(root)
        paths = {name: (here / name).as_posix() for name in (*folders, *files)}
        folders[:] = [name for name in folders if not any(ignored(rule, f"{paths[name]}/") for rule in rules)]
        yield from (paths[name] for name in files if not any(ignored(rule, paths[name]) for rule in rules))


def listed(root: Path) -> list[str] | None:
    """Give the paths that git knows or would add; None if ``root`` is no checkout, or git is not there."""
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(listing, cwd=root, capture_output=True, check=False, text=True)
    return [name for name in run.stdout.split("\0") if name] if run.returncode == 0 else None


@functools.cache
def files_of(root: Path) -> tuple[Path, ...]:
    """Give the files of a tree that are its own: an ignored scratch file never counts, with git or without."""
    names = listed(root)
    return tuple(
        sorted({root / name for name in (walked(root) if names is None else names) if (root / name).is_file()})
    )


def text_of(file: Path) -> str:
    """Give a file's text; recorded payloads and images are bytes that nobody wrote here, so they read as nothing."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("trace", ONE_MACHINE)
def test_no_file_knows_the_machine_it_was_written_on(trace: str) -> None:
    """A clone works anywhere: no file holds a path or an address that only one machine has."""
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for file in files_of(ROOT)
        if file != Path(__file__)
        for number, line in enumerate(text_of(file).splitlines(), start=1)
        if ONE_MACHINE[trace].search(line)
    ]
    assert not found, "\n".join([trace, *found])


def test_links_between_our_pages_lead_somewhere() -> None:
    """Every relative link of every Markdown page names a file or folder that exists."""
    broken = []
    for page in (file for file in files_of(ROOT) if file.suffix == ".md"):
        for link in LINK.finditer(FENCE.sub("", text_of(page))):
            target = link["target"].partition("#")[0]
            if (
                target
                and "://" not in target
                and not target.startswith("mailto:")
                and not (page.parent / target).exists()
            ):
                broken.append(f"{page.relative_to(ROOT)}: {link['target']}")
    assert not broken, "\n".join(broken)


IGNORING = """
# what is scratch
.cache/
*.pyc
/secrets/
"""
OURS = ("README.md", "docs/secrets/why.md", "docs/cache.md", "pkg/one.py", ".gitignore")
SCRATCH = (".cache/a.md", "pkg/.cache/b.py", "pkg/one.pyc", "secrets/key", ".git/config")


def test_a_tree_without_its_repository_has_the_same_files(tmp_path: Path) -> None:
    """What was unpacked from an archive is checked as a checkout is: all but what .gitignore names."""
    for name in (*OURS, *SCRATCH):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text\n")
    (tmp_path / ".gitignore").write_text(IGNORING)
    assert files_of(tmp_path) == tuple(sorted(tmp_path / name for name in OURS))


def test_the_walk_understands_our_gitignore() -> None:
    """Where git is there to say it, the walk finds exactly the files that git finds."""
    names = listed(ROOT)
    found = {name for name in walked(ROOT) if (ROOT / name).is_file()}
    assert found == {name for name in (found if names is None else names) if (ROOT / name).is_file()}
