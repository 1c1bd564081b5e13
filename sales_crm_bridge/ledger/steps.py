"""A step of the ledger without its database: what it wants done, said once for both SQL dialects.

A step is a generator: it yields a tuple of works, is sent one list of rows for each of them, and returns its value. A driver
runs it as one transaction (``run``), or as a plain look that changes nothing (``look``). A step knows no driver, no clock and
no event loop, and may be run again from its start, so it changes nothing but the database.

The SQL stands once where the dialects agree. Parameters are ``?``; what differs is a mark in braces:

.. code-block:: text

    {columns}      the names of the columns of a ``Many``
    {values}       its rows, to insert                    VALUES (?, ?)              SELECT * FROM unnest(%s, %s)
    {rows}         its rows, to join with, named ``r``    (SELECT … FROM (VALUES …))  unnest(%s, %s) AS r(a, b)
    {in}           is one of a ``Set``                    IN (… json_each(?))        = ANY(%s)
    {share}        and keep it from being changed         nothing: one writer        FOR SHARE
    {hold}         and keep it from being taken {update}   nothing: one writer        FOR KEY SHARE
    {update}       and keep it to ourselves               nothing: one writer        FOR UPDATE
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from sales_crm_bridge.ledger.bells import Bells

P = ParamSpec("P")
T = TypeVar("T")

Kind = Literal["int", "text", "bytes"]
Rows = list[tuple[Any, ...]]

_KINDS: dict[str, Kind] = {"int": "int", "text": "text", "bytes": "bytes"}


class Columns:
    """Column names with their kinds, in order, from a text such as ``"conn int, lead_id text"``."""

    def __init__(self, text: str) -> None:
        pairs = [part.split() for part in text.split(",")]
        self.names = tuple(name for name, _ in pairs)
        self.kinds = tuple(_KINDS[kind] for _, kind in pairs)
        self.listed = ", ".join(self.names)

    def listed_of(self, table: str) -> str:
        """The names, each with its table's before it."""
        return ", ".join(f"{table}.{name}" for name in self.names)


class Set(NamedTuple):
    """One parameter that is many values: for ``{in}``."""

    kind: Kind
    values: Sequence[Any]


class Ask(NamedTuple):
    """One statement, with its rows as the answer (empty where it gives none)."""

    sql: str
    args: tuple[Any, ...] = ()


class Many(NamedTuple):
    """One statement over many rows; ``args`` follow the rows' own parameters. No rows: nothing is done.

    A driver may hand all rows to one statement, or some to each: a statement with {rows} may not rely on what it did for the
    rows before, and no two rows of it may be about the same row of the database.

    ``returning``: the statement ends in RETURNING and its rows are wanted.
    """

    sql: str
    columns: Columns
    rows: Sequence[tuple[Any, ...]]
    args: tuple[Any, ...] = ()
    returning: bool = False


class Ring(NamedTuple):
    """Ring a bell when, and only when, the transaction has been committed."""

    bell: str


Work = Ask | Many | Ring
Step = Generator[tuple[Work, ...], tuple[Rows, ...], T]


class Collision(Exception):
    """A unique index refused a row; nothing of the step was written. The step's author knows what to do about it."""


class Driver(Protocol):
    """Runs steps on one database. Raises ``LedgerBusy``, ``EnvironmentFault``, ``Collision`` and what the step raises."""

    bells: Bells
    dialect: str

    async def run(self, step: Callable[P, Step[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``step`` as one transaction, from its start again where the database asks for that."""
        ...

    async def look(self, step: Callable[P, Step[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a ``step`` that yields once and only reads; all its works see what was committed before it began, at least."""
        ...

    async def listen(self) -> None:
        """Begin to hear the bells that other processes ring, if the database can carry them."""
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...
