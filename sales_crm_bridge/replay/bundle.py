"""A bundle: one recorded run as a folder of JSON Lines, with a manifest that says what it is and holds the others' hashes.

.. code-block:: text

    manifest.json     format, versions, adapter, tenant, how it was run, counts and hashes of every other file
    tenant.yaml       the tenant's file, its references to secrets replaced
    exchanges.jsonl   every request with what became of it, in the order of the answers
    intents.jsonl     what the domain asked for, and when
    notices.jsonl     which records webhooks have named, and when
    ids.jsonl         what chance gave, in order
    rounds.jsonl      when each round of push took up which commands, and when feeds were hurried
    ledger.jsonl      what the run found in the ledger
    facts.jsonl       what came of it

It is written beside its place and moved there whole. One that is not whole, or was changed, is refused and never read in part.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sales_crm_bridge.errors import ConfigError, Finding, Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

T = TypeVar("T", bound=msgspec.Struct)

FORMAT = 1
"""The format that this version writes, and the only one that it reads."""

MANIFEST = "manifest.json"
TENANT = "tenant.yaml"
EXCHANGES, INTENTS, NOTICES, IDS, ROUNDS, LEDGER, FACTS = (
    f"{name}.jsonl" for name in ("exchanges", "intents", "notices", "ids", "rounds", "ledger", "facts")
)

REMEDY_WHOLE = "take it from where it came from again, or record it anew; a bundle is not mended by hand"


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """The bytes of a request or an answer: as ``text`` where they are UTF-8, else in ``base64``."""

    text: str = ""
    base64: str = ""

    @staticmethod
    def of(data: bytes) -> Body:
        """The body that holds these bytes."""
        try:
            return Body(text=data.decode())
        except UnicodeDecodeError:
            return Body(base64=base64.b64encode(data).decode())

    def bytes(self) -> bytes:
        """The bytes."""
        return base64.b64decode(self.base64) if self.base64 else self.text.encode()


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and what became of it. Times are microseconds since the run began.

    ``status`` 0: no answer came; ``fault`` says why (a transport's code), ``sent`` whether the request may have arrived,
    ``final`` whether the same request would end the same way.
    """

    asked_us: int
    answered_us: int
    method: str
    url: str
    body: Body = Body()
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    answer: Body = Body()
    fault: str = ""
    sent: bool = False
    final: bool = False


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """One intent, as JSON has it by the names of the contract, and when it came (microseconds since the run began)."""

    at_us: int
    intent: dict[str, Any]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Records that a webhook has named ("": any), when they were noted down, and how many notices may wait."""

    at_us: int
    crm_ids: tuple[str, ...]
    rows_max: int


class Draw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What chance gave once: a ``name``, or a ``fraction``."""

    name: str = ""
    fraction: float = 0.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """The commands that push found ready at one time, by the message ids of their intents; none: every feed was hurried then."""

    at_us: int
    commands: tuple[str, ...]


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row that the run found: of which ``table`` of the ledger, and its values by name."""

    table: str
    row: dict[str, Any]


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact: its partition ``key``, its ``message_id``, the SHA-256 of its bytes, and the fact as JSON has it."""

    key: str
    message_id: str
    sha256: str
    fact: dict[str, Any]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the manifest knows of a file: its size in bytes and in lines, and its SHA-256."""

    bytes: int
    lines: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is. ``mode``: ``once`` or ``service``, how it was run, for ``lasted_us`` from ``began_us`` on (epoch).

    ``bridge``, ``contract``: the versions that recorded it. ``tenant_file``: the file's name as it was. ``settings``: of the
    deployment, as far as they matter. ``hash_key``: the bundle's own. ``key``: SHA-256 over all of it but itself.
    """

    format: int
    bridge: str
    contract: str
    adapter: str
    tenant: str
    tenant_file: str
    mode: str
    began_us: int
    lasted_us: int
    hash_key: str
    settings: dict[str, Any]
    files: dict[str, FileEntry]
    key: str = ""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded run; see the module for its parts."""

    manifest: Manifest
    tenant: str
    exchanges: Sequence[Exchange] = ()
    intents: Sequence[Utterance] = ()
    notices: Sequence[Notice] = ()
    ids: Sequence[Draw] = ()
    rounds: Sequence[Round] = ()
    ledger: Sequence[LedgerRow] = ()
    facts: Sequence[Fact] = ()


PARTS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    EXCHANGES: ("exchanges", Exchange),
    INTENTS: ("intents", Utterance),
    NOTICES: ("notices", Notice),
    IDS: ("ids", Draw),
    ROUNDS: ("rounds", Round),
    LEDGER: ("ledger", LedgerRow),
    FACTS: ("facts", Fact),
}


def refused(code: str, said: str, file: Path, remedy: str) -> ConfigError:
    """Why a bundle is not read or written."""
    return ConfigError([Finding(code=code, message=said, place=Place(file=str(file)), remedy=remedy)])


# --- writing ----------------------------------------------------------------------------------------------------------


def need_room(folder: Path) -> None:
    """Raise ``ConfigError`` unless a bundle can be written to ``folder``: a place that is free, in a folder that is there."""
    if folder.exists():
        raise refused("replay.folder-exists", "there is something already", folder, "name a folder that is not there")
    if not folder.parent.is_dir() or not os.access(folder.parent, os.W_OK | os.X_OK):
        said = "a bundle cannot be written here"
        raise refused("replay.no-folder", said, folder.parent, "name a place in a folder that is there and writable")


def write(bundle: Bundle, folder: Path) -> Manifest:
    """Write ``bundle`` to ``folder``, which must not be there: all of it or nothing. Gives its manifest, with counts and hashes."""
    need_room(folder)
    files = {TENANT: bundle.tenant.encode()}
    files |= {name: _lines(getattr(bundle, part)) for name, (part, _) in PARTS.items()}
    entries = {name: _entry(data) for name, data in files.items()}
    manifest = msgspec.structs.replace(bundle.manifest, format=FORMAT, files=entries, key="")
    manifest = msgspec.structs.replace(manifest, key=_key(manifest))
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        for name, data in files.items():
            with (beside / name).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def _lines(rows: Sequence[msgspec.Struct]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _entry(data: bytes) -> FileEntry:
    return FileEntry(bytes=len(data), lines=data.count(b"\n"), sha256=hashlib.sha256(data).hexdigest())


def _key(manifest: Manifest) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(manifest, key=""), order="sorted")).hexdigest()


# --- reading ----------------------------------------------------------------------------------------------------------


def read(folder: Path) -> Bundle:
    """The bundle in ``folder``. Raises ``ConfigError``, naming the file that is missing, cut off, changed or of another format."""
    manifest = _manifest(folder / MANIFEST)
    parts: dict[str, Any] = {}
    for name, (part, kind) in PARTS.items():
        parts[part] = _rows(_checked(folder / name, manifest.files[name]), folder / name, kind)
    return Bundle(manifest=manifest, tenant=_text(folder / TENANT, manifest), **parts)


def _manifest(file: Path) -> Manifest:
    data = _raw(file)
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        raise refused("replay.tampered", "the manifest is no JSON", file, REMEDY_WHOLE) from None
    number = found.get("format") if isinstance(found, dict) else None
    if not isinstance(number, int):
        said = "no manifest of a bundle"
        raise refused("replay.no-bundle", said, file, "name the folder of a bundle; `--record DIR` writes one")
    if number > FORMAT:
        said = f"the bundle has format {number}, this version reads {FORMAT}"
        raise refused(
            "replay.format-new", said, file, "replay it with the version of the bridge that wrote it, or a newer one"
        )
    if number < FORMAT:
        said = f"the bundle has format {number}, this version reads {FORMAT}"
        raise refused(
            "replay.format-old", said, file, "record it anew, or replay it with the version of the bridge that wrote it"
        )
    try:
        manifest = msgspec.convert(found, Manifest)
    except msgspec.ValidationError as why:
        raise refused("replay.tampered", f"the manifest is not whole: {why}", file, REMEDY_WHOLE) from None
    if manifest.key != _key(manifest) or set(manifest.files) != {TENANT, *PARTS}:
        raise refused("replay.tampered", "the manifest was changed after it was written", file, REMEDY_WHOLE)
    return manifest


def _raw(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        if file.name == MANIFEST:
            said, remedy = "there is no bundle here", "name the folder of a bundle; `--record DIR` writes one"
            raise refused("replay.no-bundle", said, file.parent, remedy) from None
        raise refused("replay.truncated", "the file is missing", file, REMEDY_WHOLE) from None
    except OSError as error:
        raise refused("replay.no-bundle", f"cannot be read: {error.strerror}", file, "let it be readable") from None


def _checked(file: Path, entry: FileEntry) -> bytes:
    """The file's bytes, if they are those that were written."""
    data = _raw(file)
    if len(data) < entry.bytes:
        said = f"the file has {len(data):,} of its {entry.bytes:,} bytes"
        raise refused("replay.truncated", said, file, REMEDY_WHOLE)
    if _entry(data) != entry:
        raise refused("replay.tampered", "the file was changed after it was written", file, REMEDY_WHOLE)
    return data


def _text(file: Path, manifest: Manifest) -> str:
    return _checked(file, manifest.files[file.name]).decode()


def _rows(data: bytes, file: Path, kind: type[T]) -> list[T]:
    decoder = msgspec.json.Decoder(kind)
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            rows.append(decoder.decode(line))
        except msgspec.MsgspecError as why:
            raise refused("replay.tampered", f"line {number}: {why}", file, REMEDY_WHOLE) from None
    return rows
