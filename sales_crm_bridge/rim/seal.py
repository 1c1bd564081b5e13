"""Sealing: what a sign-in must keep is encrypted before it reaches the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION = b"\x01"
_KEY_BYTES = 64


class SealBroken(Exception):
    """The sealed bytes were not made with any of our keys for this account, or were changed."""


class Seal:
    """Authenticated encryption under a deployment secret, bound to one account.

    ``keys``: the deployment's secrets, the newest first; it seals, the others still open. ``bound_to`` names the account: sealed
    bytes copied to another account do not open there. AES-SIV (RFC 5297) needs no nonce, so there is none to repeat; all that it
    shows is that the same text was sealed twice.
    """

    def __init__(self, keys: Sequence[str], *, bound_to: str) -> None:
        self._boxes = [AESSIV(_derived(key)) for key in keys]
        self._bound_to = bound_to.encode()

    def close(self, text: bytes) -> bytes:
        """``text``, sealed."""
        return _VERSION + self._boxes[0].encrypt(text, [_VERSION, self._bound_to])

    def open(self, sealed: bytes) -> bytes:
        """What ``close`` was given; raises ``SealBroken``."""
        for box in self._boxes if sealed[:1] == _VERSION else ():
            try:
                return box.decrypt(sealed[1:], [_VERSION, self._bound_to])
            except (InvalidTag, ValueError):
                continue
        raise SealBroken


def _derived(key: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"sales-crm-bridge sign-in").derive(key.encode())
