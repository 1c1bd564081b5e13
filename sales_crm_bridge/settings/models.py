"""Deployment settings: environment first, then secret files, then ``bridge.yaml``, then the defaults below.

The models are the documentation: the JSON Schema and the reference page are generated from them. Every limit of the
bridge has its name here. Durations are written with their unit (``30s``), so their keys need none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sales_crm_bridge.problems import Seconds, SecondsOrForever, Strict, several
from sales_crm_bridge.secret_refs import REFERENCE_PATTERN, SecretMissing, is_reference, reference
from sales_crm_bridge.settings.calls import Rpc

PREFIX = "SALES_CRM_BRIDGE_"
DAY_S = 86_400.0
PORT_MAX = 65_535

KAFKA_SECRETS = frozenset(
    {
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    }
)
"""Settings of librdkafka whose values are secrets (CONFIGURATION.md of librdkafka 2.x)."""

KAFKA_OWNED = {
    "acks": "facts are acknowledged by all in-sync replicas",
    "auto.offset.reset": "a place that is gone opens a gap instead of being skipped",
    "default.topic.config": "a topic's settings stand among the others",
    "delivery.report.only.error": "every fact's acknowledgement is awaited",
    "delivery.timeout.ms": "it is the setting `relay.publish_timeout`",
    "enable.auto.commit": "the bridge's place is in its ledger",
    "enable.auto.offset.store": "the bridge's place is in its ledger",
    "enable.gapless.guarantee": "order is kept by the bridge's own deadline",
    "enable.idempotence": "facts are produced idempotently",
    "enable.partition.eof": "the end of a partition is no event",
    "group.id": "it is the setting `consumer_group`",
    "group.protocol": "the bridge speaks the classic protocol",
    "isolation.level": "aborted intents are no intents",
    "logger": "what librdkafka says goes into the bridge's log",
    "message.timeout.ms": "it is the setting `relay.publish_timeout`",
    "partition.assignment.strategy": "a place is named before a partition is read",
    "partitioner": "all clients of the domain must agree on the partition of a key",
    "plugin.library.paths": "the bridge loads no foreign code",
    "request.required.acks": "facts are acknowledged by all in-sync replicas",
    "transactional.id": "the outbox makes facts durable",
}
"""Settings of librdkafka that are not the deployment's to make, and why."""

_REFERENCE_SCHEMA: dict[str, object] = {
    "type": "string",
    "pattern": REFERENCE_PATTERN,
    "examples": ["env:NAME", "file:/run/secrets/name"],
}


def _read_secret(value: object) -> object:
    """Follow a reference. A plain value came from the environment or a secret file: one in YAML is refused before."""
    if not isinstance(value, str) or not value.startswith(("env:", "file:")):
        return value
    if not is_reference(value):
        raise PydanticCustomError("config.bad-reference", "not a reference to a secret")
    try:
        return reference(value).read(os.environ)
    except SecretMissing as error:
        raise PydanticCustomError("config.unresolvable-secret", "{why}", {"why": str(error)}) from None


def _ledger(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    parts = ledger_parts(text)
    password = unquote(parts.password or "")
    embedded = parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1
    served = parts.scheme == "postgresql" and len(parts.path) > 1 and all(map(_HOST.fullmatch, _hosts(parts)))
    if not embedded and not served:
        raise PydanticCustomError("config.bad-ledger", "not a ledger address")
    if any(not _is_port(port) for port in _ports(parts)):
        remedy = f"write a port from 1 to {PORT_MAX:,}, or none for PostgreSQL's own"
        raise PydanticCustomError("config.bad-ledger", "a port of the address is none", {"remedy": remedy})
    if any(is_reference(secret) for secret in secrets_in_query(parts.query)):
        remedy = "write it before the host, postgresql://user:env:NAME@host/database, or set `ledger_password`"
        raise PydanticCustomError("config.bad-reference", "a reference is not followed here", {"remedy": remedy})
    return SecretStr(with_password(text, str(_read_secret(password)))) if is_reference(password) else value


_HOST = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]*)(:[^\[\]:]*)?")


