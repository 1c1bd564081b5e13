"""The replay tests' surroundings."""

import pytest


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's token stands where the tenant file says."""
    monkeypatch.setenv("ACME_TOKEN", "pat-na1-sandbox")
