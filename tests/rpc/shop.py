"""What the tests of calls share: certificates, tokens, a client made from the texts in ``protos/`` alone, and a bridge to call.

The bridge is the whole service with its real server, adapter, rim and ledger; the CRM is the sandbox, Kafka's topics lie in memory.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from jwt.algorithms import RSAAlgorithm

from sales_crm_bridge import contract, fronts, wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.rpc import RpcServer
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.topic import Topics, TopicSink, TopicSource
from sales_crm_bridge.web import Meter
from sales_crm_bridge.world import RealDice, WallClock

ROOT = Path(__file__).parents[2]
ISSUER, AUDIENCE = "https://id.example", "sales-crm-bridge"
PACKAGE = "ameide_core_proto.sales.core.v1"

TENANT = """
tenant: {tenant}
leads:
  - {{owner: {owner}, from: 2026-01-01T00:00:00Z}}
connection:
  adapter: hubspot
  address: https://crm.example
  account: "4242"
  credentials: {{kind: token, token: env:ACME_TOKEN}}
  limits: {{per_second: 200, in_flight: 4}}
fields:
  email: email
  first_name: firstname
  last_name: lastname
  status:
    crm: hs_lead_status
    values: {{NEW: new, OPEN: working, CONNECTED: qualified, UNQUALIFIED: disqualified}}
pull: {{every: 1s, horizon: 1s, second_pass: 10s, removed_every: 1m, audit_every: 5m}}
"""


# --- the client: nothing but the texts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Modules that protoc made of ``protos/``: what a client of the platform has. None of it is the bridge's."""

    service: Any
    stubs: Any
    intents: Any
    sales: Any
    opportunity: Any
    context: Any


def compile_texts(folder: Path) -> Texts:
    """Compile ``protos/`` with grpcio-tools into ``folder``, and import what came of it into protobuf's public pool."""
    sources = sorted(path.relative_to(ROOT / "protos").as_posix() for path in (ROOT / "protos").rglob("*.proto"))
    with as_file(files("grpc_tools") / "_proto") as well_known:
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"-I{well_known}"),
                *(f"--python_out={folder}", f"--grpc_python_out={folder}", *sources),
            ],
            check=True,
        )
    sys.path.insert(0, str(folder))
    try:
        return Texts(
            service=importlib.import_module(f"{PACKAGE}.sales_command_service_pb2"),
            stubs=importlib.import_module(f"{PACKAGE}.sales_command_service_pb2_grpc"),
            intents=importlib.import_module(f"{PACKAGE}.intents_pb2"),
            sales=importlib.import_module(f"{PACKAGE}.sales_pb2"),
            opportunity=importlib.import_module(f"{PACKAGE}.opportunity_pb2"),
            context=importlib.import_module("ameide_core_proto.common.v1.request_context_pb2"),
        )
    finally:
        sys.path.remove(str(folder))


@dataclass
class Client:
    """A client of the command service. ``token``: its bearer token, "" none."""

    texts: Texts
    channel: grpc.aio.Channel
    token: str = ""
    tenant: str = "acme"

    @property
    def stub(self) -> Any:
        return self.texts.stubs.SalesCommandServiceStub(self.channel)

    def context(self, key: str = "", **more: str) -> Any:
        given = {"tenant_id": self.tenant, "correlation_id": "c-1", "idempotency_key": key, **more}
        return self.texts.context.RequestContext(**given)

    def subject(self, lead_id: str) -> Any:
        return self.texts.sales.SalesSubject(aggregate_type="Lead", aggregate_id=lead_id)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    async def call(self, method: str, request: Any, timeout_s: float | None = 20.0) -> Any:
        return await getattr(self.stub, method)(request, timeout=timeout_s, metadata=self.metadata())

    async def create(self, lead_id: str, key: str, timeout_s: float | None = 20.0, **fields: str) -> Any:
        return await self.call("CreateLead", self.to_create(lead_id, key, **fields), timeout_s)

    def to_create(self, lead_id: str, key: str, **fields: str) -> Any:
        lead = self.texts.opportunity.Lead(lead_id=lead_id, **fields)
        return self.texts.service.CreateLeadRequest(
            context=self.context(key),
            subject=self.subject(lead_id),
            command=self.texts.intents.CreateLeadRequested(lead=lead),
        )

    async def qualify(self, lead_id: str, key: str) -> Any:
        request = self.texts.service.QualifyLeadRequest(
            context=self.context(key),
            subject=self.subject(lead_id),
            command=self.texts.intents.QualifyLeadRequested(),
        )
        return await self.call("QualifyLead", request)

    async def get(self, lead_id: str, timeout_s: float | None = 20.0) -> Any:
        request = self.texts.service.GetLeadRequest(context=self.context(), lead_id=lead_id)
        return await self.call("GetLead", request, timeout_s)

    def state(self, answer: Any) -> str:
        name: str = self.texts.service.CommandState.Name(answer.state)
        return name.removeprefix("COMMAND_STATE_")