def ledger_parts(address: str) -> SplitResult:
    """A ledger's address by its parts, as libpq reads it: there may be several hosts, also with an IPv6 address among them.

    ``urllib`` refuses such a list from some patch release of each Python on.
    """
    scheme, _, rest = address.partition("://")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    return SplitResult(scheme.lower(), netloc, slash + path, query, fragment)


def _hosts(parts: SplitResult) -> list[str]:
    return parts.netloc.rpartition("@")[2].split(",")


def secrets_in_query(query: str) -> list[str]:
    """The secrets that a PostgreSQL address may have behind its ``?`` (libpq's parameters, PostgreSQL 18)."""
    return [value for name, value in parse_qsl(query) if name in {"password", "sslpassword", "oauth_client_secret"}]


def _ports(parts: SplitResult) -> list[str]:
    """The ports that a PostgreSQL address names: one for each of its hosts, before the path or behind the ``?``."""
    ends = [host.rpartition("]")[2] for host in _hosts(parts)]
    queried = [port for name, value in parse_qsl(parts.query) if name == "port" for port in value.split(",")]
    return [port for port in (*(end.partition(":")[2] for end in ends), *queried) if port]


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= PORT_MAX


def with_password(address: str, password: str) -> str:
    """A PostgreSQL address with ``password`` in place of the one it may have, percent-encoded."""
    parts = ledger_parts(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{host}"))


def _kafka(value: object) -> object:
    """The names of librdkafka with their dots (an environment variable's name cannot have them), references followed."""
    if not isinstance(value, dict):
        return value
    named = {
        name.replace("_", ".") if "." not in name else name: item for name, item in sorted(value.items(), reverse=True)
    }
    problems: list[tuple[str, str, str]] = []
    found: dict[str, object] = {}
    for name, item in named.items():
        try:
            found[name] = _kafka_value(name, item)
        except PydanticCustomError as error:
            problems.append((name, error.type, error.message()))
    if problems:
        raise several(problems)
    return found


def _kafka_value(name: str, value: object) -> object:
    owned = KAFKA_OWNED.get(name, "")
    if name.startswith("test.mock"):
        owned = "it is for tests"
    elif name.endswith(".cb"):
        owned = "it takes code, not a value"
    if owned:
        raise PydanticCustomError("config.owned-by-bridge", "{name}: {why}", {"name": name, "why": owned})
    if not isinstance(value, str | int | float | bool):
        raise PydanticCustomError("config.bad-type", "{name}: not a single value", {"name": name})
    found = _read_secret(value)
    return SecretStr(str(found)) if found is not value or name in KAFKA_SECRETS else value


Secret = Annotated[SecretStr, BeforeValidator(_read_secret), WithJsonSchema(_REFERENCE_SCHEMA)]
"""A secret: a reference in YAML; in the environment and in secret files the value itself, or a reference."""

Key = Annotated[Secret, Field(min_length=16)]
"""A secret that keys a hash or a seal."""

LedgerAddress = Annotated[
    SecretStr,
    BeforeValidator(_read_secret),
    AfterValidator(_ledger),
    WithJsonSchema({"type": "string", "pattern": "^(sqlite:///.+|postgresql://.+/.+|env:.+|file:/.+)$"}),
]
KafkaSettings = Annotated[
    dict[str, str | bool | int | float | SecretStr],
    BeforeValidator(_kafka),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: {"not": {}, "description": f"Not here: {why}."} for name, why in KAFKA_OWNED.items()}
            | dict.fromkeys(sorted(KAFKA_SECRETS), _REFERENCE_SCHEMA),
            "patternProperties": {"^test\\.mock": {"not": {}}},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        }
    ),
]


class SchemaRegistry(Strict):
    """The framing of a schema registry: magic byte, schema id, message index before the Protobuf bytes."""

    framing: Literal["none", "confluent"] = "none"
    """`confluent`: facts are framed, and intents are expected framed (unframed ones are read too)."""
    facts_schema_id: int = Field(default=0, ge=0, le=2_147_483_647)
    """The registry's id of the schema of `SalesIntegrationFact`; required with framing."""

    @property
    def framed(self) -> bool:
        """Whether records carry its framing."""
        return self.framing != "none"

    @model_validator(mode="after")
    def _framed_with_an_id(self) -> Self:
        if self.framed and self.facts_schema_id == 0:
            raise PydanticCustomError("config.missing-key", "framing needs facts_schema_id")
        return self


