"""References to secrets: a file says where a secret is, never what it is.

``env:NAME`` is an environment variable, ``file:/absolute/path`` a mounted file (its trailing line break is no part of it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

REFERENCE_PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"
BYTES_MAX = 64 * 1024
_REFERENCE = re.compile(REFERENCE_PATTERN.strip("^$"), re.ASCII)


class SecretMissing(Exception):
    """The reference leads nowhere; the text says why, and never what stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is: an environment variable's name, or a file's absolute path."""

    source: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"

    def read(self, environ: Mapping[str, str]) -> str:
        """The secret, read anew each time, so that a rotated file counts. Raises ``SecretMissing``."""
        return _from_environment(self.name, environ) if self.source == "env" else _from_file(Path(self.name))

    def there(self, environ: Mapping[str, str]) -> bool:
        """Whether there is a secret now."""
        try:
            self.read(environ)
        except SecretMissing:
            return False
        return True


def is_reference(text: str) -> bool:
    """Whether ``text`` is a well-formed reference."""
    return _REFERENCE.fullmatch(text) is not None


def reference(text: str) -> SecretRef:
    """The reference that ``text`` writes. Raises ``ValueError``, whose text does not repeat it (it may be a secret)."""
    if not is_reference(text):
        raise ValueError("not a reference")
    source, _, name = text.partition(":")
    return SecretRef(source="env" if source == "env" else "file", name=name)


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise SecretMissing(f"the environment variable {name} is not set")
    if not value:
        raise SecretMissing(f"the environment variable {name} is empty")
    return value


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(BYTES_MAX + 1)
    except OSError as error:
        raise SecretMissing(f"the file {path} cannot be read: {error.strerror}") from None
    if len(raw) > BYTES_MAX:
        raise SecretMissing(f"the file {path} is larger than {BYTES_MAX:,} bytes")
    try:
        value = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretMissing(f"the file {path} is not UTF-8 text") from None
    if not value:
        raise SecretMissing(f"the file {path} is empty")
    return value
