"""The server: a port, the command service on it, health and reflection beside it, and a quiet end."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sales_crm_bridge import contract
from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy
from sales_crm_bridge.rpc.credentials import Identity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.rpc.counter import Counter
    from sales_crm_bridge.rpc.identity import Doorkeeper
    from sales_crm_bridge.settings.calls import Rpc

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Pause between two looks whether the ledger is there; health says so."""

STREAMS_MORE = 100
"""Streams of one connection beyond the calls that are served: for health, and so that one call too many is told, not queued."""

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Pools:
    """The contract's descriptors, which lie in a pool of our own, and behind them the public pool's: health, reflection."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        ours, public = getattr(contract.POOL, name), getattr(descriptor_pool.Default(), name)

        def find(*args: Any) -> Any:
            try:
                return ours(*args)
            except KeyError:
                return public(*args)

        return find


class RpcServer:
    """Serves calls until ``drain``; every part is handed in. ``renew`` makes the tenants known that are in force."""

    def __init__(
        self,
        settings: Rpc,
        port: int,
        *,
        counter: Counter,
        door: Doorkeeper,
        ledger: Ledger,
        clock: Clock,
        renew: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._wanted = port
        self._counter = counter
        self._door = door
        self._ledger = ledger
        self._clock = clock
        self._renew = renew
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._draining = False
        self.port = 0

    async def start(self) -> None:
        """Listen; not serving yet, as health says. Raises ``EnvironmentFault`` for files and ports that are not as needed."""
        self._door.load()
        settings = self._settings
        server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),  # a second process on the port is a mistake, and is to be told
                ("grpc.max_receive_message_length", settings.message_bytes_max),
                ("grpc.max_concurrent_streams", settings.in_flight + STREAMS_MORE),
            )
        )
        handlers: dict[str, grpc.RpcMethodHandler[bytes, Message]] = {
            name: grpc.unary_unary_rpc_method_handler(
                partial(self._counter.serve, method),
                response_serializer=_serialized,  # requests stay bytes until the caller is known
            )
            for name, method in contract.METHODS.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(contract.SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if settings.reflection:
            names = (contract.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server, pool=Pools())  # type: ignore[arg-type]
        await self._say(NOT_SERVING)
        address = f"{settings.host}:{self._wanted}"
        try:
            if settings.transport == "tls":
                self.port = server.add_secure_port(address, Identity(settings).credentials())
            else:
                self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise EnvironmentFault(
                "rpc.port-taken",
                "the port of calls cannot be listened on",
                place=address,
                remedy="set PORT_GRPC to a free port that this process may use",
            ) from error
        await server.start()
        self._server = server
        extra = {"event": "call.listening", "port": self.port}
        log.info("calls are taken on port %d (%s)", self.port, settings.transport, extra=extra)

    async def run(self) -> None:
        """Serve, and have health tell whether the ledger is there, until ``drain``. Raises what ``start`` raises."""
        await self.start()
        known = False
        while not self._draining:
            try:
                if not known:
                    await self._renew()
                    known = True
                else:
                    await self._ledger.places(contract.INTENT_TOPIC)
            except (LedgerBusy, EnvironmentFault) as fault:
                log.warning("calls wait for the ledger", extra={"event": "call.no-ledger", "code": fault.code})
                await self._say(NOT_SERVING)
            else:
                await self._say(SERVING)
            await self._clock.sleep(LOOK_S)

    async def drain(self, grace_s: float) -> None:
        """Take no new calls; those under way have ``grace_s`` to end. What was booked stays booked."""
        self._draining = True
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace_s)
        await self._counter.close(grace_s)

    async def _say(self, status: int) -> None:
        for name in ("", contract.SERVICE):
            await self._health.set(name, status)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
