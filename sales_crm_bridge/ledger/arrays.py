"""Values in PostgreSQL's binary form, a column at a time.

psycopg turns a list into an array value by value, in Python; a page of 2,000 bindings is 24,000 values. Here a column is one
``struct.pack`` or one ``join``. The form: https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES
and ``array_recv`` in the server's ``arrayfuncs.c``; one dimension, no NULL.
"""

from __future__ import annotations

import struct
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.string import BytesBinaryDumper, StrBinaryDumper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from sales_crm_bridge.ledger.steps import Kind

_HEAD = struct.Struct("!iiIii")
_LENGTH = struct.Struct("!i").pack
_BIGINT = struct.Struct("!q").pack
_OIDS = {"int": 20, "text": 25, "bytes": 17}


class IntArray(bytes):
    """A ``bigint[]``."""


class TextArray(bytes):
    """A ``text[]``."""


class BytesArray(bytes):
    """A ``bytea[]``."""


class _Ready(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _IntArrayDumper(_Ready):
    oid = 1016


class _TextArrayDumper(_Ready):
    oid = 1009


class _BytesArrayDumper(_Ready):
    oid = 1001


class _BigintDumper(Dumper):
    """Every int as a bigint: one type for each statement, however large its values are."""

    format = Format.BINARY
    oid = 20

    def dump(self, obj: int) -> bytes:
        return _BIGINT(obj)


def speak(conn: AsyncConnection[Any]) -> None:
    """Teach ``conn`` these forms."""
    for cls, dumper in (
        (int, _BigintDumper),
        (str, StrBinaryDumper),
        (bytes, BytesBinaryDumper),
        (IntArray, _IntArrayDumper),
        (TextArray, _TextArrayDumper),
        (BytesArray, _BytesArrayDumper),
    ):
        conn.adapters.register_dumper(cls, dumper)


def array(kind: Kind, values: Sequence[Any]) -> bytes:
    """``values`` as one array of ``kind``."""
    count = len(values)
    head = _HEAD.pack(1, 0, _OIDS[kind], count, 1) if count else _HEAD.pack(0, 0, _OIDS[kind], 0, 0)[:12]
    if kind == "int":
        body = struct.pack(f"!{'iq' * count}", *chain.from_iterable(zip(repeat(8, count), values, strict=True)))
        return IntArray(head + body)
    texts = [value.encode() for value in values] if kind == "text" else values
    body = b"".join(chain.from_iterable(zip(map(_LENGTH, map(len, texts)), texts, strict=True)))
    return TextArray(head + body) if kind == "text" else BytesArray(head + body)