class Tenants(Strict):
    """The tenants' files."""

    folder: str = Field(default="config/tenants", min_length=1)
    """Where they are, one `<tenant>.yaml` each; a relative path starts at the working directory."""
    poll_s: Seconds = Field(default=10.0, ge=1.0, le=3_600.0, alias="poll")
    """How often the folder is looked at for changes."""


class Service(Strict):
    """The process."""

    drain_s: Seconds = Field(default=25.0, ge=1.0, le=600.0, alias="drain")
    """Longest time from SIGTERM to exit; work under way is finished, or left to the next process."""


class Lease(Strict):
    """Ownership of CRM accounts among the processes of one deployment."""

    ttl_s: Seconds = Field(default=20.0, ge=2.0, le=600.0, alias="ttl")
    """How long an account stays with a process that is no longer heard of."""
    renew_s: Seconds = Field(default=5.0, ge=0.5, le=200.0, alias="renew")
    """How often a process renews all its leases, with one statement; at most a third of `ttl`."""

    @model_validator(mode="after")
    def _renew_in_time(self) -> Self:
        if self.renew_s * 3 > self.ttl_s:
            raise PydanticCustomError("config.out-of-range", "renew must be at most a third of ttl")
        return self


class Intake(Strict):
    """Taking intents from Kafka into the ledger."""

    batch: int = Field(default=500, ge=1, le=10_000)
    """Records written to the ledger in one transaction."""


class Push(Strict):
    """Carrying out commands in a CRM. A tenant's file may choose its own `attempts_max` below this one."""

    attempts_max: int = Field(default=8, ge=1, le=100)
    """Tries of one write that fail while other writes of the account take effect, before the command is parked for a person."""
    retry_first_s: Seconds = Field(default=2.0, ge=0.1, le=300.0, alias="retry_first")
    """Wait before the second try; it doubles from try to try. A CRM's own wish wins if it is longer."""
    retry_max_s: Seconds = Field(default=900.0, ge=1.0, le=DAY_S, alias="retry_max")
    """Longest wait between two tries of one command."""
    settle_first_s: Seconds = Field(default=5.0, ge=0.1, le=600.0, alias="settle_first")
    """Wait before a write whose answer was lost is read back; it doubles from try to try.

    That it took no effect is believed only once `http.timeout` has gone by as well."""
    settle_max: int = Field(default=12, ge=1, le=100)
    """Read-backs of one unknown write before the command is parked for a person."""


class Pull(Strict):
    """Reading a CRM's changes. Schedules stand in the tenants' files."""

    page_size_max: int = Field(default=2_000, ge=1, le=10_000)
    """Records of one page, and of one transaction in the ledger."""


class Relay(Strict):
    """Publishing facts."""

    outbox_batch: int = Field(default=1_000, ge=1, le=20_000)
    """Facts in flight to Kafka at the same time."""
    outbox_rows_max: int = Field(default=200_000, ge=1_000, le=100_000_000)
    """Unpublished facts at which pushes and pulls pause, visibly; nothing is lost."""
    publish_timeout_s: Seconds = Field(default=60.0, ge=1.0, le=900.0, alias="publish_timeout")
    """How long a fact may stay unacknowledged before it is published again, with the same `message_id`."""


