"""The files of the set-up of calls: certificates, keys, key sets. Read anew when they change, since they are rotated."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt import InvalidKeyError, PyJWK, PyJWKError

from sales_crm_bridge.errors import EnvironmentFault, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sales_crm_bridge.settings.calls import Rpc

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1_048_576
REMEDY = "put the file there, readable for this process, in the form that docs/rpc.md tells"


class Watched:
    """A file that is read again when it has changed. One that cannot be read leaves what was read before in force."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._stamp: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether it differs from what ``read`` gave last; False where it cannot be looked at."""
        try:
            return self._now() != self._stamp
        except OSError:
            return False

    def read(self) -> bytes:
        """What is in it. Raises ``OSError``, and ``ValueError`` for what is too large."""
        stamp = self._now()
        with self.path.open("rb") as stream:
            found = stream.read(FILE_BYTES_MAX + 1)
        if len(found) > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX:,} bytes")
        self._stamp = stamp
        return found

    def _now(self) -> tuple[int, int, int]:
        about = self.path.stat()
        return about.st_mtime_ns, about.st_size, about.st_ino


class Identity:
    """The server's certificate, its key, and the authorities whose clients are let in (None: clients show no certificate)."""

    def __init__(self, settings: Rpc) -> None:
        self._certificate = Watched(settings.certificate_file)
        self._key = Watched(settings.key_file)
        self._authorities = Watched(settings.client_ca_file) if settings.client_ca_file else None

    def credentials(self) -> grpc.ServerCredentials:
        """For a port, looked at anew for each connection. Raises ``EnvironmentFault`` for what cannot be used."""
        return grpc.dynamic_ssl_server_credentials(
            self.load(),
            self._renewed,  # type: ignore[arg-type]  # None is an answer: nothing has changed
            require_client_authentication=self._authorities is not None,
        )

    def certificate(self) -> Any:
        """What is in the certificate's file. Raises ``EnvironmentFault``, as the next two."""
        return _checked(self._certificate, "certificate", x509.load_pem_x509_certificates)

    def key(self) -> Any:
        """What is in the key's file."""
        return _checked(self._key, "private key", lambda text: load_pem_private_key(text, None))

    def authorities(self) -> Any:
        """What is in the authorities' file; None: there is none."""
        if self._authorities is None:
            return None
        return _checked(self._authorities, "certificate", x509.load_pem_x509_certificates)

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Read and check all files."""
        certificate, key, authorities = self.certificate(), self.key(), self.authorities()
        mine = x509.load_pem_x509_certificates(certificate)[0].public_key()
        if load_pem_private_key(key, None).public_key() != mine:
            raise EnvironmentFault(
                "rpc.bad-file",
                "the private key is not the certificate's",
                place=str(self._key.path),
                remedy="put the two files of one pair there",
            )
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authorities)

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        files = [self._certificate, self._key, *([self._authorities] if self._authorities is not None else [])]
        if not any(file.changed() for file in files):
            return None
        try:
            renewed = self.load()
        except EnvironmentFault as fault:
            # Half of a rotation: the old pair still serves, and the next connection looks again.
            log.warning(
                "a renewed certificate cannot be used, the one before stays in force",
                extra={"event": "call.certificate-kept", "code": fault.code},
            )
            return None
        log.info("the certificate of calls was renewed", extra={"event": "call.certificate-renewed"})
        return renewed


class KeySet:
    """The public keys of whoever issues the tokens, by key id."""

    def __init__(self, path: str) -> None:
        self._file = Watched(path)
        self._keys: Mapping[str, dict[str, str]] = {}

    def load(self) -> None:
        """Read the file. Raises ``EnvironmentFault``."""
        keys: dict[str, dict[str, str]] = {}
        for number, key in enumerate(_checked(self._file, "key set", _key_set, json.loads)["keys"]):
            keys[str(key.get("kid", f"#{number}"))] = key
        self._keys = keys

    def key(self, name: str, algorithm: str) -> PyJWK | None:
        """The key ``name`` ("" : the only one there is) for ``algorithm``; None: there is none."""
        if self._file.changed():
            try:
                self.load()
            except EnvironmentFault as fault:
                log.warning(
                    "a renewed key set cannot be used, the one before stays in force",
                    extra={"event": "call.key-set-kept", "code": fault.code},
                )
        found = self._keys.get(name) if name else next(iter(self._keys.values()), None)
        if found is None or (not name and len(self._keys) > 1):
            return None
        try:
            return PyJWK(found, found.get("alg", algorithm))
        except (InvalidKeyError, PyJWKError):
            return None  # a key of another kind than the algorithm


def _key_set(text: bytes) -> None:
    keys = json.loads(text)["keys"]
    if not keys:
        raise ValueError("no keys")
    for key in keys:
        if key["kty"] == "oct" or "d" in key:
            raise ValueError("not a public key")
        PyJWK(key)


def _checked(file: Watched, what: str, check: Callable[[bytes], object], give: Callable[[bytes], Any] = bytes) -> Any:
    """What is in a file that must be a ``what``."""
    try:
        found = file.read()
        check(found)
    except OSError as error:
        said = f"the file cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, PyJWKError, InvalidKeyError):
        said = f"the file holds no usable {what}"
    else:
        return give(found)
    raise EnvironmentFault("rpc.bad-file", said, place=str(file.path), remedy=REMEDY)


def findings_of_files(settings: Rpc) -> list[Finding]:
    """What is wrong with the files that the settings name, each of them by itself, and the pair if both are good."""
    identity = Identity(settings)
    single: list[Callable[[], object]] = []
    pair: list[Callable[[], object]] = []
    if settings.transport == "tls":
        single += [identity.certificate] if settings.certificate_file else []
        single += [identity.key] if settings.key_file else []
        single.append(identity.authorities)
        pair += [identity.load] if settings.certificate_file and settings.key_file else []
    found = [*_faults(single)] or [*_faults(pair)]
    if settings.transport != "off" and settings.tokens is not None:
        found += _faults([KeySet(settings.tokens.keys_file).load])
    return found


def _faults(loads: Sequence[Callable[[], object]]) -> Iterator[Finding]:
    for load in loads:
        try:
            load()
        except EnvironmentFault as fault:
            yield fault.finding()