@dataclass
class No:
    """A refusal as a client sees it."""

    status: grpc.StatusCode
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    retry_s: float | None = None
    message: str = ""


async def refusal(call: Any) -> No:
    """What a call is refused with; it must be."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        no = No(status=error.code(), message=error.details() or "")
        rich = rpc_status.from_call(error)  # type: ignore[arg-type]  # an aio error has what it needs
        for detail in rich.details if rich is not None else ():
            info, bad, again = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                assert info.domain == "sales-crm-bridge"
                no.reason, no.facts = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                no.fields = {one.field: one.reason for one in bad.field_violations}
            elif detail.Unpack(again):
                no.retry_s = again.retry_delay.ToTimedelta().total_seconds()
        return no
    raise AssertionError("the call was not refused")


async def until(done: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Come back when ``done`` says so; the test's own limit ends what never comes."""
    while True:
        said = done()
        if said if isinstance(said, bool) else await said:
            return
        await asyncio.sleep(0.02)


# --- identities -------------------------------------------------------------------------------------------------------


class Authority:
    """An authority that signs certificates."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = _pem(self._sign(self._name, self._key.public_key(), (), authority=True))

    def _sign(
        self, name: x509.Name, key: Any, names: tuple[x509.GeneralName, ...], *, authority: bool
    ) -> x509.Certificate:
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
            .not_valid_after(dt.datetime(2040, 1, 1, tzinfo=dt.UTC))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())

    def issue(self, common_name: str, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """A certificate and its private key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        return _pem(self._sign(name, key.public_key(), names, authority=False)), _key_pem(key)

    def server(self) -> tuple[bytes, bytes]:
        return self.issue("bridge", x509.DNSName("localhost"))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Any) -> bytes:
    plain = serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return pem


class Issuer:
    """Issues bearer tokens, and publishes its keys."""

    def __init__(self, *names: str) -> None:
        self._keys = {name: rsa.generate_private_key(65537, 2048) for name in names or ("k1",)}

    def publish(self, file: Path, **more: Any) -> None:
        keys = [
            {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": name, "use": "sig", **more}
            for name, key in self._keys.items()
        ]
        file.write_text(json.dumps({"keys": keys}))

    def private(self, name: str = "k1") -> rsa.RSAPrivateKey:
        return self._keys[name]

    def token(self, now_s: float, *, key: str = "k1", algorithm: str = "RS256", **claims: Any) -> str:
        """A good token of ``sales-ui``, unless ``claims`` say else; a claim that is None is left out."""
        whole = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "sales-ui",
            "exp": now_s + 600,
            "iat": now_s,
            **claims,
        }
        given = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(given, self._keys[key], algorithm, headers={"kid": key})


# --- the bridge -------------------------------------------------------------------------------------------------------


class MovedClock(WallClock):
    """The real clock, set off by so many seconds."""

    moved_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.moved_s * 1e6)


class Noted:
    """A transport that notes which addresses were called."""

    def __init__(self, inner: HttpxTransport, sent: list[str]) -> None:
        self._inner = inner
        self._sent = sent

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        self._sent.append(url)
        return await self._inner.send(method, url, headers, body, timeout_s)

    async def close(self) -> None:
        await self._inner.close()


