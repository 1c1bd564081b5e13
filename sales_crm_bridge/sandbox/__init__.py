"""Faithful local CRMs: they answer what the real service answers, also where that is inconvenient.

A sandbox is a state and a function from request to answer; time and randomness are handed in, so a run can be repeated. Around it
stand an httpx transport (no sockets), an ASGI shim and a small server.
"""

from __future__ import annotations

from sales_crm_bridge.sandbox.asgi import SandboxApp
from sales_crm_bridge.sandbox.faults import Fault, FaultKind, Faults
from sales_crm_bridge.sandbox.serving import serve
from sales_crm_bridge.sandbox.transport import SandboxTransport
from sales_crm_bridge.sandbox.wire import Answer, ConnectionCut, Cut, Request, Sandbox

__all__ = [
    "Answer",
    "ConnectionCut",
    "Cut",
    "Fault",
    "FaultKind",
    "Faults",
    "Request",
    "Sandbox",
    "SandboxApp",
    "SandboxTransport",
    "serve",
]
