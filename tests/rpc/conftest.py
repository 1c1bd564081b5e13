"""The surroundings of the tests of calls."""

from pathlib import Path

import pytest

from tests.rpc.shop import Shop, Texts, compile_texts


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's token stands where the tenant's file says."""
    monkeypatch.setenv("ACME_TOKEN", "pat-na1-sandbox")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    """Give what a client makes of the texts in ``protos/``."""
    return compile_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def shop(tmp_path: Path, texts: Texts) -> Shop:
    """Give a deployment with one tenant, acme, whose leads are the CRM's."""
    return Shop(tmp_path, texts)
