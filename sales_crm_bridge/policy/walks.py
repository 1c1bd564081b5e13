"""Where a feed stands and where it goes next: the arithmetic of sweeps, windows, keysets and second passes.

A *walk* is one way of going along a feed: the sweep, the incremental pass that stays ``horizon`` behind the CRM's clock, the
second pass over the same feed that comes ``second_pass`` later and meets what became visible late, and the walk over removed
records. Each walk has its own position and its own schedule.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, assert_never

import msgspec

from sales_crm_bridge.model import Cursor, Feed, FeedKind, Keyset, Paging, Position, Stream, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSES_MAX = 5
"""Passes of one sweep over a list that drifts: where others write all the time, no two ever agree. It ends ``unsettled``; the next
sweep goes on."""

BACKOFF_START_US = 1_000_000
BACKOFF_MAX_US = 15 * 60 * 1_000_000


class Pass(enum.StrEnum):
    """Which walk over its feed it is; the order is the order of urgency."""

    FRESH = "fresh"
    LATE = "late"
    REMOVED = "removed"
    SWEEP = "sweep"


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's pull schedule, in microseconds. See the tenant file's ``pull``.

    ``gather_us``: how long a webhook's notice waits for others, so that one call reads them all. ``fields_every_us``: how often the
    CRM's fields are described.
    """

    every_us: int
    horizon_us: int
    second_pass_us: int
    removed_every_us: int
    audit_every_us: int
    page_size: int
    gather_us: int = 0
    fields_every_us: int = 900_000_000


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """One walk: its ``name`` is the key of its position in the ledger. ``news``: what changes in the CRM is met here first."""

    name: str
    feed: Feed
    turn: Pass
    every_us: int
    delay_us: int = 0
    news: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a walk stands. ``position`` None: between runs.

    ``run``: the number of the run under way or, between runs, the last. ``begun_us``: where the next window begins, or the
    CRM's clock when this sweep began. ``due_us``: our clock, no earlier try. ``failures``: in a row; ``told``: this run's first
    failure was reported. ``resume``: a stream's token between runs. ``absent``: a sweep has read all and now asks, by id, for
    bound records that it did not see; the last id asked for. ``passes``: of a drifting sweep, those before the present one;
    ``differs``: the present one has shown a record that the ones before had not, or left out one that is there.
    """

    run: int = 0
    begun_us: int = 0
    due_us: int = 0
    failures: int = 0
    told: bool = False
    resume: str = ""
    absent: str | None = None
    position: Position | None = None
    passes: int = 0
    differs: bool = False


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Standing)


def encode(standing: Standing) -> bytes:
    """For the ledger."""
    return _encode(standing)


def decode(data: bytes | None) -> Standing | None:
    """From the ledger; None gives None."""
    return None if data is None else _decoder.decode(data)


def walks(feeds: Sequence[Feed], pace: Pace) -> list[Walk]:
    """The walks of these feeds, the most urgent first."""
    found: list[Walk] = []
    sole = not any(feed.kind in (FeedKind.CHANGES, FeedKind.STREAM) for feed in feeds)
    for feed in feeds:
        match feed.kind:
            case FeedKind.CHANGES:
                found.append(
                    Walk(
                        name=feed.name,
                        feed=feed,
                        turn=Pass.FRESH,
                        every_us=pace.every_us,
                        delay_us=pace.horizon_us,
                        news=True,
                    )
                )
                late_us = max(pace.second_pass_us, pace.horizon_us)
                found.append(
                    Walk(name=f"{feed.name}/late", feed=feed, turn=Pass.LATE, every_us=late_us, delay_us=late_us)
                )
            case FeedKind.STREAM:
                found.append(Walk(name=feed.name, feed=feed, turn=Pass.FRESH, every_us=pace.every_us, news=True))
            case FeedKind.REMOVED:
                found.append(Walk(name=feed.name, feed=feed, turn=Pass.REMOVED, every_us=pace.removed_every_us))
            case FeedKind.SWEEP:
                every_us = pace.every_us if sole else pace.audit_every_us
                found.append(Walk(name=feed.name, feed=feed, turn=Pass.SWEEP, every_us=every_us, news=sole))
            case _:
                assert_never(feed.kind)
    order = list(Pass)
    return sorted(found, key=lambda walk: order.index(walk.turn))


def first(walk: Walk, crm_now_us: int, pace: Pace, now_us: int) -> Standing:
    """Where a walk begins on a connection's first day.

    Changes begin a horizon before the sweep does, so what changes while the sweep is under way is met as well; the walk over
    removed records waits for its turn, since nothing is bound yet.
    """
    due_us = now_us + walk.every_us if walk.turn is Pass.REMOVED else now_us
    return Standing(begun_us=max(0, crm_now_us - pace.horizon_us - pace.second_pass_us), due_us=due_us)


def begin(walk: Walk, standing: Standing, crm_now_us: int, step_us: int) -> Standing | None:
    """The standing with which the next run of ``walk`` starts; None: there is nothing to read yet.

    A window or keyset run ends at the CRM's clock less the walk's delay, rounded down to the grain of the CRM's times, so no
    record can still appear below its end (but for the late ones, which the second pass meets).
    """
    hi_us = crm_now_us - walk.delay_us
    hi_us -= hi_us % step_us
    position: Position
    match walk.feed.paging:
        case Paging.WINDOW:
            if hi_us <= standing.begun_us:
                return None
            position = Window(lo_us=standing.begun_us, hi_us=hi_us)
        case Paging.KEYSET:
            if hi_us <= standing.begun_us:
                return None
            position = Keyset(modified_us=standing.begun_us, hi_us=hi_us)
        case Paging.CURSOR:
            position = Cursor()
        case Paging.STREAM:
            position = Stream(token=standing.resume)
        case _:
            assert_never(walk.feed.paging)
    begun_us = crm_now_us if walk.turn is Pass.SWEEP else standing.begun_us
    return msgspec.structs.replace(
        standing, run=standing.run + 1, begun_us=begun_us, position=position, failures=0, told=False
    )


def compared(standing: Standing, *, differs: bool) -> Standing:
    """The same place, after its page was compared with the ledger: ``differs`` as in ``Standing``."""
    return msgspec.structs.replace(standing, differs=True) if differs and not standing.differs else standing


def another_pass(walk: Walk, standing: Standing) -> Standing | None:
    """Where a sweep goes on when it has been read to its end and the list may have left something out; None: it has ended.

    A pass agrees with the ones before it when it has shown no record that the ledger did not know, and every bound record that
    it left out was confirmed to be gone. The first pass over an empty ledger agrees with nothing.
    """
    if not walk.feed.drifts or not standing.differs or standing.passes + 1 >= PASSES_MAX:
        return None
    return msgspec.structs.replace(
        standing, position=Cursor(), absent=None, passes=standing.passes + 1, differs=False, failures=0
    )


def unsettled(walk: Walk, standing: Standing) -> bool:
    """Whether a sweep that now ends has been given up: its last pass, too, was another than the ones before it."""
    return walk.feed.drifts and standing.differs


def end(walk: Walk, standing: Standing, now_us: int) -> Standing:
    """The standing between this run, now read to its end, and the next."""
    begun_us = standing.begun_us
    if isinstance(standing.position, Window | Keyset):
        begun_us = standing.position.hi_us
    resume = standing.position.token if isinstance(standing.position, Stream) else ""
    return Standing(run=standing.run, begun_us=begun_us, due_us=now_us + walk.every_us, resume=resume)


def pause_us(failures: int) -> int:
    """How long to wait after a failure that had so many before it in a row."""
    return min(BACKOFF_START_US << min(failures, 20), BACKOFF_MAX_US)


def failed(standing: Standing, now_us: int, retry_at_us: int) -> Standing:
    """The same place, to be tried again after a pause that grows with the failures in a row, or when the CRM asked for."""
    due_us = max(now_us + pause_us(standing.failures), retry_at_us)
    return msgspec.structs.replace(standing, failures=standing.failures + 1, told=True, due_us=due_us)


def hurried(found: Sequence[Walk], standings: dict[str, Standing], since_us: int) -> dict[str, Standing]:
    """The standings of walks that a hint about no record in particular makes due earlier; the hint came at ``since_us``.

    The walks that meet changes first, and removals: each when it can show what happened then. A walk that is due before stays as
    it is.
    """
    early = {walk.name: since_us + walk.delay_us for walk in found if walk.news or walk.turn is Pass.REMOVED}
    return {
        name: msgspec.structs.replace(standings[name], due_us=due_us)
        for name, due_us in early.items()
        if due_us < standings[name].due_us
    }


def swept(found: Sequence[Walk], standings: dict[str, Standing]) -> dict[str, Standing]:
    """The standings of the sweeps that are between two runs, due now."""
    sweeps = {walk.name: standings[walk.name] for walk in found if walk.turn is Pass.SWEEP}
    return {
        name: msgspec.structs.replace(one, due_us=0)
        for name, one in sweeps.items()
        if one.position is None and one.absent is None
    }


def moved(standing: Standing, position: Position) -> Standing:
    """The same run, one page further."""
    return msgspec.structs.replace(standing, position=position, failures=0)


def most_urgent(found: Sequence[Walk], standings: dict[str, Standing], now_us: int) -> tuple[Walk | None, int]:
    """The walk to take a page of now (the first due one, in order of urgency), or None and when the next is due (our clock)."""
    for walk in found:
        if standings[walk.name].due_us <= now_us:
            return walk, now_us
    return None, min(standings[walk.name].due_us for walk in found)