class Http(Strict):
    """Calls to CRMs, and deliveries from them."""

    timeout_s: Seconds = Field(default=30.0, ge=1.0, le=300.0, alias="timeout")
    """Longest wait for one answer."""
    connect_timeout_s: Seconds = Field(default=10.0, ge=0.5, le=60.0, alias="connect_timeout")
    """Longest wait for a connection."""
    body_bytes_max: int = Field(default=33_554_432, ge=65_536, le=1_073_741_824)
    """Bytes of one answer; a larger one is cut off and counts as no answer."""
    tries_max: int = Field(default=5, ge=1, le=20)
    """Tries of one call inside one conversation (a write is repeated only when it certainly took no effect)."""
    retry_first_s: Seconds = Field(default=0.5, ge=0.01, le=60.0, alias="retry_first")
    """Wait before the second try of a call; it doubles, with jitter. A CRM's own wish wins if it is longer."""
    retry_max_s: Seconds = Field(default=60.0, ge=0.1, le=600.0, alias="retry_max")
    """Longest wait inside a conversation; a longer wish of the CRM ends the conversation until then."""
    breaker_faults: int = Field(default=10, ge=1, le=1_000)
    """Faults in a row after which an account is left alone."""
    breaker_open_s: Seconds = Field(default=30.0, ge=1.0, le=3_600.0, alias="breaker_open")
    """How long it is left alone before one call tries again."""
    sign_in_ahead_s: Seconds = Field(default=120.0, ge=1.0, le=3_600.0, alias="sign_in_ahead")
    """How long before its end a token is renewed."""


class Web(Strict):
    """The HTTP side: health, readiness, metrics and webhooks, on `port_http`."""

    host: str = Field(default="", max_length=255)
    """The address to listen on; empty: all of the machine's."""
    public_url: str = Field(default="", max_length=1_000, pattern=r"^(https?://[^/?#\s]+[^?#\s]*)?$")
    """Where CRMs reach `/webhooks/…` from outside, such as `https://bridge.example.com`: most signatures cover the address. Empty:
    `https://` and the host that the delivery names."""
    connections_max: int = Field(default=500, ge=10, le=100_000)
    """Open connections, and at most half of the files that the process may have open. Beyond it the one closes that has waited
    longest without a request."""
    head_timeout_s: Seconds = Field(default=10.0, ge=0.1, le=120.0, alias="head_timeout")
    """Longest time in which the line and the headers of a request must have come, from the connection's beginning or the request's;
    after that the connection is closed."""
    body_bytes_max: int = Field(default=1_048_576, ge=1_024, le=67_108_864)
    """Bytes of one delivery; a larger one is refused with 413."""
    body_timeout_s: Seconds = Field(default=10.0, ge=0.1, le=120.0, alias="body_timeout")
    """Longest time in which a delivery's body must have come; after that it is refused with 408."""
    bodies_max: int = Field(default=64, ge=1, le=10_000)
    """Bodies of deliveries that come at the same time, and at most half as many as connections. Beyond it the slowest is refused
    with 408: until a body is there, nobody knows whether it is signed."""
    answer_s: Seconds = Field(default=4.0, ge=0.1, le=60.0, alias="answer")
    """Longest wait for the ledger before a delivery is answered 503. A CRM is impatient: HubSpot gives up after 5 s."""
    in_flight_max: int = Field(default=16, ge=1, le=1_000)
    """Well-signed deliveries to one connection that wait for the ledger at the same time; more are refused with 429."""
    notices_max: int = Field(default=10_000, ge=100, le=1_000_000)
    """Records of one connection that wait to be read back; beyond it they are read by the feeds, hurried."""
    gather_s: Seconds = Field(default=1.0, ge=0.0, le=60.0, alias="gather")
    """How long a notice waits for others, so that one call reads them all."""


class Retention(Strict):
    """How long finished things are remembered. None of it holds a person's data."""

    commands_s: Seconds = Field(default=30 * DAY_S, ge=3_600.0, le=3_650 * DAY_S, alias="commands")
    """Finished commands."""
    inbox_s: SecondsOrForever = Field(default=30 * DAY_S, ge=DAY_S, alias="inbox", allow_inf_nan=True)
    """Ids of intents taken: at least as long as the intent topic keeps its records, or an old one could be done twice.
    `forever` for a topic that keeps them for ever; the ledger then grows by a short row with each intent."""
    runs_s: Seconds = Field(default=14 * DAY_S, ge=3_600.0, le=3_650 * DAY_S, alias="runs")
    """Finished sync runs."""
    every_s: Seconds = Field(default=600.0, ge=10.0, le=DAY_S, alias="every")
    """How often the broom goes round."""
    rows_max: int = Field(default=5_000, ge=100, le=1_000_000)
    """Rows deleted in one transaction."""


class Log(Strict):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is written."""
    form: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON lines elsewhere."""


