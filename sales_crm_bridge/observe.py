"""What the bridge lets be seen of itself: its log, and the report behind ``status``. Neither holds a person's data."""

from __future__ import annotations

import json
import logging
import sys
import unicodedata
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sales_crm_bridge.errors import Place
from sales_crm_bridge.gate import standing
from sales_crm_bridge.keeper import PROCESS
from sales_crm_bridge.policy import walks
from sales_crm_bridge.state import lease_name
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_bridge.gate import Ownership
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.rim.terms import RimState
    from sales_crm_bridge.state import Census, ConnectionRow, Lease

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

OUT_OF_FORCE = "out-of-force"
"""The state of a connection that no tenant in force has; told only while commands wait for it."""
FIELD_REMEDY = (
    "bring it back in the CRM, or mend the mapping in the tenant's file: what was held is read and written then"
)
GAP_REMEDY = "ask the domain to utter the intents of that time again; see docs/operations.md"


_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's controls (ESC, tab, new line), formats (which can turn the direction of writing), halves and line separators."""


def plain(text: object) -> str:
    """``text`` on one line and without what steers a terminal: a CRM's words, a file's name or a lead's id may hold anything."""
    return "".join(" " if unicodedata.category(sign) in _STEERING else sign for sign in str(text))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the call put into ``extra``, but for what is empty.

    ``event`` names what happened and stays the same from version to version: docs/operations.md lists all of them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, object] = {
            "time": iso(round(record.created * 1e6)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _extra(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """For a terminal: level, logger and message, then the fields of ``extra`` as ``name=value``, on one line whatever they hold."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and the traceback under it if there is one."""
        extra = _extra(record)
        traceback = str(extra.pop("traceback", ""))
        fields = "".join(f"  {name}={value}" for name, value in extra.items())
        text = plain(f"{record.levelname:7} {record.name}: {record.getMessage()}{fields}")
        if record.exc_info:
            traceback += self.formatException(record.exc_info)
        return f"{text}\n{traceback.rstrip()}" if traceback else text


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _PLAIN and value not in (None, "")}


def log_to_stderr(level: str, form: Literal["auto", "json", "text"]) -> None:
    """Send the log to standard error: text on a terminal, JSON lines elsewhere, unless ``form`` says which."""
    handler = logging.StreamHandler(sys.stderr)
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextLines() if text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def iso(at_us: int) -> str:
    """An instant as RFC 3339 in UTC with microseconds; "" for 0."""
    if not at_us:
        return ""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


async def report(ledger: Ledger, now_us: int, owners: Mapping[str, Ownership] = MappingProxyType({})) -> dict[str, Any]:
    """How everything stands, from the ledger alone: a JSON object that ``status --json`` prints as it is.

    ``owners``: whose the tenants' leads are, as far as that is known.
    """
    census = await ledger.census()
    holders = holders_of(census.leases, now_us)
    processes = sorted(name.removeprefix(PROCESS) for name in holders if name.startswith(PROCESS))
    names = {row.conn: row for row in (*census.connections, *census.left)}
    waiting = [_out_of_force(row) for row in census.left if row.conn in census.commands]
    return {
        "at": iso(now_us),
        "outbox": {
            "facts": sum(waiting.number for waiting in census.outbox.values()),
            "oldest_s": age_s(min((waiting.since_us for waiting in census.outbox.values()), default=0), now_us),
        },
        "processes": processes,
        "connections": [
            {**_connection(row, census, holders, now_us), "leads": _leads(owners.get(row.tenant), now_us)}
            for row in (*census.connections, *waiting)
        ],
        "dead_letters": sum(letter.number for letter in census.letters),
        "matches": sum(waiting.number for waiting in census.matches.values()),
        "gaps": len(census.gaps),
        "quarantines": _quarantines(census),
        "open_gaps": [
            {
                "tenant": names[gap.conn].tenant,
                "connection": names[gap.conn].name,
                "feed": gap.feed,
                "since": iso(gap.opened_us),
                "cause": gap.cause,
                "code": "gap.open",
                "remedy": GAP_REMEDY,
            }
            for gap in census.gaps
            if gap.conn in names
        ],
        "letters": [
            {
                "tenant": letter.tenant,
                "code": letter.code,
                "count": letter.number,
                "since": iso(letter.since_us),
                "message": letter.message,
                "remedy": letter.remedy,
            }
            for letter in census.letters
        ],
        "refused": [
            {
                "process": refusal.holder,
                "code": refusal.code,
                "place": refusal.place,
                "since": iso(refusal.since_us),
                "message": refusal.message,
                "remedy": refusal.remedy,
            }
            for refusal in census.refusals
            if refusal.holder in processes
        ],
    }


def _quarantines(census: Census) -> list[dict[str, str]]:
    """What of the CRM's fields no longer fits the file of a tenant in force."""
    names = {row.conn: row for row in census.connections}
    return [
        {
            "tenant": names[row.conn].tenant,
            "connection": names[row.conn].name,
            "field": row.field,
            "since": iso(row.opened_us),
            "place": str(Place(file=row.file, line=row.line, column=row.column)),
            "message": row.said,
            "code": f"crm.{row.cause}",
            "remedy": FIELD_REMEDY,
        }
        for row in census.quarantines
        if row.conn in names
    ]


def _leads(ownership: Ownership | None, now_us: int) -> dict[str, str]:
    """Whose the leads are now, and what comes next; {} if that is not known."""
    if ownership is None:
        return {}
    owner, coming = standing(ownership, now_us)
    if coming is None:
        return {"owner": owner.value, "next": "", "from": ""}
    return {"owner": owner.value, "next": coming.owner.value, "from": time_text(coming.from_us)}


def _out_of_force(row: ConnectionRow) -> ConnectionRow:
    """A connection that nobody works for, and for which commands wait: they are seen here, or nowhere."""
    if row.since_us:
        said = f"the tenant was retired at {time_text(row.since_us)}: its commands are not carried out"
        remedy = "bring the tenant back, if only with the domain as the owner of the leads; see docs/operations.md"
    else:
        said = f"the tenant's file has another connection than {row.name!r}, whose commands are not carried out"
        remedy = "name the connection in the tenant's file again until they are carried out; see docs/operations.md"
    return msgspec.structs.replace(row, state=OUT_OF_FORCE, code="connection.out-of-force", message=said, remedy=remedy)


def _connection(row: ConnectionRow, census: Census, holders: Mapping[str, str], now_us: int) -> dict[str, Any]:
    count = census.commands.get(row.conn)
    outbox, notices = census.outbox.get(row.conn), census.notices.get(row.conn)
    matches, seen = census.matches.get(row.conn), census.glances.get(row.conn)
    return {
        "tenant": row.tenant,
        "connection": row.name,
        "crm": row.adapter,
        "account": row.account,
        "state": row.state,
        "since": iso(row.since_us),
        "code": row.code,
        "message": row.message,
        "remedy": row.remedy,
        "holder": holders.get(lease_name(row.tenant, row.name), ""),
        "commands": {
            "open": count.open if count else 0,
            "unknown": count.unknown if count else 0,
            "parked": count.parked if count else 0,
            "held": census.held.get(row.conn, 0),
            "oldest_s": age_s(count.oldest_us if count else 0, now_us),
        },
        "outbox": {
            "facts": outbox.number if outbox else 0,
            "oldest_s": age_s(outbox.since_us if outbox else 0, now_us),
        },
        "notices": {
            "waiting": notices.number if notices else 0,
            "oldest_s": age_s(notices.since_us if notices else 0, now_us),
        },
        "matches": {
            "waiting": matches.number if matches else 0,
            "oldest_s": age_s(matches.since_us if matches else 0, now_us),
        },
        "calls": {} if seen is None else {"at": iso(seen.at_us), **msgspec.to_builtins(sight_of(seen.state))},
        "feeds": {name: _feed(state, now_us) for name, state in sorted(census.positions.get(row.conn, {}).items())},
        "dead_letters": sum(letter.number for letter in census.letters if letter.tenant == row.tenant),
        "gaps": sum(gap.conn == row.conn for gap in census.gaps),
        "quarantines": sum(one.conn == row.conn for one in census.quarantines),
    }


class CrmSight(msgspec.Struct, frozen=True, kw_only=True):
    """How an account's CRM was found: what of the rim's state is worth keeping in the ledger. ``calls_left`` None: not known.

    ``breaker_until``: when an open breaker lets a call through again.
    """

    signed_in: bool
    breaker: str
    breaker_until: str = ""
    calls_today: int
    calls_left: int | None
    quota_until: str
    paused_until: str
    clock_apart_s: float


def glance(rim: RimState) -> bytes:
    """The rim's state for the ledger; equal where nothing has changed that a person would look for."""
    return msgspec.json.encode(
        CrmSight(
            signed_in=rim.signed_in,
            breaker=rim.breaker,
            breaker_until=iso(rim.breaker_until_us),
            calls_today=rim.calls_today,
            calls_left=rim.calls_left_day,
            quota_until=iso(rim.quota_until_us),
            paused_until=iso(rim.paused_until_us),
            clock_apart_s=float(round(rim.skew_us / 1e6)),
        )
    )


def sight_of(state: bytes) -> CrmSight:
    """What ``glance`` has made."""
    return msgspec.json.decode(state, type=CrmSight)


def holders_of(leases: Sequence[Lease], now_us: int) -> dict[str, str]:
    """Lease → holder, of those that hold now."""
    return {lease.name: lease.holder for lease in leases if lease.until_us > now_us}


def _feed(state: bytes, now_us: int) -> Mapping[str, object]:
    standing = walks.decode(state)
    if standing is None:
        return {}
    return {
        "run": standing.run,
        "running": standing.position is not None or standing.absent is not None,
        "read_to": iso(standing.begun_us),
        "due_in_s": max(0.0, round((standing.due_us - now_us) / 1e6, 1)),
        "failures": standing.failures,
    }


def age_s(since_us: int, now_us: int) -> float:
    """Seconds since ``since_us``, to a tenth; 0 for 0 and for what is still to come."""
    return round(max(0, now_us - since_us) / 1e6, 1) if since_us else 0.0
