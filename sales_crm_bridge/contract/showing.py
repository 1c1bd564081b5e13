"""A message as people and their tools read it."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from sales_crm_bridge.pb.integration_facts_pb2 import SalesIntegrationFact
from sales_crm_bridge.pb.intents_pb2 import SalesDomainIntent


def shown(value: bytes, *, fact: bool = False) -> dict[str, Any] | None:
    """An intent (or a ``fact`` of the bridge) as JSON has it, by the names of the contract; None: the bytes are none."""
    try:
        message = (SalesIntegrationFact if fact else SalesDomainIntent).FromString(value)
        told: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    except (DecodeError, ValueError):
        return None
    return told