class Telemetry(Strict):
    """Traces, sent to a collector over OTLP/HTTP; without an endpoint nothing is recorded and nothing sent."""

    endpoint: str = Field(default="", max_length=1_000, pattern=r"^(https?://[^\s/@?#]+(/[^\s@?#]*)?)?$")
    """The collector's base address; spans go to `/v1/traces` under it. Empty: what OpenTelemetry's own variables say
    (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`), or else none."""
    headers: dict[str, Secret] = Field(default_factory=dict)
    """Headers of each export, a token for the collector, say."""
    ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    """The share recorded of traces that begin here; an intent that brings a trace is recorded as its trace says."""
    to_crm: bool = True
    """Whether calls to a CRM carry `traceparent` and `tracestate`."""
    queue_spans_max: int = Field(default=8_192, ge=512, le=1_000_000)
    """Spans that wait to be sent; the oldest are dropped first."""
    timeout_s: Seconds = Field(default=5.0, ge=0.1, le=60.0, alias="timeout")
    """Longest time of one export, and of the last one at the end of the process."""

    def traces_endpoint(self, environ: Mapping[str, str]) -> str:
        """Where spans are sent, with the path; "": nowhere. ``environ`` has OpenTelemetry's own variables."""
        off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        if off or environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
            return ""
        if not self.endpoint and (whole := environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()):
            return whole
        base = self.endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
        return f"{base.rstrip('/')}/v1/traces" if base else ""


class Settings(BaseSettings):
    """Settings of one deployment of the bridge."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=False,
    )

    port_http: int = Field(default=8080, ge=0, le=65_535, validation_alias="port_http")
    """Port of health, readiness, metrics and webhooks (0: a free one). In the environment: `PORT_HTTP`."""
    port_grpc: int = Field(default=9090, ge=0, le=65_535, validation_alias="port_grpc")
    """Port of gRPC (0: a free one). In the environment: `PORT_GRPC`."""
    producer: str = Field(default="sales-crm-bridge", min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")
    """The workload identity that facts carry as `meta.producer`."""
    tenants: Tenants = Tenants()
    ledger: LedgerAddress = SecretStr("sqlite:///bridge.db")
    """Where all state is: `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user@host/database`, or a reference to
    such an address. Its password may be a reference: `postgresql://user:env:PASSWORD@host/database`."""
    ledger_password: Secret | None = None
    """Password of the PostgreSQL ledger, when it does not stand in `ledger`."""
    kafka: KafkaSettings = Field(default_factory=dict)
    """Settings of librdkafka under its own names: `bootstrap.servers`, TLS, SASL, OAuth and so on; secrets as references."""
    consumer_group: str = Field(default="sales-crm-bridge", min_length=1, max_length=249)
    """Consumer group on the intent topic, and Kafka's `group.id`."""
    schema_registry: SchemaRegistry = SchemaRegistry()
    hash_keys: tuple[Key, ...] = Field(default=(), max_length=8)
    """Keys of the hashes that stand for field values in the ledger: the first is used, the others still recognise. Put a new
    key in front to rotate; drop the last one when every account has been audited since (`pull.audit_every`). At least 16
    characters each."""
    seal_key: Key | None = None
    """Key that seals what a sign-in must keep (a rotated refresh token). At least 16 characters."""
    service: Service = Service()
    lease: Lease = Lease()
    intake: Intake = Intake()
    push: Push = Push()
    pull: Pull = Pull()
    relay: Relay = Relay()
    http: Http = Http()
    web: Web = Web()
    rpc: Rpc = Rpc()
    retention: Retention = Retention()
    log: Log = Log()
    telemetry: Telemetry = Telemetry()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed in alone: the loader puts the sources together, so that it can say where each value stands."""
        return (init_settings,)

    def ledger_address(self) -> str:
        """The ledger's address with its password in it: for the ledger's driver alone."""
        address = self.ledger.get_secret_value()
        if self.ledger_password is None or address.startswith("sqlite:"):
            return address
        return with_password(address, self.ledger_password.get_secret_value())

    def kafka_config(self) -> dict[str, str | int | float | bool]:
        """Kafka's settings with the secrets in them: for Kafka's clients alone."""
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in self.kafka.items()
        }
