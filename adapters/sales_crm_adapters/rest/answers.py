"""What an answer means: the declaration's rules first, then the status."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.checks import Matcher
from sales_crm_adapters.rest.paths import MISSING, Path, Shape, every, one, path_of, paths_of
from sales_crm_adapters.rest.templates import plain
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Answered,
    Category,
    Effect,
    HttpReply,
    Quota,
    SignInAgain,
    Stop,
    TryAgain,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_adapters.rest.options import Failure, Options, Wait

LATER_US = 30_000_000
WAIT_MAX_S = 7 * 86_400.0
NAMES_MAX = 50
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,80}", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_WORD = re.compile(r"\w")
UNREADABLE: Any = object()
"""The body of an answer that is no JSON."""

_BY_STATUS = {
    401: "sign_in", 403: "permission", 404: "gone", 408: "busy", 409: "conflict", 410: "gone", 412: "conflict",
    423: "turned_away", 429: "quota",
}  # fmt: skip


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer, or one member of a batch answer, means.

    ``code`` is the CRM's word or the status, safe to log; ``fields`` its names of the fields at fault; ``named_in`` a text that may
    name more of them; ``other`` the record in the way, or the survivor; ``wait_s`` the CRM's own wish. ``ruled``: a rule of the
    declaration says so.
    """

    means: str
    code: str = ""
    fields: tuple[str, ...] = ()
    named_in: str = ""
    other: str = ""
    wait_s: float | None = None
    ruled: bool = False


class _Rule:
    def __init__(self, failure: Failure) -> None:
        self.when = Matcher(failure.when)
        self.means = failure.means
        self.say = failure.say or ""
        self.code = path_of(failure.code) if failure.code is not None else None
        self.fields = paths_of(failure.fields)
        self.named_in = path_of(failure.named_in) if failure.named_in is not None else None
        self.other = path_of(failure.other) if failure.other is not None else None
        self.wait = failure.wait


class Answers:
    """Reads answers by the rules of one declaration."""

    def __init__(self, options: Options) -> None:
        self._crm = options.crm
        self._rules = [_Rule(failure) for failure in options.failures]
        self._wait = options.limits.wait
        left = options.limits.day_left
        self._day_left = left.header.lower() if left is not None and left.header else ""
        # A good answer's body is decoded a second time only where a rule can see a failure in it.
        self._good = [rule for rule in self._rules if any(rule.when.may_hold(status) for status in range(200, 300))]
        self._needed = list(dict.fromkeys(path for rule in self._good for path in rule.when.needed))
        self._glance = Shape({str(at): path for at, path in enumerate(self._needed)})

    def meaning(self, reply: HttpReply) -> Meaning:
        """What an answer means."""
        good = 200 <= reply.status < 300  # noqa: PLR2004
        if good and not self._may_be_ruled(reply):
            return Meaning(means="ok")
        return self.judge(reply.status, reply.headers, parsed(reply.body), reply.answered_us)

    def _may_be_ruled(self, reply: HttpReply) -> bool:
        """Whether a rule may hold of a good answer: status and headers are so, and what it needs in the body is there."""
        rules = [rule for rule in self._good if rule.when.suits(reply.status, reply.headers)]
        if not rules or not all(rule.when.needed for rule in rules):
            return bool(rules)
        try:
            found = self._glance.read(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return True
        told = zip(self._needed, found.values(), strict=True)
        there = {path for path, value in told if value is not MISSING and value != []}
        return any(there.issuperset(rule.when.needed) for rule in rules)

    def judge(self, status: int, headers: Mapping[str, str], body: Any, now_us: int = 0) -> Meaning:
        """What a decoded answer means, or one member of a batch answer under the status that it tells."""
        for rule in self._rules:
            if rule.when.holds(status, headers, body):
                return self._ruled(rule, status, headers, body, now_us)
        return Meaning(
            means=by_status(status), code=f"http-{status}", wait_s=self._waits(self._wait, headers, body, now_us)
        )

    def _ruled(self, rule: _Rule, status: int, headers: Mapping[str, str], body: Any, now_us: int) -> Meaning:
        found = [value for path in rule.fields for value in every(body, path)]
        names = [name for value in found if (name := _field(value))]
        text = one(body, rule.named_in) if rule.named_in is not None else ""
        other = one(body, rule.other) if rule.other is not None else ""
        return Meaning(
            means=rule.means,
            code=_code(body, rule.code) or rule.say or f"http-{status}",
            fields=tuple(dict.fromkeys(names))[:NAMES_MAX],
            named_in=text if isinstance(text, str) else "",
            other=id_text(other),
            wait_s=self._waits(rule.wait or self._wait, headers, body, now_us),
            ruled=True,
        )

    def _waits(self, wait: Wait, headers: Mapping[str, str], body: Any, now_us: int) -> float | None:
        told: Any = headers.get(wait.header.lower(), "") if wait.header else ""
        if not told and wait.at is not None:
            told = one(body, path_of(wait.at))
        return wait_s(told, wait.unit, now_us)

    # --- what the core must do ----------------------------------------------------------------------------------------

    def classify(self, reply: HttpReply, effect: Effect) -> Verdict:
        """See ``ports.CrmAdapter.classify``."""
        meaning = self.meaning(reply)
        code = meaning.code
        match meaning.means:
            case "busy":
                return TryAgain(wait_s=meaning.wait_s, code=code)
            case "turned_away":
                return TryAgain(wait_s=meaning.wait_s, executed=False, code=code)
            case "quota":
                return TryAgain(wait_s=meaning.wait_s, quota=Quota.BURST, executed=False, code=code)
            case "quota_day":
                return TryAgain(wait_s=meaning.wait_s, quota=Quota.DAY, executed=False, code=code)
            case "sign_in" if effect is not Effect.SIGN_IN:
                return SignInAgain(code=code)
            case "permission" if effect is not Effect.SIGN_IN:
                doing = "read" if effect is Effect.READ else "write"
                return Stop(
                    category=Category.PERMISSION,
                    code=code,
                    message=f"{self._crm} does not let these credentials {doing} ({code}, answer {reply.status})",
                    remedy="grant the right to the account whose credentials the connection uses",
                )
            case _:
                left = reply.headers.get(self._day_left, "") if self._day_left else ""
                return Answered(calls_left_day=int(left) if left.isdecimal() and len(left) < 10 else None)  # noqa: PLR2004

    @staticmethod
    def word(value: Any) -> str:
        """A value that looks like a code, safe to log; else ""."""
        return value if isinstance(value, str) and _CODE.fullmatch(value) else ""

    def unavailable(self, reply: HttpReply, what: str = "unreadable", doing: str = "") -> CrmUnavailable:
        """An answer that a reading talk can do nothing with; ``doing``: what was asked, where that is not plain."""
        told = f"{what}, {doing}" if doing else what
        return CrmUnavailable(
            f"rest.{what}",
            f"{self._crm} answered {reply.status} in a form that cannot be used ({told})",
            retry_at_us=reply.answered_us + LATER_US,
            remedy="compare the answer with the declaration under connection.options; it is tried again by itself",
        )


def by_status(status: int) -> str:
    """What a status means where no rule says otherwise."""
    if 200 <= status < 300 or status == 304:  # noqa: PLR2004
        return "ok"
    if 400 <= status < 500:  # noqa: PLR2004
        return _BY_STATUS.get(status, "validation")
    return "busy" if status >= 500 else "unknown"  # noqa: PLR2004


def parsed(body: bytes) -> Any:
    """The decoded body, or ``UNREADABLE``."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNREADABLE


def id_text(value: Any) -> str:
    """An id as text; "" for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value)
    return text if len(text) <= 200 and text.isprintable() else ""  # noqa: PLR2004 - no id is longer


