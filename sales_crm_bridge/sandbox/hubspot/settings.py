"""What a sandbox account is like, and how it misbehaves. Rules of the API (caps, limits of a page) are not settings."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One HubSpot account and the private app that looks at it.

    ``token``: the static token that has every scope; ``app_id`` is what the app's writes carry as their source.
    """

    portal_id: int = 4242
    app_id: int = 4169410
    time_zone: str = "Europe/Berlin"
    currency: str = "EUR"
    token: str = "pat-na1-sandbox"  # noqa: S105 - opens nothing but the sandbox
    default_lifecycle_stage: str = "lead"

    @property
    def zone(self) -> ZoneInfo:
        """Where the account's day begins at midnight."""
        return ZoneInfo(self.time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vices:
    """How an account differs from one that would be pleasant to work with.

    ``search_lag_s``: least and most seconds until search shows a write; each write draws its own. ``latency_s``: the same for the
    way there, and again for the way back. ``ids_out_of_order``: a later record may have a smaller id, as in the recorded answers.
    ``shuffle_batches``: batch results come in any order. ``touch_same_value``: a write that changes nothing moves the modified
    time all the same. ``merge_makes_new_id``: a survivor is a third record (since January 2025); otherwise the primary lives on.
    ``html_not_found``: a read of one record that is not there is answered by a page, not JSON. ``partial_missing``: a batch
    update without trace ids skips ids that are not there and answers 207 (clients report both); otherwise it fails whole.
    ``search_daily_headers``: search answers carry the two daily headers, as recorded in October 2024, but never those of the
    burst limit. ``rotate_refresh_tokens``: each refresh gives a new refresh token and ends the old one.

    Limits: ``burst_per_10_s`` for one private app (100 Free and Starter, 190 Professional, 250 with the add-on),
    ``oauth_burst_per_10_s`` for an OAuth app, ``search_per_s`` for the account, ``per_day`` for all private apps together.
    """

    search_lag_s: tuple[float, float] = (0.0, 0.0)
    latency_s: tuple[float, float] = (0.0, 0.0)
    ids_out_of_order: bool = True
    shuffle_batches: bool = True
    touch_same_value: bool = True
    merge_makes_new_id: bool = True
    html_not_found: bool = True
    partial_missing: bool = False
    search_daily_headers: bool = True
    rotate_refresh_tokens: bool = False
    burst_per_10_s: int = 190
    oauth_burst_per_10_s: int = 110
    search_per_s: int = 5
    per_day: int = 625_000

    @classmethod
    def typical(cls) -> Vices:
        """An account on an ordinary day: search lags by up to ten seconds, a call takes up to 0.2 s."""
        return cls(search_lag_s=(0.5, 10.0), latency_s=(0.02, 0.1))
