"""From decisions to facts: each draft of policy becomes one ``SalesIntegrationFact``, packed for the outbox.

A person's data gets into a fact in one place only, the lead snapshot that the mapping makes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, assert_never

from sales_crm_bridge import contract
from sales_crm_bridge.errors import ConnectionStopped, CrmUnavailable, QuotaExhausted
from sales_crm_bridge.model import Category, Operation, Record
from sales_crm_bridge.policy.booking import Winner
from sales_crm_bridge.policy.drafts import Converted, Draft, How, Observed, Removed, Restored, Why
from sales_crm_bridge.policy.walks import Pass, Walk
from sales_crm_bridge.state import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.contract import FactPage, LeadCommand, ObservedPage, Publication
    from sales_crm_bridge.drift import Quarantine
    from sales_crm_bridge.mapping import Mapping
    from sales_crm_bridge.model import Accepted
    from sales_crm_bridge.policy.booking import Conflict
    from sales_crm_bridge.policy.commands import Refuse
    from sales_crm_bridge.policy.eyes import Look
    from sales_crm_bridge.state import Binding, Command, Gap, Run
    from sales_crm_bridge.tracing import Context

_CHANGE = {
    Why.IMPORTED: contract.CrmChangeKind.CRM_CHANGE_KIND_IMPORTED,
    Why.CREATED: contract.CrmChangeKind.CRM_CHANGE_KIND_CREATED,
    Why.CHANGED: contract.CrmChangeKind.CRM_CHANGE_KIND_CHANGED,
    Why.MERGED: contract.CrmChangeKind.CRM_CHANGE_KIND_MERGED,
}
_REMOVAL = {
    How.ARCHIVED: contract.CrmRemovalKind.CRM_REMOVAL_KIND_ARCHIVED,
    How.MERGED: contract.CrmRemovalKind.CRM_REMOVAL_KIND_MERGED,
    How.GONE: contract.CrmRemovalKind.CRM_REMOVAL_KIND_DELETED,
}
_OPERATION = {operation: contract.CrmOperation.Value(f"CRM_OPERATION_{operation.name}") for operation in Operation}
_CATEGORY = {category: contract.CrmErrorCategory.Value(f"CRM_ERROR_CATEGORY_{category.name}") for category in Category}

_WINNER = {winner: contract.CrmConflictWinner.Value(f"CRM_CONFLICT_WINNER_{winner.name}") for winner in Winner}


class Scribe:
    """Writes the facts of one connection. ``crm``: the adapter's name; ``record_type``: the CRM's word for a lead's record."""

    def __init__(
        self, *, tenant: str, connection: str, crm: str, account: str, record_type: str, producer: str, mapping: Mapping
    ) -> None:
        self._tenant = tenant
        self._connection = connection
        self._crm = crm
        self._account = account
        self._record_type = record_type
        self._producer = producer
        self._mapping = mapping
        self._subject = f"{tenant}/{connection}"

    def run_id(self, run: Run) -> str:
        """The id of a sync run: the same for the same run, in every process and after every crash."""
        text = f"{self._tenant}\x1f{self._connection}\x1f{run.feed}\x1f{run.number}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    # --- what a pull found --------------------------------------------------------------------------------------------

    def leads(
        self, drafts: Sequence[Draft], *, run_id: str, now_us: int, trace: Context | None = None, correlation: str = ""
    ) -> list[OutboxRow]:
        """The facts of a page, in order; all of them were caused by sync run ``run_id``, in the work that ``trace`` shows.

        ``correlation``: of the intent ``run_id``, where that has caused them.
        """
        if not drafts:
            return []
        page = self._page(correlation or run_id, run_id, trace)
        observed = contract.ObservedPage(
            page,
            crm=self._crm,
            connection=self._connection,
            account=self._account,
            record_type=self._record_type,
            observed_us=now_us,
        )
        return [_row(self._lead(page, observed, draft, now_us), now_us) for draft in drafts]

    def _lead(self, page: FactPage, observed: ObservedPage, draft: Draft, now_us: int) -> Publication:
        match draft:
            case Observed(record=record):
                snapshot, _ = self._mapping.snapshot(record.fields, draft.lead_id, draft.held)
                return observed.observed(
                    draft.lead_id,
                    draft.version,
                    change=_CHANGE[draft.why],
                    snapshot=snapshot,
                    changed=draft.changed,
                    record_id=record.id,
                    version=record.version,
                    modified_us=record.modified_us,
                    url=record.url,
                    parts=record.parts,
                    occurred_us=draft.occurred_us,
                )
            case Removed():
                removed = contract.CrmLeadRemoved(
                    removal=_REMOVAL[draft.how],
                    external=self._external_id(draft.crm_id),
                    merged_into_lead_id=draft.into[1],
                )
                if draft.into[0]:
                    removed.merged_into.MergeFrom(self._external_id(draft.into[0]))
                contract.set_time(removed.observed_at, now_us)
                return page.fact(draft.lead_id, draft.version, draft.occurred_us, removed)
            case Restored(record=record):
                lead, _ = self._mapping.lead(record.fields, draft.lead_id)
                self._mapping.leave_out(lead, draft.held)
                restored = contract.CrmLeadRestored(
                    removal=contract.CrmRemovalKind.CRM_REMOVAL_KIND_ARCHIVED,
                    lead=lead,
                    external=self._external(record),
                )
                contract.set_time(restored.observed_at, now_us)
                return page.fact(draft.lead_id, draft.version, draft.occurred_us, restored)
            case Converted(record=record):
                converted = contract.CrmLeadConverted(
                    external=self._external(record), successors=_successors(record.successors)
                )
                contract.set_time(converted.observed_at, now_us)
                return page.fact(draft.lead_id, draft.version, draft.occurred_us, converted)
            case _:
                assert_never(draft)

    # --- what a push did ----------------------------------------------------------------------------------------------

    def pushed(
        self,
        command: Command,
        asked: LeadCommand | None,
        accepted: Accepted,
        bound: Binding,
        *,
        written: Sequence[str],
        now_us: int,
        held: frozenset[int] = frozenset(),
        trace: Context | None = None,
    ) -> OutboxRow:
        """An intent took effect; ``bound`` is the lead's binding after it, ``written`` the lead's fields that were written.

        ``held``: slots that are not told, since they are quarantined.
        """
        record = accepted.record or Record(id=accepted.crm_id, version="", modified_us=0, fields={})
        pushed = contract.CrmLeadPushed(
            operation=_OPERATION[command.operation],
            intent_message_id=command.message_id,
            external=self._external(record),
            attempts=max(1, command.attempt),
            adopted=accepted.adopted or bool(command.matched),
            written_fields=written,
        )
        if self._mapping.reads_without(held) <= record.fields.keys():
            lead, _ = self._mapping.lead(record.fields, command.lead_id)
            self._mapping.leave_out(lead, held)
            pushed.lead.MergeFrom(lead)
        contract.set_time(pushed.completed_at, now_us)
        return self._answer(command, asked, bound, pushed, record.modified_us or now_us, now_us, trace)

    def push_failed(
        self,
        command: Command,
        asked: LeadCommand | None,
        step: Refuse,
        bound: Binding,
        *,
        dead_letter: str,
        now_us: int,
        trace: Context | None = None,
    ) -> OutboxRow:
        """An intent did not take effect; ``dead_letter``: the source of the dead letter that keeps it ("" none)."""
        failed = contract.CrmLeadPushFailed(
            operation=_OPERATION[command.operation],
            intent_message_id=command.message_id,
            category=_CATEGORY[step.category],
            crm_code=step.code,
            fields=step.fields,
            attempts=command.attempt,
            needs_person=step.needs_person,
            dead_letter_id=dead_letter,
            successors=_successors(step.successors),
            other_record_id=step.other,
        )
        if bound.crm_id:
            failed.external.MergeFrom(self._external_id(bound.crm_id, bound.version, bound.modified_us))
        contract.set_time(failed.failed_at, now_us)
        return self._answer(command, asked, bound, failed, now_us, now_us, trace)

    def conflict(
        self,
        command: Command,
        asked: LeadCommand | None,
        clashes: Sequence[Conflict],
        eyes: Look,
        bound: Binding,
        *,
        now_us: int,
        trace: Context | None = None,
    ) -> OutboxRow:
        """Both sides changed the same fields; what the tenant's rule for each made of it."""
        body = contract.CrmLeadConflictDetected(
            intent_message_id=command.message_id,
            external=self._external_id(bound.crm_id, bound.version, bound.modified_us),
            conflicts=[
                contract.CrmFieldConflict(
                    field=eyes.slot_fields[clash.slot],
                    sales_fingerprint=clash.sales,
                    crm_fingerprint=clash.crm,
                    winner=_WINNER[clash.winner],
                    reason=clash.rule,
                )
                for clash in clashes
            ],
        )
        contract.set_time(body.detected_at, now_us)
        return self._answer(command, asked, bound, body, now_us, now_us, trace)

    def _answer(
        self,
        command: Command,
        asked: LeadCommand | None,
        bound: Binding,
        body: contract.CrmLeadPushed | contract.CrmLeadPushFailed | contract.CrmLeadConflictDetected,
        occurred_us: int,
        now_us: int,
        trace: Context | None,
    ) -> OutboxRow:
        correlation = asked.correlation_id if asked is not None else command.message_id
        page = self._page(correlation, command.message_id, trace)
        return _row(page.fact(command.lead_id, bound.aggregate_version, occurred_us, body), now_us)

    # --- how a connection fares ---------------------------------------------------------------------------------------

    def sync_completed(self, run: Run, walk: Walk, *, version: int, lag_us: int, now_us: int) -> OutboxRow:
        """A sync run has been read to its end."""
        body = contract.CrmSyncCompleted(run=self._run(run, walk, lag_us))
        return self._about_connection(body, self.run_id(run), version, now_us)

    def sync_failed(
        self, run: Run, walk: Walk, fault: CrmUnavailable | ConnectionStopped, *, version: int, now_us: int
    ) -> OutboxRow:
        """A sync run met an obstacle; it stays where it is."""
        needs_person = isinstance(fault, ConnectionStopped)
        if needs_person:
            category = Category.PERMISSION
        elif isinstance(fault, QuotaExhausted):
            category = Category.QUOTA
        else:
            category = Category.UNAVAILABLE
        body = contract.CrmSyncFailed(
            run=self._run(run, walk, 0), category=_CATEGORY[category], code=fault.code, needs_person=needs_person
        )
        if isinstance(fault, CrmUnavailable):
            contract.set_time(body.retry_at, max(now_us, fault.retry_at_us))
        return self._about_connection(body, self.run_id(run), version, now_us)

    def gap_opened(self, gap: Gap, *, version: int, now_us: int) -> OutboxRow:
        """A part of a feed is not proven read."""
        body = contract.CrmGapOpened()
        self._gap(body.gap, gap)
        return self._about_connection(body, gap.id, version, now_us)

    def gap_closed(self, gap: Gap, *, version: int, now_us: int) -> OutboxRow:
        """It is read by now, or nothing is missing for it."""
        body = contract.CrmGapClosed()
        self._gap(body.gap, gap)
        contract.set_time(body.closed_at, gap.closed_us)
        return self._about_connection(body, gap.id, version, now_us)

    def quarantined(self, row: Quarantine, *, version: int, now_us: int) -> OutboxRow:
        """A field of the mapping is left out of every lead, or one of its values is."""
        body = contract.CrmFieldQuarantined(cause=row.cause)
        self._field(body.field, row)
        contract.set_time(body.quarantined_at, row.opened_us)
        return self._about_connection(body, f"{row.slot}/{row.cause}/{row.value}", version, now_us)

    def unquarantined(self, row: Quarantine, *, version: int, now_us: int) -> OutboxRow:
        """It is read again, or the tenant's file maps it no more."""
        body = contract.CrmFieldRestored(cause=row.cause)
        self._field(body.field, row)
        contract.set_time(body.restored_at, row.closed_us)
        return self._about_connection(body, f"{row.slot}/{row.cause}/{row.value}", version, now_us)

    def _field(self, told: contract.CrmFieldRef, row: Quarantine) -> None:
        told.field, told.crm_field, told.crm_value = row.field, row.crm_field, row.value
        told.tenant_file, told.tenant_file_line = row.file, row.line
        self._connection_ref(told.connection)

    def _gap(self, told: contract.CrmGap, gap: Gap) -> None:
        told.gap_id, told.feed, told.cause = gap.id, gap.feed, gap.cause
        self._connection_ref(told.connection)
        if gap.from_us:
            contract.set_time(told.from_time, gap.from_us)
        contract.set_time(told.to_time, gap.to_us)

    def _run(self, run: Run, walk: Walk, lag_us: int) -> contract.CrmSyncRun:
        told = contract.CrmSyncRun(run_id=self.run_id(run), feed=run.feed, kind=_kind(run, walk))
        self._connection_ref(told.connection)
        counts = told.counts
        counts.read, counts.changed, counts.unchanged = run.read, run.changed, run.unchanged
        counts.removed, counts.skipped = run.removed, run.stale
        told.lag.seconds, told.lag.nanos = lag_us // 1_000_000, lag_us % 1_000_000 * 1000
        contract.set_time(told.started_at, run.started_us)
        if run.finished_us:
            contract.set_time(told.finished_at, run.finished_us)
        return told

    def _about_connection(
        self,
        body: contract.CrmSyncCompleted
        | contract.CrmSyncFailed
        | contract.CrmGapOpened
        | contract.CrmGapClosed
        | contract.CrmFieldQuarantined
        | contract.CrmFieldRestored,
        cause: str,
        version: int,
        now_us: int,
    ) -> OutboxRow:
        return _row(self._page(cause, cause).fact(self._subject, version, now_us, body), now_us)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _page(self, correlation: str, causation: str, trace: Context | None = None) -> FactPage:
        return contract.FactPage(
            tenant_id=self._tenant,
            correlation_id=correlation,
            causation_id=causation,
            producer=self._producer,
            traceparent=trace.parent if trace is not None else "",
            tracestate=trace.state if trace is not None else "",
        )

    def _connection_ref(self, ref: contract.CrmConnectionRef) -> None:
        ref.crm, ref.connection, ref.account = self._crm, self._connection, self._account

    def _external_id(self, record_id: str, version: str = "", modified_us: int = 0) -> contract.ExternalRef:
        ref = contract.ExternalRef(
            crm=self._crm,
            connection=self._connection,
            account=self._account,
            record_type=self._record_type,
            record_id=record_id,
            version=version,
        )
        if modified_us:
            contract.set_time(ref.modified_at, modified_us)
        return ref

    def _external(self, record: Record) -> contract.ExternalRef:
        ref = self._external_id(record.id, record.version, record.modified_us)
        ref.url = record.url
        for kind, part in record.parts:
            ref.parts.add(record_type=kind, record_id=part)
        return ref


def _row(publication: Publication, now_us: int) -> OutboxRow:
    return OutboxRow(message_id=publication.message_id, fact=publication.value, created_us=now_us)


def _successors(pairs: Sequence[tuple[str, str]]) -> list[contract.CrmSuccessor]:
    return [contract.CrmSuccessor(record_type=kind, record_id=name) for kind, name in pairs]


def _kind(run: Run, walk: Walk) -> contract.CrmSyncKind.ValueType:
    kinds = contract.CrmSyncKind
    match walk.turn:
        case Pass.FRESH:
            return kinds.CRM_SYNC_KIND_INCREMENTAL
        case Pass.LATE:
            return kinds.CRM_SYNC_KIND_SECOND_PASS
        case Pass.REMOVED:
            return kinds.CRM_SYNC_KIND_REMOVED
        case Pass.SWEEP:
            return kinds.CRM_SYNC_KIND_BACKFILL if run.number == 1 else kinds.CRM_SYNC_KIND_AUDIT
        case _:
            assert_never(walk.turn)
