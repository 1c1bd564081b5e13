"""Bytes: varints, length-delimited fields, and the framing of a schema registry."""

from __future__ import annotations

from dataclasses import dataclass

_ONE = [bytes((number,)) for number in range(128)]
_MORE = 0x80
_INDEXES_MAX = 16  # messages nested deeper than this do not exist in any contract
_VARINT_MAX = 10
_HEAD = 5  # magic byte and schema id


def varint(number: int) -> bytes:
    """``number`` (0 … 2^64 - 1) as a base-128 varint."""
    if number < _MORE:
        return _ONE[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number >= _MORE:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(number: int, payload: bytes) -> bytes:
    """A length-delimited field ``number`` that holds ``payload``."""
    return b"".join((tag(number), varint(len(payload)), payload))


def text(number: int, value: str) -> bytes:
    """A string field as proto3 writes it: nothing at all for the empty text."""
    return delimited(number, value.encode()) if value else b""


def tag(number: int) -> bytes:
    """The tag of a length-delimited field."""
    return varint(number << 3 | 2)


_MILLIS = [b""] + [b"\x10" + varint(milli * 1_000_000) for milli in range(1, 1000)]


def timestamp(us: int) -> bytes:
    """A ``google.protobuf.Timestamp`` of ``us`` epoch microseconds (any sign), without tag and length."""
    seconds, rest = divmod(us, 1_000_000)
    milli, micro = divmod(rest, 1000)
    tail = _MILLIS[milli] if not micro else b"\x10" + varint(rest * 1000)
    if 1 << 28 <= seconds < 1 << 35:  # 1978 to 3058: five digits to the base 128, written out for speed
        head = (8, seconds & 127 | 128, seconds >> 7 & 127 | 128, seconds >> 14 & 127 | 128, seconds >> 21 & 127 | 128)
        return bytes((*head, seconds >> 28)) + tail
    return (b"\x08" + varint(seconds % (1 << 64)) if seconds else b"") + tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """The framing of a schema registry: before the message stand a 0 byte, the schema's id and the message's place in its file.

    As Confluent's serialisers write it (docs.confluent.io, "Wire format", 2025). ``schema_id``: 0 … 2^32 - 1, of ``<topic>-value``.
    """

    schema_id: int

    def wrap(self, index: int, value: bytes) -> bytes:
        """``value`` framed; ``index``: the place of its message among its file's messages, from 0."""
        place = b"\x00" if index == 0 else b"\x02" + varint(index << 1)
        return b"".join((b"\x00", self.schema_id.to_bytes(4, "big"), place, value))


class BadFraming(ValueError):
    """The value has no framing, or one that names another message."""


def unframe(index: int, value: bytes) -> bytes:
    """``value`` without its framing, whatever schema id it names. Raises ``BadFraming``."""
    if len(value) <= _HEAD or value[0] != 0:
        raise BadFraming("there is no framing")
    count, at = _zigzag(value, _HEAD)
    indexes = [0] if count == 0 else []
    if not 0 <= count <= _INDEXES_MAX:
        raise BadFraming("the message index is unreadable")
    for _ in range(count):
        place, at = _zigzag(value, at)
        indexes.append(place)
    if indexes != [index]:
        raise BadFraming("the framing names another message of the file")
    return value[at:]


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for end in range(at, min(len(value), at + _VARINT_MAX)):
        number |= (value[end] & 127) << shift
        shift += 7
        if value[end] < _MORE:
            return number >> 1 ^ -(number & 1), end + 1
    raise BadFraming("the message index is unreadable")
