"""What the dialects have in common: the counter at which a request is handed in, and where things go wrong on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.faults import FaultKind, Faults
from sales_crm_bridge.sandbox.wire import Answer, ConnectionCut, Cut, Request

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

Value = str | int | float | bool | None

CUTS = {
    FaultKind.REFUSED: Cut.REFUSED,
    FaultKind.CUT_BEFORE: Cut.CLOSED,
    FaultKind.CUT_AFTER: Cut.CLOSED,
    FaultKind.TIMEOUT_BEFORE: Cut.TIMEOUT,
    FaultKind.TIMEOUT_AFTER: Cut.TIMEOUT,
}
AFTER = frozenset({FaultKind.CUT_AFTER, FaultKind.TIMEOUT_AFTER, FaultKind.STATUS_AFTER, FaultKind.TRUNCATED})

encode = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A request that is not carried out; ``answer`` says so in the dialect's own words."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Counter:
    """One account: takes requests, lets faults happen, and leaves the answer to the dialect.

    ``clock`` gives epoch seconds and ``rng`` chance; nothing here knows the world's. ``moves`` counts what was written,
    ``requests`` what was asked.
    """

    def __init__(self, *, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self.faults = Faults(rng)
        self.moves = self.requests = 0

    def pause_s(self) -> float:
        """Nothing is ever under way: a delay is a fault that a test asks for."""
        return 0.0

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; see ``Sandbox``."""
        self.requests += 1
        request = Request.of(method, target, headers, body)
        fault = self.faults.take(request)
        if fault is None or fault.kind is FaultKind.DELAY:
            answer = self._carry_out(request)
            return answer if fault is None else answer._replace(delay_s=fault.delay_s)
        before = self.moves
        answer = self._carry_out(request) if fault.kind in AFTER else Answer(500, [], b"")
        if fault.kind in CUTS:
            raise ConnectionCut(CUTS[fault.kind], committed=self.moves > before)
        if fault.kind is FaultKind.TRUNCATED:
            return answer._replace(body=answer.body[: len(answer.body) // 2])
        if fault.reply is not None:
            return Answer(fault.status, [("content-type", "application/json"), *fault.headers], fault.reply)
        worded = self.worded(fault.status)
        return worded._replace(headers=[*worded.headers, *fault.headers])

    def _carry_out(self, request: Request) -> Answer:
        try:
            return self.answer(request)
        except Refusal as refusal:
            return refusal.answer

    # --- for each dialect ---------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Carry a request out, or raise ``Refusal``."""
        raise NotImplementedError

    def worded(self, status: int) -> Answer:
        """A bare status in the dialect's words, for a fault."""
        raise NotImplementedError

    def now_s(self) -> int:
        """Whole epoch seconds."""
        return int(self._clock())


def json_answer(status: int, told: Any, *headers: tuple[str, str], media: str = "application/json") -> Answer:
    """An answer with a JSON body."""
    return Answer(status, [("content-type", media), *headers], encode(told))


def json_object(body: bytes) -> dict[str, Any] | None:
    """A body that is one JSON object; None if it is not."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def page_number(text: str | None, default: int, low: int, high: int) -> int | None:
    """A whole number of a query within bounds; None if it is none."""
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):  # noqa: PLR2004 - below 10^9
        return None
    number = int(text)
    return number if low <= number <= high else None