def wait_s(told: Any, unit: str, now_us: int) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None for what is neither, or in no sensible range."""
    if isinstance(told, int | float) and not isinstance(told, bool):
        told = plain(told)
    if not isinstance(told, str):
        return None
    seconds: float | None = None
    if told.isascii() and told.replace(".", "", 1).isdecimal() and len(told) < 20:  # noqa: PLR2004
        number = float(told) / (1_000 if unit in ("ms", "epoch_ms") else 1)
        seconds = number - now_us / 1e6 if unit.startswith("epoch") else number
    elif now_us and 20 < len(told) < 40:  # noqa: PLR2004 - the length of an HTTP date
        try:
            seconds = parsedate_to_datetime(told).timestamp() - now_us / 1e6
        except (ValueError, OverflowError):
            seconds = None
    return max(0.0, seconds) if seconds is not None and seconds <= WAIT_MAX_S else None


def names_in(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of ``names`` that stand in ``text`` as words."""
    text = text[:20_000]
    return tuple(name for name in names if _stands_in(text, name))


def _stands_in(text: str, name: str) -> bool:
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(name) : at + len(name) + 1]
        if not _WORD.match(before) and not _WORD.match(after):
            return True
        at = text.find(name, at + 1)
    return False


def _code(body: Any, path: Path | None) -> str:
    told = one(body, path) if path is not None else ""
    text = plain(told) if isinstance(told, str | int) and not isinstance(told, bool) else ""
    if _CODE.fullmatch(text):
        return text
    last = text.rpartition("/")[2] if len(text) < 500 else ""  # noqa: PLR2004 - a type like https://api.example/errors/taken
    return last if _CODE.fullmatch(last) else ""


def _field(value: Any) -> str:
    """A field's name: of a JSON pointer its last step. "" for what is no name."""
    if not isinstance(value, str):
        return ""
    name = value[:300].rpartition("/")[2]
    return name if _FIELD.fullmatch(name) else ""
