"""What every text file of the repository keeps to: no trace of one machine, links that lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ONE_MACHINE = {
    "an absolute path of one machine": re.compile(r"(?<![\w.-])/(?:work|root|home/\w+|Users/\w+)/"),
    "a package registry's address": re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|repo1?\.maven\.(?:apache\.)?org|proxy\.golang\.org|deb\.debian\.org",
    ),
    "a folder outside the repository": re.compile(r"\.\./(?:\.\./)*shared/"),
}
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.DOTALL | re.MULTILINE)


def tracked(*patterns: str) -> list[Path]:
    """Give the files that git knows or would add, so that an ignored scratch file never counts."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return sorted({ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()})


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
        for file in tracked()
        if file != Path(__file__)
        for number, line in enumerate(text_of(file).splitlines(), start=1)
        if ONE_MACHINE[trace].search(line)
    ]
    assert not found, "\n".join([trace, *found])


def test_links_between_our_pages_lead_somewhere() -> None:
    """Every relative link of every Markdown page names a file or folder that exists."""
    broken = []
    for page in tracked("*.md"):
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
