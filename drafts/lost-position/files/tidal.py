"""The tidal dialect: the plain one, but what has changed is asked for by a token that the CRM gives, and forgets after a while.

What its reference would say beyond the plain dialect's, under ``/api/v1``:

====== ==================== ===========================================================================================
GET    /people/delta        ``token`` (``latest``: from now on), ``cursor``, ``limit`` → ``{items: [Person], next?, token?}``: every
                            record that was written since the token was given, live or ``deleted``, each once; ``token``, for
                            the next time, stands on the last page alone; 410 ``token-expired``
====== ==================== ===========================================================================================

``GET /people`` knows no ``updatedSince`` here. A token is good for ``token_s`` seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_bridge.sandbox.dialects.counter import Refusal, Value, json_answer, page_number
from sales_crm_bridge.sandbox.dialects.plain import PAGE_MAX, Person, Plain, problem

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from sales_crm_bridge.sandbox.wire import Answer


class Tidal(Plain):
    """One account; ``token_s``: how long a token is good."""

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, key: str = "plain-key") -> None:
        super().__init__(clock=clock, rng=rng, key=key)
        self.token_s = 86_400
        self._written: dict[int, int] = {}

    def _write(self, person: Person, values: Mapping[str, Value]) -> None:
        super()._write(person, values)
        self._written[person.id] = self.moves

    def _shows(self, way: list[str], query: Mapping[str, str]) -> Answer:
        if way == ["people", "delta"]:
            return json_answer(200, self._delta(query))
        return super()._shows(way, query)

    def _delta(self, query: Mapping[str, str]) -> dict[str, Any]:
        self._allow(query, "token", "cursor", "limit")
        limit = page_number(query.get("limit"), 50, 1, PAGE_MAX)
        token = query.get("token", "")
        if limit is None or not token:
            raise Refusal(problem(400, "bad-parameter", parameter="limit" if limit is None else "token"))
        if token == "latest":  # noqa: S105 - a word of the dialect
            return {"items": [], "token": self._token()}
        since, _, given = token.partition("-")
        if not (since.isdecimal() and given.isdecimal()):
            raise Refusal(problem(400, "bad-parameter", parameter="token"))
        if int(given) + self.token_s < self.now_s():
            raise Refusal(problem(410, "token-expired"))
        after = query.get("cursor", "")
        found = sorted(
            (move, number)
            for number, move in self._written.items()
            if move > int(since) and move > int(after or 0) and number in self.people
        )
        page = found[:limit]
        told: dict[str, Any] = {"items": [self._told(self.people[number]) for _, number in page]}
        if len(found) > limit:
            return told | {"next": str(page[-1][0])}
        return told | {"token": self._token()}

    def _told(self, person: Person) -> dict[str, Any]:
        return {**person.wire(), "deleted": bool(person.deleted)}

    def _token(self) -> str:
        return f"{self.moves}-{self.now_s()}"
