"""The world that a promise is tested in: every adapter of the catalogue, in each form that its options give it."""

import pytest

from tests.contract.world import World
from tests.contract.worlds import WORLDS


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    """Give an empty account at one CRM."""
    return WORLDS[request.param]()
