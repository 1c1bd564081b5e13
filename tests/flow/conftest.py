"""The flow tests' surroundings."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's token stands where the tenant file says."""
    monkeypatch.setenv("ACME_TOKEN", "pat-na1-sandbox")
