"""A file of pairs, a lead and its record on each line: read as it streams, and looked through for pairs that contradict each other.

CSV with a header that names ``lead_id`` and ``crm_id`` (separated by comma, semicolon or tab), or JSON Lines with these two names;
whatever else a line has is passed over. The file is UTF-8. No line is quoted in what is said of it: it may be anybody's data.
"""

from __future__ import annotations

import codecs
import csv
import sqlite3
from itertools import islice
from typing import IO, TYPE_CHECKING, Self

import msgspec

from sales_crm_bridge.contract import is_usable_id
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.policy.seeding import Misfit, Pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

COLUMNS = ("lead_id", "crm_id")
LINE_BYTES_MAX = 65_536
SPOOLED = 5_000
_FORM = (
    "a CSV file begins with a header that names lead_id and crm_id; each line of JSON Lines is an object with these two"
)


class _Named(msgspec.Struct):
    lead_id: str | int
    crm_id: str | int


_JSON = msgspec.json.Decoder(_Named)


def pairs_of(file: IO[bytes], name: str) -> Iterator[Pair | Misfit]:
    """The pairs of ``file``, and why a line is none. Raises ``ConfigError`` for a file that has no such form."""
    numbered = _lines(file)
    number, head = next(numbered, (0, None))
    if head is None:
        raise _formless(name, "its first line cannot be read" if number else "the file is empty")
    if head.startswith("{"):
        yield _from_json(number, head)
        for number, line in numbered:
            yield _odd(number) if line is None else _from_json(number, line)
        return
    separator = next((sign for sign in ",;\t" if sign in head), ",")
    names = [cell.strip() for cell in _cells(head, separator) or ()]
    if any(names.count(column) != 1 for column in COLUMNS):
        raise _formless(name, "its first line is no header")
    places = [names.index(column) for column in COLUMNS]
    for number, line in numbered:
        yield _odd(number) if line is None else _from_csv(number, line, separator, places)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str | None]]:
    """The lines that are not blank, with their numbers from 1; None: one that is too long or not UTF-8."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        whole = line.endswith(b"\n") or len(line) < LINE_BYTES_MAX
        while not whole:
            rest = file.readline(LINE_BYTES_MAX)
            whole, line = rest.endswith(b"\n") or len(rest) < LINE_BYTES_MAX, b"\xff"
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, None
            continue
        if text.strip():
            yield number, text


def _from_json(number: int, line: str) -> Pair | Misfit:
    try:
        named = _JSON.decode(line)
    except msgspec.DecodeError:
        return _odd(number)
    return _pair(number, str(named.lead_id), str(named.crm_id))


def _from_csv(number: int, line: str, separator: str, places: list[int]) -> Pair | Misfit:
    cells = _cells(line, separator)
    if cells is None or len(cells) <= max(places):
        return _odd(number)
    return _pair(number, *(cells[place] for place in places))


def _cells(line: str, separator: str) -> list[str] | None:
    """The cells of one line; an id holds no line end, so a quote that is left open spoils its own line alone."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return None


def _pair(number: int, lead_id: str, crm_id: str) -> Pair | Misfit:
    for what, text in (("lead", lead_id), ("record", crm_id)):
        if not is_usable_id(text) or text != text.strip():
            said = f"the {what}'s id is empty, too long, or has blanks around it or a NUL character"
            return Misfit(number, "bindings.id-unusable", said, "correct the id")
    return Pair(number, lead_id, crm_id)


def _odd(number: int) -> Misfit:
    said = "the line is too long, not UTF-8, or not of the file's form"
    return Misfit(number, "bindings.bad-line", said, _FORM)


def _formless(name: str, said: str) -> ConfigError:
    return ConfigError([Finding(code="bindings.bad-file", message=said, place=Place(file=name, line=1), remedy=_FORM)])


class Spool:
    """The pairs of a whole file, on disk, so that those that contradict each other are found before any is bound.

    Of a lead with two records, or a record with two leads, nobody can say which is right: all of these lines are misfits. A pair
    that stands there twice counts once, in ``repeated``.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a file of its own, gone when it is closed
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE pairs (line integer PRIMARY KEY, lead text, crm text)")
        self._db.execute("CREATE TABLE told (line integer PRIMARY KEY)")
        self.lines = self.repeated = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def fill(self, found: Iterable[Pair | Misfit]) -> Iterator[Misfit]:
        """Take everything of a file; gives the lines that are no pair, and then those that contradict others."""
        lines = iter(found)
        while some := list(islice(lines, SPOOLED)):
            self.lines += len(some)
            pairs = [(one.line, one.lead_id, one.crm_id) for one in some if isinstance(one, Pair)]
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO pairs VALUES (?, ?, ?)", pairs)
            self._db.execute("COMMIT")
            yield from (one for one in some if isinstance(one, Misfit))
        self._db.execute("CREATE INDEX by_lead ON pairs (lead, crm)")
        self._db.execute("CREATE INDEX by_crm ON pairs (crm, lead)")
        self.repeated = self._db.execute(
            "DELETE FROM pairs WHERE EXISTS"
            " (SELECT 1 FROM pairs p WHERE p.lead = pairs.lead AND p.crm = pairs.crm AND p.line < pairs.line)"
        ).rowcount
        yield from self._contradictions()

    def _contradictions(self) -> Iterator[Misfit]:
        for name, what, other in (("lead", "lead", "records"), ("crm", "record", "leads")):
            self._db.execute(
                f"CREATE TABLE odd_{name} AS SELECT {name} AS id, min(line) AS line FROM pairs"  # noqa: S608 - constants
                f" GROUP BY {name} HAVING count(*) > 1"
            )
            rows = self._db.execute(
                f"SELECT p.line, p.{name}, o.line FROM odd_{name} o JOIN pairs p ON p.{name} = o.id ORDER BY p.line"  # noqa: S608
            )
            for line, text, first in rows:
                said = f"{what} {text!r} is paired with several {other} in this file, first on line {first}"
                told = self._db.execute("INSERT OR IGNORE INTO told VALUES (?)", (line,)).rowcount
                if told:  # one line may be wrong in both ways
                    yield Misfit(line, "bindings.twice-in-file", said, "leave the right pair alone in the file")
        for name in ("lead", "crm"):
            self._db.execute(f"DELETE FROM pairs WHERE {name} IN (SELECT id FROM odd_{name})")  # noqa: S608 - constants

    def batches(self, size: int) -> Iterator[list[Pair]]:
        """The pairs that are left, in the order of their lines."""
        last = 0
        while rows := self._db.execute(
            "SELECT line, lead, crm FROM pairs WHERE line > ? ORDER BY line LIMIT ?", (last, size)
        ).fetchall():
            last = rows[-1][0]
            yield [Pair(*row) for row in rows]
