"""Reads the settings from their places, and says where each problem stands: a line of the file, a variable, a secret file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic import ValidationError

from sales_crm_bridge import yaml_places
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.findings import finding
from sales_crm_bridge.problems import findings_of
from sales_crm_bridge.secret_refs import is_reference
from sales_crm_bridge.settings.models import KAFKA_SECRETS, Settings, ledger_parts, secrets_in_query
from sales_crm_bridge.settings.salvaging import salvage, touches
from sales_crm_bridge.settings.sources import Route, environment, holds, merged, secret_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from sales_crm_bridge.settings.sources import Source

NOWHERE = "the settings"


def somewhere(_route: Sequence[str | int]) -> Place:
    """The place of what nothing gave, or of what is no longer known where it stands."""
    return Place(file=NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Settings as far as they can be used, and every problem of them; without a problem they are what was meant.

    ``broken``: what could not be used (``()``: the whole file); there ``settings`` has the default. ``place``: where the value at a
    route stands.
    """

    settings: Settings
    findings: tuple[Finding, ...]
    broken: tuple[Route, ...]
    place: Callable[[Sequence[str | int]], Place]


def load(file: Path | None, secrets: Path | None = None, *, without: Collection[str] = ()) -> Settings:
    """As ``read``, but raises ``ConfigError`` with every problem."""
    reading = read(file, secrets, without=without)
    if reading.findings:
        raise ConfigError(reading.findings)
    return reading.settings


def read(file: Path | None, secrets: Path | None = None, *, without: Collection[str] = ()) -> Reading:
    """The settings from the process's environment, the folder ``secrets`` and the YAML ``file`` (None: there is none).

    A file of ``secrets`` holds one setting and is called ``sales_crm_bridge_<setting>``. ``without``: settings that the caller has
    no use for; they keep their defaults, and what they refer to is not looked for.
    """
    document = yaml_places.read(file, str(file)) if file is not None else yaml_places.Document(file=NOWHERE, value={})
    found = list(document.findings)
    values: dict[str, object] = {}
    broken: tuple[Route, ...] = ()
    if isinstance(document.value, Mapping):
        values = dict(document.value)
    else:
        broken = ((),)
        if not found:
            found.append(finding("config.bad-type", "the file is not a mapping", document.place(())))
    found += _plain_secrets(document)
    sources = (environment(), secret_files(secrets))
    for source in reversed(sources):
        values = merged(values, source.values)
        found += source.findings
        broken += source.broken
    values = {name: value for name, value in values.items() if name not in without}
    locate = _locator(document, sources)
    try:
        settings = Settings(**values)  # type: ignore[arg-type]  # untrusted: the models check it
    except ValidationError as error:
        found += findings_of(error, Settings, locate)
        settings, refused = salvage(values, error)
        broken += refused
    return Reading(settings=settings, findings=tuple(_ordered(found)), broken=broken, place=locate)


def run_findings(
    settings: Settings,
    place: Callable[[Sequence[str | int]], Place] = somewhere,
    broken: Sequence[Route] = (),
) -> list[Finding]:
    """What a bridge in production needs and these settings lack, but for what is ``broken``; a demo brings its own."""
    lacks: list[tuple[Route, str, str]] = []
    if not str(settings.kafka.get("bootstrap.servers", "")).strip():
        lacks.append((("kafka", "bootstrap.servers"), "no Kafka cluster", "set kafka: {bootstrap.servers: host:port}"))
    if not settings.hash_keys:
        remedy = "set hash_keys to a list with one reference to a random text of 32 characters or more"
        lacks.append((("hash_keys",), "no key for the hashes of field values", remedy))
    if settings.seal_key is None:
        remedy = "set seal_key to a reference to a random text of 32 characters or more"
        lacks.append((("seal_key",), "no key to seal what sign-ins keep", remedy))
    return [
        finding("config.missing-key", message, place(route), remedy)
        for route, message, remedy in lacks
        if not touches(route, broken)
    ]


def _locator(document: yaml_places.Document, sources: Sequence[Source]) -> Callable[..., Place]:
    """Says where the value at a route stands (``key``: its key), or what is nearest around it."""

    def locate(route: Sequence[str | int], key: bool = False) -> Place:  # noqa: FBT001, FBT002 - the shape of problems.Locate
        for length in range(len(route), 0, -1):
            for source in sources:
                if holds(source.values, route[:length]):
                    return source.place(route[:length])
            if holds(document.value, route[:length]):
                break
        return document.place(route, key=key)

    return locate


def _ordered(found: Iterable[Finding]) -> list[Finding]:
    return sorted(dict.fromkeys(found), key=lambda one: (one.place, one.code, one.message))


def _plain_secrets(document: yaml_places.Document) -> list[Finding]:
    """Secrets that stand in the YAML file as they are."""
    values = document.value if isinstance(document.value, Mapping) else {}
    routes: list[tuple[str | int, ...]] = [(name,) for name in ("ledger_password", "seal_key")]
    keys, kafka, ledger = values.get("hash_keys"), values.get("kafka"), values.get("ledger")
    routes += [("hash_keys", index) for index in range(len(keys))] if isinstance(keys, list) else []
    routes += [("kafka", name) for name in kafka if name in KAFKA_SECRETS] if isinstance(kafka, Mapping) else []
    telemetry = _at(values, ("telemetry", "headers"))
    routes += [("telemetry", "headers", name) for name in telemetry] if isinstance(telemetry, Mapping) else []
    plain = [route for route in routes if _is_plain(_at(values, route))]
    if isinstance(ledger, str) and not is_reference(ledger) and _names_a_password(ledger):
        plain.append(("ledger",))
    return [
        finding("config.plain-secret", f"{'.'.join(map(str, route))} stands here in plain text", document.place(route))
        for route in plain
    ]


def _names_a_password(ledger: str) -> bool:
    """Whether a secret stands in the address as it is, before the host or among the parameters."""
    parts = ledger_parts(ledger)
    secrets = [unquote(parts.password or ""), *secrets_in_query(parts.query)]
    return any(secret and not is_reference(secret) for secret in secrets)


def _at(values: Mapping[str, object], route: Sequence[str | int]) -> object:
    found: object = values
    for step in route:
        if isinstance(found, Mapping):
            found = found.get(str(step))
        elif isinstance(found, list) and isinstance(step, int):
            found = found[step]
        else:
            return None
    return found


def _is_plain(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and value.startswith(("env:", "file:")))
