"""What every client of the cluster shares: its settings, names for its errors, and a log without secrets."""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from confluent_kafka import KafkaError, KafkaException

from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.repeats import Repeats
from sales_crm_bridge.settings import KAFKA_SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger("sales_crm_bridge.kafka")

BATCH_RECORDS = 2_000
BATCH_BYTES = 8 * 1024 * 1024
DELIVERY_S = 30.0
CLOSE_S = 10.0

MESSAGE_SET_BYTES = 256 * 1024
"""Facts travel in sets of at most this size (a larger fact travels alone). A broker that finds a set too large refuses all of
it, so a topic's ``max.message.bytes`` should not be below; ``kafka_state`` says so. Measured: no dearer than librdkafka's 1 MB."""

PROCESS = "sales-crm-bridge"

_SHARED_DEFAULTS = {"client.id": PROCESS, "socket.keepalive.enable": True}

_CONSUMER_OURS = {
    "group.protocol": "classic",  # the other one allows no choice of assignor; one protocol is tested, so one is used
    "partition.assignment.strategy": "cooperative-sticky",  # a partition that stays is not interrupted by a rebalance
    "enable.auto.commit": False,  # our place is in the ledger
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a place that is gone is a value, never a silent jump
    "isolation.level": "read_committed",
    "enable.partition.eof": False,
}

_PRODUCER_DEFAULTS = {"compression.type": "lz4", "linger.ms": 5, "batch.size": MESSAGE_SET_BYTES}
_PRODUCER_OURS = {
    "enable.idempotence": True,
    "acks": "all",
    # Java's default partitioner, so that every client of the domain puts a key on the same partition (librdkafka's own
    # default is another one).
    "partitioner": "murmur2_random",
    # The deadline is ours (KafkaFacts), for a whole batch at once: rows that ran out of time one by one would let a later
    # row of a key pass an earlier one.
    "message.timeout.ms": 0,
    "delivery.report.only.error": False,
}

_PRODUCER_ALIASES = frozenset({"delivery.timeout.ms", "request.required.acks"})
"""Other names of settings that are ours: of two names for one setting librdkafka takes the one it is told last."""

FATAL = frozenset(
    {
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's own codes start with an underscore
        KafkaError._SSL,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    }
)
"""No waiting helps: a person must grant rights, create a topic or mend credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach the cluster, and the limits at its edge.

    ``servers`` is ``bootstrap.servers``. ``client`` holds librdkafka's other settings with the secrets in them; what the bridge
    promises by (offsets, idempotence, acks, partitioner) overrides it. ``batch_records`` (≥ 1) and ``batch_bytes`` (keys and
    values) bound one ``Batch``, the latter also what librdkafka fetches ahead; a single larger record still comes, alone.
    ``delivery_s``: a fact that is not acknowledged by then is reported so. ``close_s``: longest time for a ``close``.
    """

    servers: str
    client: Mapping[str, str | int | float | bool] = field(default_factory=dict, repr=False)
    group: str = PROCESS
    batch_records: int = BATCH_RECORDS
    batch_bytes: int = BATCH_BYTES
    delivery_s: float = DELIVERY_S
    close_s: float = CLOSE_S


class OneThread:
    """A thread that does one job after the other, so that a client is never used by two at once.

    A daemon, unlike an executor's threads: a client that cannot finish (a broker that is gone) must not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def do(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do ``job`` after those before it; its end is in the future. A future that is cancelled before is passed over."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = job(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the future is read
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(run)
        return future

    def end(self) -> None:
        """Stop after the jobs there are."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


_PASSING = re.compile(r"\(after [^)]*\)|-[0-9]+\]|(?<![\w.:#-])[0-9]+(?![\w.:#-])")
"""What differs between librdkafka's lines about one and the same: times, counts, the number of the client."""


class Redactor:
    """Takes a cluster's secrets out of what librdkafka says, and has it say the same thing once a minute.

    (Librdkafka tries a broker that is away ten times a second at first, each time with a line or two.) ``now_s``: seconds of any
    clock that never goes back.
    """

    def __init__(
        self, client: Mapping[str, str | int | float | bool], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._now_s = now_s
        self._repeats = Repeats()
        secrets = [str(client[name]) for name in sorted(KAFKA_SECRETS & client.keys())]
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """``text`` with three asterisks where a secret stood."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def log(self, level: int, message: str, *args: object) -> None:
        """The one method that confluent-kafka calls of its ``logger``."""
        if not log.isEnabledFor(level):
            return
        text = self(message % args)
        left_out = self._repeats.left_out(_PASSING.sub("", text), round(self._now_s() * 1e6))
        if left_out is not None:
            log.log(level, "%s", text, extra={"left_out": left_out or None})


def code_of(error: KafkaError) -> str:
    """Kafka's own name of an error as one of our codes: ``kafka.topic-authorization-failed``, ``kafka.all-brokers-down``."""
    return f"kafka.{error.name().strip('_').lower().replace('_', '-')}"


def error_of(exception: KafkaException) -> KafkaError:
    """The error inside ``exception``."""
    inner = exception.args[0] if exception.args else None
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError._FAIL, str(exception))  # noqa: SLF001


def is_fatal(error: KafkaError) -> bool:
    """Whether no waiting helps."""
    return error.fatal() or error.code() in FATAL


def shared_config(settings: KafkaSettings) -> dict[str, Any]:
    """What a client that neither reads nor writes records needs."""
    return {**_SHARED_DEFAULTS, **settings.client, "bootstrap.servers": settings.servers}


def consumer_config(settings: KafkaSettings) -> dict[str, Any]:
    """The consumer's settings: ours win over the deployment's, the deployment's over our defaults."""
    shared = shared_config(settings)
    ahead = {
        "queued.max.messages.kbytes": max(1, settings.batch_bytes // 1024),
        # librdkafka's own 1,000 would mean no more than one full queue a second from a partition with a backlog.
        "fetch.queue.backoff.ms": 20,
        "fetch.max.bytes": max(settings.batch_bytes, int(shared.get("message.max.bytes", 1_000_000))),
    }
    return {**ahead, **shared, **_CONSUMER_OURS, "group.id": settings.group}


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    """The producer's settings, in the same order of precedence."""
    shared = {name: value for name, value in shared_config(settings).items() if name not in _PRODUCER_ALIASES}
    return {**_PRODUCER_DEFAULTS, **shared, **_PRODUCER_OURS}


def build(make: Callable[[dict[str, Any]], T], config: dict[str, Any], redact: Redactor) -> T:
    """Make a client. Raises ``ConfigError`` where librdkafka does not accept a setting, or no broker is named."""
    if not config["bootstrap.servers"]:
        raise ConfigError([_problem("no broker is named", "set `bootstrap.servers`: host:port, several with commas")])
    try:
        return make({**config, "logger": redact})
    except KafkaException as error:
        remedy = "see librdkafka's CONFIGURATION.md for the names and values it knows"
        raise ConfigError([_problem(redact(error_of(error).str()), remedy)]) from None


def _problem(message: str, remedy: str) -> Finding:
    return Finding(code="config.kafka", message=message, place=Place(file="kafka"), remedy=remedy)
