"""What would be said again and again while something lasts: at once, then once a minute, with how often it was left out."""

from __future__ import annotations

EVERY_US = 60_000_000
"""How long a kind is not said again."""

KINDS_MAX = 100
"""Kinds that are remembered; of more, the one that was said longest ago is new when it comes again."""


class Repeats:
    """Decides which of many messages of one kind are said, and counts the others.

    A kind (a code, say) is said at once, so a change of state shows; then at most every ``EVERY_US``, for as long as it comes.
    A state that comes and goes faster than that is not told each time.
    """

    def __init__(self) -> None:
        self._said: dict[str, tuple[int, int]] = {}

    def left_out(self, kind: str, now_us: int) -> int | None:
        """None: leave this one out. Otherwise say it; so many of its ``kind`` were left out since it was said last.

        ``now_us``: microseconds of any one clock.
        """
        said_us, left_out = self._said.get(kind, (now_us - EVERY_US, 0))
        if now_us - said_us < EVERY_US:
            self._said[kind] = (said_us, left_out + 1)
            return None
        self._said.pop(kind, None)  # the newest stands last
        if len(self._said) >= KINDS_MAX:
            del self._said[next(iter(self._said))]
        self._said[kind] = (now_us, 0)
        return left_out
