"""A small CRM that lives in the process, and the smallest adapter that keeps every promise of the port: a place to learn.

Its dialect: JSON, one record a call, times in whole seconds, an ETag on every record. A record that was merged away answers 410
with the survivor's id. See ``sales_crm_bridge.sandbox.memory`` for the CRM itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from sales_crm_adapters.memory.wire import (
    ABOUT,
    LEAF,
    SECOND_US,
    SHOWN,
    TICKET,
    About,
    Shown,
    Trouble,
    encode,
    trouble_of,
    understood,
)
from sales_crm_bridge.errors import Bug, CrmUnavailable
from sales_crm_bridge.model import (
    NO_WEBHOOKS,
    Accepted,
    Account,
    Answered,
    Capabilities,
    Category,
    Credentials,
    Cursor,
    Deferred,
    Effect,
    Feed,
    FeedKind,
    FieldDefinition,
    Hook,
    HookRefused,
    HttpCall,
    HttpReply,
    Keyset,
    LeadState,
    NoReply,
    Notice,
    Outcome,
    Page,
    Paging,
    Position,
    Quota,
    Raw,
    Record,
    Ref,
    Rejected,
    Reply,
    Secrets,
    SignInAgain,
    SignInRefused,
    Stop,
    TryAgain,
    Unknown,
    Verdict,
    Write,
)
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = Feed(name="all", kind=FeedKind.SWEEP, paging=Paging.CURSOR, page_max=500)
CHANGES = Feed(name="changes", kind=FeedKind.CHANGES, paging=Paging.KEYSET, page_max=500)
REMOVED = Feed(name="removed", kind=FeedKind.REMOVED, paging=Paging.CURSOR, page_max=500)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a connection to the memory CRM."""

    list: Annotated[
        str, Meta(pattern=r"^[a-z]+$", max_length=40, description="Which of the CRM's lists holds the leads.")
    ] = "leads"


