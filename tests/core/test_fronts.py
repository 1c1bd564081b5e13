"""The limits of the HTTP side as the settings name them."""

from __future__ import annotations

import resource

import pytest

from sales_crm_bridge.fronts import door_limits, line_limits
from sales_crm_bridge.settings import Settings


def settings(**web: object) -> Settings:
    return Settings.model_validate({"web": web})


def test_a_request_may_take_as_long_as_its_parts() -> None:
    """A connection's deadline while a request is served is none for a delivery that keeps to the limits of body and ledger."""
    found = line_limits(settings(body_timeout="7s", answer="3s", head_timeout="2s", connections_max=70))
    assert (found.head_s, found.answer_s, found.connections_max) == (2.0, 10.0, 70)


@pytest.mark.parametrize(
    ("bodies", "connections", "files", "most"),
    [(64, 500, 10_000, 64), (64, 100, 10_000, 50), (64, 500, 100, 25), (1, 500, 10_000, 1), (64, 500, 2, 1)],
)
def test_bodies_leave_half_of_the_connections_to_others(
    bodies: int, connections: int, files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the limits are set and however few files there are: who only asks how the process is finds a connection."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert door_limits(settings(bodies_max=bodies, connections_max=connections)).bodies_max == most
