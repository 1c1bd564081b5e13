"""Any CRM with a REST API, declared wholly in a tenant's file: see ``options`` for the language."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from sales_crm_adapters.rest.answers import Answers
from sales_crm_adapters.rest.batches import Batches
from sales_crm_adapters.rest.checking import Checker
from sales_crm_adapters.rest.hooks import Hooks
from sales_crm_adapters.rest.lint import lint
from sales_crm_adapters.rest.lists import Feeds
from sales_crm_adapters.rest.options import Options
from sales_crm_adapters.rest.reading import Reader
from sales_crm_adapters.rest.records import Records
from sales_crm_adapters.rest.signing import SignIns
from sales_crm_adapters.rest.structure import Mistake
from sales_crm_adapters.rest.writing import Writer
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

__all__ = ["Mistake", "Options", "Rest", "lint", "placed"]


def placed(options: Options, address: str) -> Options:
    """The declaration of a CRM at ``address``: links to next pages begin with the path of that, unless ``strip`` says otherwise."""
    path = urlsplit(address).path.rstrip("/")
    lists = options.lists
    changed = {
        name: msgspec.structs.replace(listing, page=msgspec.structs.replace(listing.page, strip=path))
        for name in lists.__struct_fields__
        if (listing := getattr(lists, name)) is not None and listing.page.by == "link" and not listing.page.strip
    }
    return msgspec.structs.replace(options, lists=msgspec.structs.replace(lists, **changed))


class Rest:
    """One connection's adapter; see ``ports.CrmAdapter`` for what each method promises."""

    name = "rest"

    def __init__(self, options: Options, crm_fields: Sequence[str]) -> None:
        self._answers = Answers(options)
        self._records = Records(options.record, crm_fields, options.lists.removed)
        self._feeds = Feeds(options, self._records, self._answers)
        self._reader = Reader(options, self._records, self._answers)
        self._batches = Batches(options, self._records, Writer(options, self._records, self._reader, self._answers))
        self._sign_ins = SignIns(options, self._answers)
        self._checker = Checker(options, self._records, self._feeds, self._answers)
        self._hooks = Hooks(options.webhook)
        self.capabilities = capabilities(options, self._records)

    def authenticate(self, secrets: Secrets, keep: dict[str, str], now_us: int) -> Talk[Credentials | SignInRefused]:
        """Sign in as declared."""
        return self._sign_ins.authenticate(secrets, keep)

    def check(self) -> Talk[Account]:
        """Ask what the declaration names: account, fields, rights."""
        return self._checker.check()

    def describe(self) -> Talk[Mapping[str, FieldDefinition]]:
        """Ask for the fields, as ``check.fields`` declares it."""
        return self._checker.describe()

    def feeds(self) -> Sequence[Feed]:
        """The lists that are declared: all, changes, removed."""
        return self._feeds.feeds

    def pull(self, feed: Feed, position: Position, limit: int) -> Talk[Page]:
        """Read the next page."""
        return self._feeds.pull(feed, position, limit)

    def decode(self, raws: Sequence[Raw]) -> list[Record]:
        """Decode raw records."""
        return [self._records.decode(raw) for raw in raws]

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """Carry out writes."""
        return self._batches.push(batch)

    def read(self, refs: Sequence[Ref]) -> Talk[list[Record]]:
        """Read records by id or key."""
        return self._reader.read(refs)

    def classify(self, reply: HttpReply, effect: Effect) -> Verdict:
        """What an answer means, by the declaration's rules and by its status."""
        return self._answers.classify(reply, effect)

    def notices(self, hook: Hook, secrets: Secrets) -> list[Notice]:
        """What a webhook delivery hints at."""
        return self._hooks.notices(hook, secrets)


def capabilities(options: Options, records: Records) -> Capabilities:
    """What follows from the declaration."""
    write, states = options.write, options.record.states
    ruled = {failure.means for failure in options.failures}
    return Capabilities(
        batch_max=write.batch.max if write.batch is not None else write.parallel,
        unique_key=write.upsert is not None or (write.unique_key and options.read.key is not None),
        read_by_key=options.read.key is not None,
        conditional_write=write.conditional,
        removed_feed=options.lists.removed is not None,
        merges=states.merged is not None or "merged" in ruled,
        restores=states.archived is not None or "archived" in ruled,
        webhooks=options.webhook is not None,
        time_step_us=records.form.step_us if records.form is not None else 1_000_000,
        budgets=options.limits.budgets,
        atomic_write=not write.calls,
        describes=options.check.fields is not None,
    )