class Shop:
    """One deployment: a folder, a CRM, topics; processes of the bridge that are started on it."""

    def __init__(self, folder: Path, texts: Texts | None, ledger: str = "", issuer: Issuer | None = None) -> None:
        self.folder = folder
        self._texts = texts
        self.address = ledger or f"sqlite:///{folder / 'ledger.db'}"
        self.clock = MovedClock()
        self.issuer = issuer or Issuer()
        self.keys_file = folder / "keys.json"
        if not self.keys_file.exists():
            self.issuer.publish(self.keys_file)
        self.portal = Portal.seeded(
            seed=1,
            leads=0,
            clock=lambda: self.clock.now_us() / 1e6,
            vices=Vices(burst_per_10_s=10_000, search_per_s=50),
        )
        self.portal.add_property("contacts", "bridge_lead_id", unique=True)
        self.topics = Topics(2, self.clock.now_us)
        self.meter = Meter()
        self.sent: list[str] = []
        (folder / "tenants").mkdir(exist_ok=True)
        self.tenant("acme")

    @classmethod
    def again(cls, folder: Path) -> Shop:
        """The same deployment, in another process that only serves."""
        return cls(folder, None)

    @property
    def texts(self) -> Texts:
        """What a client has."""
        assert self._texts is not None
        return self._texts

    def tenant(self, name: str, owner: str = "crm") -> None:
        """Write a tenant's file."""
        text = TENANT.format(tenant=name, owner=owner)
        if name != "acme":
            text = text.replace("4242", f"4242-{name}")
        (self.folder / "tenants" / f"{name}.yaml").write_text(text)

    def settings(self, **rpc: Any) -> Settings:
        """Settings with calls in plain text and bearer tokens of ``sales-ui``, unless ``rpc`` says else."""
        plain: dict[str, Any] = {
            "transport": "insecure",
            "host": "127.0.0.1",
            "tokens": {"keys_file": str(self.keys_file), "issuer": ISSUER, "audience": AUDIENCE},
            "callers": [{"token": "sales-ui", "tenants": ["*"]}],
        }
        return Settings.model_validate(
            {
                "port_grpc": 0,
                "hash_keys": ["a key of the tests, long enough"],
                "seal_key": "another key of the tests",
                "tenants": {"folder": str(self.folder / "tenants"), "poll": "1s"},
                "rpc": {**plain, **rpc},
            }
        )

    def counted(self, name: str) -> dict[tuple[str, ...], int]:
        """A counter of the metrics, by its labels."""
        return {labels: number for labels, number in self.meter._counts[name].items() if number}

    def token(self, **claims: Any) -> str:
        return self.issuer.token(self.clock.now_us() / 1e6, **claims)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[SqlLedger]:
        """The ledger, seen from outside."""
        ledger = await open_ledger(self.address, migrate=True)
        try:
            yield ledger
        finally:
            await ledger.close()

    def outside(self, ledger: Any) -> wiring.Outside:
        """The far side of a process's ports."""
        return wiring.Outside(
            clock=self.clock,
            dice=RealDice(),
            ledger=ledger,
            transport=lambda _tenant: Noted(
                HttpxTransport(SandboxTransport(self.portal, sleep=self.clock.sleep)), self.sent
            ),
            observer=self.meter,
        )

    @asynccontextmanager
    async def unaware(self) -> AsyncIterator[RpcServer]:
        """A process that takes calls and looks at the tenants only when a call makes it."""
        async with self.ledger() as ledger:
            outside, settings = self.outside(ledger), self.settings()
            server = fronts.calls_of(settings, outside, wiring.roster_of(settings, outside))
            assert server is not None
            await server.start()
            try:
                yield server
            finally:
                await server.drain(1.0)

    @asynccontextmanager
    async def open(
        self,
        settings: Settings | None = None,
        *,
        work: bool = False,
        wrap: Callable[[Any], Any] = lambda ledger: ledger,
    ) -> AsyncIterator[RpcServer]:
        """A process of the bridge with its calls; with ``work`` the whole service. ``wrap``: stands before its ledger."""
        settings = settings or self.settings()
        async with self.ledger() as real:
            outside = self.outside(wrap(real))
            roster = wiring.roster_of(settings, outside)
            server = fronts.calls_of(settings, outside, roster)
            assert server is not None
            await roster.refresh()
            tasks = [asyncio.create_task(server.run())]
            service = wiring.assemble(
                settings, outside, source=TopicSource(self.topics), sink=TopicSink(self.topics), roster=roster
            )
            if work:
                tasks.append(asyncio.create_task(service.run()))
            await until(lambda: bool(server.port) or tasks[0].done())
            try:
                if tasks[0].done():
                    tasks[0].result()
                yield server
            finally:
                await server.drain(1.0)
                service.stop()
                if work:
                    await tasks[1]
                tasks[0].cancel()
                await asyncio.wait(tasks)

    @asynccontextmanager
    async def client(self, server: RpcServer, token: str | None = None, **more: Any) -> AsyncIterator[Client]:
        """A client in plain text with a good token, unless another is given ("" none)."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Client(texts=self.texts, channel=channel, token=self.token() if token is None else token, **more)

    def utter(self, body: Any, lead_id: str, message_id: str) -> None:
        """Put an intent on the topic."""
        envelope = contract.intent(
            body,
            tenant_id="acme",
            aggregate_id=lead_id,
            message_id=message_id,
            correlation_id="c-1",
            occurred_us=self.clock.now_us(),
            producer="sales-ui",
        )
        record = contract.record_of(envelope)
        self.topics.put(record.key, record.value, record.headers)
