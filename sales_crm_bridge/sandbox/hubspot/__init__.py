"""A faithful local HubSpot: contacts, leads and companies, with every vice of the service that a bridge has to live with."""

from __future__ import annotations

from sales_crm_bridge.sandbox.hubspot.entries import Entry
from sales_crm_bridge.sandbox.hubspot.faults import daily_limit, locked, moving, throttled
from sales_crm_bridge.sandbox.hubspot.kinds import COMPANIES, CONTACTS, LEADS
from sales_crm_bridge.sandbox.hubspot.links import Link
from sales_crm_bridge.sandbox.hubspot.portal import Portal, Truth
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal
from sales_crm_bridge.sandbox.hubspot.settings import Account, Vices
from sales_crm_bridge.sandbox.hubspot.tokens import ALL_SCOPES
from sales_crm_bridge.sandbox.hubspot.webhooks import Delivery, HookApp, signature_v3

__all__ = [
    "ALL_SCOPES",
    "COMPANIES",
    "CONTACTS",
    "LEADS",
    "Account",
    "Delivery",
    "Entry",
    "HookApp",
    "Link",
    "Portal",
    "Refusal",
    "Truth",
    "Vices",
    "daily_limit",
    "locked",
    "moving",
    "signature_v3",
    "throttled",
]
