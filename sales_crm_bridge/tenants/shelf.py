"""Tenants' files as they were read before, so that only what has changed is read again: a thousand of them take many seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge.secret_refs import SecretMissing
from sales_crm_bridge.tenants import loading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Mapping as Mapped
    from pathlib import Path

    from sales_crm_bridge.state import TenantRow
    from sales_crm_bridge.tenants.connecting import Catalogue
    from sales_crm_bridge.tenants.loading import Read
    from sales_crm_bridge.tenants.values import Outline, Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file as it was read; ``missing``: of each secret that it refers to why it was not there ("" it was)."""

    raw: bytes
    read: Read
    missing: list[str]


class Shelf:
    """Gives what ``loading`` would give, for the files of one folder and the texts of one ledger."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._files: dict[str, _File] = {}
        self._good: dict[str, Tenant] = {}
        self._accepted: dict[str, Tenant] = {}
        self._retired: dict[str, tuple[str, Outline]] = {}
        self.readings = 0
        """How many files and texts were read in all."""

    async def fill(self, folder: Path, rows: Mapped[str, TenantRow], turn: Callable[[], Awaitable[None]]) -> None:
        """Read what is not here yet, with a ``turn`` for everything else after each; forget what is no longer there.

        ``rows``: the ledger's tenants, by name. Raises as ``loading.load`` and ``loading.reaccept`` do.
        """
        files = {str(path): raw for path in loading.paths(folder) or () if (raw := loading.raw_of(path)) is not None}
        self._files = {file: one for file, one in self._files.items() if file in files}
        self._good = {one.read.tenant.tenant: one.read.tenant for one in self._files.values() if one.read.tenant}
        for file, raw in files.items():
            before = self.readings
            self.file(raw, file, os.environ)
            if self.readings > before:
                await turn()
        for row in rows.values():
            before = self.readings
            if row.retired_us:
                self.retired(row.text, row.tenant, row.retired_us)
            else:
                self.accepted(row.text, row.tenant)
            if self.readings > before:
                await turn()
        texts = {name: row.text for name, row in rows.items() if not row.retired_us}
        self._accepted = {name: one for name, one in self._accepted.items() if texts.get(name) == one.text}
        self._retired = {name: one for name, one in self._retired.items() if name in rows}

    def file(self, raw: bytes, file: str, environ: Mapped[str, str] | None) -> Read:
        """One file of the folder; ``environ`` None: references are not followed."""
        known = self._files.get(file)
        if (
            known is not None
            and known.raw == raw
            and environ is not None
            and known.missing == _missing(known.read, environ)
        ):
            return known.read
        if known is not None and known.read.tenant is not None:
            self._good.pop(known.read.tenant.tenant, None)
        self.readings += 1
        read = loading.read_one(raw, file, self._catalogue, environ)
        if environ is not None:
            self._files[file] = _File(raw=raw, read=read, missing=_missing(read, environ))
        if read.tenant is not None:
            self._good[read.tenant.tenant] = read.tenant
        return read

    def accepted(self, text: str, name: str) -> Tenant:
        """As ``loading.reaccept``; where a good file has this very text, as that file has it."""
        for known in (self._good.get(name), self._accepted.get(name)):
            if known is not None and known.text == text:
                return known
        self.readings += 1
        self._accepted[name] = loading.reaccept(text, name, self._catalogue)
        return self._accepted[name]

    def retired(self, text: str, name: str, retired_us: int) -> Outline:
        """As ``loading.recall``."""
        before, known = self._retired.get(name, ("", None))
        if known is None or before != text or known.retired_us != retired_us:
            self.readings += 1
            known = loading.recall(text, name, retired_us, self._catalogue)
            self._retired[name] = (text, known)
        return known


def _missing(read: Read, environ: Mapped[str, str]) -> list[str]:
    told = []
    for ref in read.refs:
        try:
            ref.read(environ)
        except SecretMissing as why:
            told.append(str(why))
        else:
            told.append("")
    return told
