"""What the sandbox's tests ask for."""

import pytest

from tests.sandbox.bench import Bench


@pytest.fixture
def bench() -> Bench:
    """An empty account, all vices as they are by default."""
    return Bench()
