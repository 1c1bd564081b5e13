"""Looks through a bundle for what must not be in it: secrets, by their shape, and whatever is neither harmless nor a stand-in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sales_crm_bridge import tenants, wiring
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay.matching import parts, seconds_of
from sales_crm_bridge.replay.redact import KEPT_HEADERS, REDIRECTS, Allowed, slipped
from sales_crm_bridge.replay.standins import strangers
from sales_crm_bridge.replay.start import UNSAID
from sales_crm_bridge.replay.words import fact_words, places_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_crm_bridge.replay.bundle import Bundle, Exchange

SHAPES = (
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a JSON Web Token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("a HubSpot token", re.compile(r"\bpat-(na|eu)\d-[0-9a-f]{8}-")),
    ("a Salesforce session", re.compile(r"\b00D[A-Za-z0-9]{12,15}![A-Za-z0-9_.]{20,}")),
    ("a Zoho token", re.compile(r"\b1000\.[0-9a-f]{32}\.[0-9a-f]{32}\b")),
    ("a cloud key", re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{35}")),
    ("a token of a code host", re.compile(r"\b(gh[pousr]_|glpat-|xox[baprs]-)[A-Za-z0-9_-]{20,}")),
    ("a payment key", re.compile(r"\b[sr]k_(live|test)_[A-Za-z0-9]{16,}")),
    ("credentials in an address", re.compile(r"https?://[^/\s:@\"]+:[^/\s@\"]+@")),
    ("credentials in a header", re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/_.=~-]{12,}")),
)
"""Shapes of secrets that are searched for in every line of every file, whatever stands around them."""

TIME_DIGITS = 13
"""A number of so many digits that can be a time is one, in a request; a shorter one can be a phone."""

REMEDY = (
    "do not pass the bundle on: record it anew with a version that replaces this; report the field, not what it said"
)


def look_through(folder: Path) -> tuple[Bundle, list[Finding]]:
    """The bundle, and everything in it that should not be there, by file and line; what was found is never repeated.

    Raises ``ConfigError`` as ``bundle.read`` does, and where the bundle's own tenant file cannot be read.
    """
    bundle = bundles.read(folder)
    tenant, wrong = tenants.parse(
        bundle.tenant.encode(), str(folder / bundles.TENANT), wiring.catalogue(), secrets=False
    )
    if tenant is None:
        raise ConfigError(wrong)
    allowed = Allowed(words_of(tenant) | fact_words(), places_of(tenant))
    found = [
        _finding("replay.secret", f"{what} stands here", folder / name, line)
        for name in (bundles.MANIFEST, bundles.TENANT, *bundles.PARTS)
        for line, what in _shapes((folder / name).read_text(encoding="utf-8"))
    ]
    for name, lines in _lines(bundle, allowed).items():
        for line, told in lines:
            found.append(_finding("replay.not-replaced", told, folder / name, line))
    return bundle, found


def _finding(code: str, said: str, file: Path, line: int) -> Finding:
    return Finding(code=code, message=said, place=Place(file=str(file), line=line), remedy=REMEDY)


def _shapes(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        yield from ((number, what) for what, shape in SHAPES if shape.search(line))


def _lines(bundle: Bundle, allowed: Allowed) -> dict[str, Iterator[tuple[int, str]]]:
    def told(values: list[Any]) -> Iterator[tuple[int, str]]:
        for number, value in enumerate(values, start=1):
            for name, what in dict.fromkeys(slipped(value, "", allowed)):
                yield number, f"{what} under {name!r} is no stand-in, and not known to be harmless"

    def exchanged() -> Iterator[tuple[int, str]]:
        for number, one in enumerate(bundle.exchanges, start=1):
            for what in dict.fromkeys(_exchange(one, allowed)):
                yield number, what

    return {
        bundles.EXCHANGES: exchanged(),
        bundles.INTENTS: told([one.intent for one in bundle.intents]),
        bundles.NOTICES: told([{"ids": list(one.crm_ids)} for one in bundle.notices]),
        bundles.LEDGER: told([_said(one.row) for one in bundle.ledger]),
        bundles.FACTS: told([one.fact for one in bundle.facts]),
    }


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the ledger without its hashes."""
    return {name: value for name, value in row.items() if name not in UNSAID}


def _exchange(one: Exchange, allowed: Allowed) -> Iterator[str]:
    for where, said in parts(one.method, one.url, one.body.bytes()).items():
        if where != "method" and not _static(where, said.text):
            pieces = [text for text in said.text.split(",") if not _is_time(text)]
            for what in dict.fromkeys(what for text in pieces for _, what in slipped(text, said.name, allowed)):
                yield f"{what} in the request's {where} is no stand-in, and not known to be harmless"
    for name, _ in one.headers:
        if not KEPT_HEADERS.fullmatch(name) and not (name == "location" and one.status in REDIRECTS):
            yield f"header {name!r} is not one that a bundle keeps"
    text = one.answer.bytes().decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except ValueError:
        if strangers(text):
            yield "the answer, which is no JSON, has words that are no stand-ins"
        return
    for name, what in slipped(answer, "", allowed):
        yield f"{what} under {name!r} in the answer is no stand-in, and not known to be harmless"


def _is_time(text: str) -> bool:
    return len(text) >= TIME_DIGITS and seconds_of(text) is not None


def _static(where: str, text: str) -> bool:
    """Whether it is a part of a path that no value was put into: the adapter's own words, as far as a look can tell."""
    return where.startswith("part ") and bool(re.fullmatch(r"[a-z][a-z0-9_-]{0,30}|v\d+(\.\d+)?", text))