class Memory:
    """See ``ports.CrmAdapter``: what is said there is not said again here."""

    name = "memory"
    capabilities = Capabilities(
        batch_max=20,
        unique_key=True,
        read_by_key=True,
        conditional_write=True,
        removed_feed=True,
        merges=True,
        restores=True,
        time_step_us=SECOND_US,
        atomic_write=True,
        describes=True,
    )

    def __init__(self, options: Options, crm_fields: Sequence[str]) -> None:
        self._path = f"/{options.list}"
        self._fields = tuple(crm_fields)

    # --- who we are ---------------------------------------------------------------------------------------------------

    def authenticate(self, secrets: Secrets, keep: dict[str, str], now_us: int) -> Talk[Credentials | SignInRefused]:
        """Trade the ``password`` for a token that is good for some minutes."""
        body = encode({"password": secrets["password"]})
        reply = yield from ask(HttpCall(method="POST", path="/sign-in", effect=Effect.SIGN_IN, body=body))
        if 400 <= reply.status < 500:  # noqa: PLR2004
            return SignInRefused(code=trouble_of(reply).error, remedy="give the password of the memory CRM")
        ticket = understood(reply, TICKET)
        return Credentials(
            headers=(("authorization", f"Bearer {ticket.token}"),),
            expires_us=reply.asked_us + ticket.seconds * SECOND_US,
        )

    def check(self) -> Talk[Account]:
        """Ask for the account's description."""
        about = yield from self._about()
        return Account(account_id=about.account, name=about.name, time_zone=about.zone, fields=_fields(about))

    def describe(self) -> Talk[dict[str, FieldDefinition]]:
        """They stand in the account's description."""
        return _fields((yield from self._about()))

    def _about(self) -> Talk[About]:
        return understood((yield from ask(HttpCall(method="GET", path="/about", effect=Effect.READ))), ABOUT)

    def classify(self, reply: HttpReply, effect: Effect) -> Verdict:
        """By status alone."""
        trouble = trouble_of(reply) if reply.status >= 400 else Trouble()  # noqa: PLR2004
        match reply.status:
            case 401 if effect is not Effect.SIGN_IN:
                return SignInAgain(code=trouble.error)
            case 403 if effect is not Effect.SIGN_IN:
                lacking = ", ".join(trouble.rights) or "a right"
                message = f"the memory CRM misses {lacking}"
                return Stop(category=Category.PERMISSION, code=trouble.error, message=message, remedy="grant it")
            case 429:
                wish = reply.headers.get("retry-after", "")
                wait_s = float(wish) if wish.isdecimal() and len(wish) < 9 else None  # noqa: PLR2004
                quota = Quota.DAY if trouble.error == "day-used-up" else Quota.BURST
                return TryAgain(wait_s=wait_s, quota=quota, executed=False, code=trouble.error)
            case status if status >= 500:  # noqa: PLR2004
                return TryAgain(code=trouble.error)
            case _:
                return Answered()

    def notices(self, hook: Hook, secrets: Secrets) -> list[Notice]:
        """It sends none, so whatever comes is not from it."""
        raise HookRefused(NO_WEBHOOKS)

    # --- reading ------------------------------------------------------------------------------------------------------

    def feeds(self) -> Sequence[Feed]:
        """All live records, changes by (time, id), removed records."""
        return (ALL, CHANGES, REMOVED)

    def pull(self, feed: Feed, position: Position, limit: int) -> Talk[Page]:
        """A keyset goes on after (second, id), so records of one second need no page of their own."""
        query = {"limit": str(min(limit, feed.page_max))}
        match feed.name, position:
            case (("all" | "removed"), Cursor(token=token)):
                query |= {"removed": "1" if feed.name == "removed" else "0"} | ({"token": token} if token else {})
            case "changes", Keyset(modified_us=modified_us, after=after, hi_us=hi_us):
                query |= {"since": str(-(-modified_us // SECOND_US)), "after": after}
                query |= {"until": str(-(-hi_us // SECOND_US))} if hi_us else {}
            case _:
                raise Bug("bug.position", f"feed {feed.name} has no position {type(position).__name__}")
        call = HttpCall(method="GET", path=self._path, effect=Effect.READ, query=tuple(query.items()))
        leaf = understood((yield from ask(call)), LEAF)
        raws: list[Raw] = []
        for each in leaf.records:
            try:
                shown = SHOWN.decode(each)
            except msgspec.MsgspecError as fault:
                raise CrmUnavailable(
                    "memory.unreadable-record", "a page cannot be read", retry_at_us=0, remedy="report it"
                ) from fault
            raws.append(Raw(shown.id, shown.etag, shown.changed * SECOND_US, bytes(each)))
        if isinstance(position, Keyset):
            last = raws[-1] if raws else None
            onward = Keyset(
                modified_us=last.modified_us if last else position.modified_us,
                after=last.id if last else position.after,
                hi_us=position.hi_us,
            )
            return Page(raws=raws, next=onward, done=not leaf.next)
        return Page(raws=raws, next=Cursor(token=leaf.next), done=not leaf.next)

    def decode(self, raws: Sequence[Raw]) -> list[Record]:
        """Raises ``msgspec.ValidationError`` for a record of an unknown shape."""
        return [self._record(SHOWN.decode(raw.data)) for raw in raws]

    def read(self, refs: Sequence[Ref]) -> Talk[list[Record]]:
        """One call a ref, all at once."""
        if not refs:
            return []
        calls = [
            HttpCall(
                method="GET",
                path=f"{self._path}/{quote(ref.id, safe='')}"
                if ref.id
                else f"{self._path}/by-key/{quote(ref.key, safe='')}",
                effect=Effect.READ,
            )
            for ref in refs
        ]
        replies = yield tuple(calls)
        return [self._held(ref, reply) for ref, reply in zip(refs, replies, strict=True)]

    def _held(self, ref: Ref, reply: Reply) -> Record:
        assert isinstance(reply, HttpReply)
        nothing = Record(id=ref.id, version="", modified_us=0, fields={}, state=LeadState.GONE, key=ref.key)
        if reply.status == 404:  # noqa: PLR2004
            return nothing
        if reply.status == 410:  # noqa: PLR2004
            into = trouble_of(reply).other
            return msgspec.structs.replace(nothing, state=LeadState.MERGED, into=into) if into else nothing
        return self._record(understood(reply, SHOWN))

    def _record(self, shown: Shown) -> Record:
        return Record(
            id=shown.id,
            version=shown.etag,
            modified_us=shown.changed * SECOND_US,
            fields={name: shown.values.get(name) for name in self._fields},
            state=LeadState.ARCHIVED if shown.removed else LeadState.LIVE,
            key=shown.key,
            created_us=shown.made * SECOND_US,
            merged_ids=shown.merged,
        )

    # --- writing ------------------------------------------------------------------------------------------------------

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """A create puts a record under our key, so a repeat meets the same record; an update is tied to the version we know."""
        calls: list[HttpCall] = []
        for write in batch:
            body = encode({"values": write.fields, **({"key": write.key} if write.claim else {})})
            if write.crm_id:
                path = f"{self._path}/{quote(write.crm_id, safe='')}"
                tied = (("if-match", write.version),) if write.version else ()
                calls.append(HttpCall(method="PATCH", path=path, effect=Effect.WRITE, headers=tied, body=body))
            else:
                path = f"{self._path}/by-key/{quote(write.key, safe='')}"
                calls.append(HttpCall(method="PUT", path=path, effect=Effect.WRITE, body=body))
        replies = yield tuple(calls)
        return [self._outcome(write, reply) for write, reply in zip(batch, replies, strict=True)]

    def _outcome(self, write: Write, reply: Reply) -> Outcome:
        match reply:
            case NoReply(sent=True, reason=reason):
                return Unknown(reason=reason)
            case NoReply(reason=reason, retry_at_us=retry_at_us):
                return Deferred(not_before_us=retry_at_us, reason=reason)
            case HttpReply(status=(200 | 201)):
                try:
                    record = self._record(SHOWN.decode(reply.body))
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    return Unknown(reason="unreadable-answer")
                adopted = not write.crm_id and reply.status == 200  # noqa: PLR2004
                return Accepted(crm_id=record.id, record=record, adopted=adopted)
            case HttpReply(status=(401 | 429)):
                return Deferred(not_before_us=reply.answered_us + SECOND_US, reason="not-now")
            case HttpReply(status=status) if 400 <= status < 500 and status != 408:  # noqa: PLR2004
                return _rejected(status, trouble_of(reply))
            case _:
                return Unknown(reason="unreadable-answer")


def _fields(about: About) -> dict[str, FieldDefinition]:
    return {
        one.name: FieldDefinition(
            name=one.name,
            kind=one.kind,
            writable=one.writable,
            unique=one.unique,
            required=one.required,
            options=one.options,
        )
        for one in about.fields
    }


def _rejected(status: int, trouble: Trouble) -> Rejected:
    match status:
        case 403:
            category = Category.PERMISSION
        case 404:
            category = Category.REMOVED
        case 409:
            category = Category.DUPLICATE
        case 410:
            category = Category.MERGED if trouble.other else Category.REMOVED
        case 412:
            category = Category.CONFLICT
        case _:
            category = Category.VALIDATION
    return Rejected(category=category, code=trouble.error, fields=trouble.fields, other_id=trouble.other)
