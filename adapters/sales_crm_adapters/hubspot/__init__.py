"""HubSpot, with contacts or the Lead object as leads. The rules are those of HubSpot's public pages as of June 2026."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sales_crm_adapters.hubspot.account import authenticate, check, classify, describe
from sales_crm_adapters.hubspot.hooks import notices
from sales_crm_adapters.hubspot.lead_object import LeadWriter
from sales_crm_adapters.hubspot.options import LEADS, Options
from sales_crm_adapters.hubspot.pages import ARCHIVED, CONTACT_SEARCH, LIST, SEARCH, Pages
from sales_crm_adapters.hubspot.reading import Reader
from sales_crm_adapters.hubspot.writing import LIFECYCLE, ContactWriter
from sales_crm_bridge.model import (
    Account,
    Capabilities,
    Credentials,
    Effect,
    Feed,
    FieldDefinition,
    Hook,
    HttpReply,
    Notice,
    Outcome,
    Page,
    Position,
    Raw,
    Record,
    Ref,
    Secrets,
    SignInRefused,
    Verdict,
    Write,
)
from sales_crm_bridge.ports import Talk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["HubSpot", "Options"]

CAPABILITIES = Capabilities(
    batch_max=100,
    unique_key=True,
    read_by_key=True,
    removed_feed=True,
    merges=True,
    restores=True,
    webhooks=True,
    time_step_us=1_000,
    # The account has five searches a second for everybody; one is left to others (HubSpot's search page, June 2026).
    budgets={"search": 4.0},
    atomic_write=True,
    describes=True,
)
STAGED_CAPABILITIES = dataclasses.replace(CAPABILITIES, atomic_write=False, emptied_first=(LIFECYCLE,))
"""Where the life cycle is mapped: a move back in it is an update, a clearing and a setting."""
LEAD_CAPABILITIES = dataclasses.replace(CAPABILITIES, merges=False, atomic_write=False)
"""Records of the Lead object cannot be merged; a merge of their contacts changes the leads' own contact (general knowledge).

A write to one is a write to its contact, then one to the lead.
"""


class HubSpot:
    """One connection's adapter; see ``ports.CrmAdapter`` for what each method promises."""

    name = "hubspot"

    def __init__(self, options: Options, crm_fields: Sequence[str]) -> None:
        staged = STAGED_CAPABILITIES if LIFECYCLE in crm_fields else CAPABILITIES
        self.capabilities = LEAD_CAPABILITIES if options.object == LEADS else staged
        self._options = options
        self._reader = Reader(options, crm_fields)
        self._pages = Pages(self._reader)
        self._writer = LeadWriter(self._reader) if options.object == LEADS else ContactWriter(self._reader)
        # A change of a lead's contact does not move the lead's own time.
        self._feeds = (LIST, SEARCH, *((CONTACT_SEARCH,) if self._reader.contact_fields else ()), ARCHIVED)

    def authenticate(self, secrets: Secrets, keep: dict[str, str], now_us: int) -> Talk[Credentials | SignInRefused]:
        """Sign in with ``token``, or with ``client_id``, ``client_secret`` and ``refresh_token``."""
        return authenticate(self._reader.paths, secrets, keep)

    def check(self) -> Talk[Account]:
        """Ask for account, definitions, stages and the right to write."""
        return check(self._reader.paths, self._options)

    def describe(self) -> Talk[Mapping[str, FieldDefinition]]:
        """Ask for definitions and stages."""
        return describe(self._reader.paths, self._options)

    def feeds(self) -> Sequence[Feed]:
        """List, search (of contacts too, if their fields are mapped to leads), archived."""
        return self._feeds

    def pull(self, feed: Feed, position: Position, limit: int) -> Talk[Page]:
        """Read the next page."""
        return self._pages.pull(feed, position, limit)

    def decode(self, raws: Sequence[Raw]) -> list[Record]:
        """Decode raw records."""
        return self._reader.decode(raws)

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """Carry out writes."""
        return self._writer.push(batch)

    def read(self, refs: Sequence[Ref]) -> Talk[list[Record]]:
        """Read records by id or key."""
        return self._reader.read(refs)

    def classify(self, reply: HttpReply, effect: Effect) -> Verdict:
        """What an answer's status means."""
        return classify(reply, effect)

    def notices(self, hook: Hook, secrets: Secrets) -> list[Notice]:
        """What a webhook delivery hints at."""
        return notices(self._options, hook, secrets)
