"""The pytest plugin: recorded and scripted CRM sync in a domain team's own tests.

It is found by its entry point wherever this package is installed. Nothing of the bridge is imported until a test asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_crm_bridge.replay.replayed import Replayed
    from sales_crm_bridge.replay.scripted import ScriptedCrm

MARKER = (
    "crm_replay(bundle, tenant=None): replay this bundle; a relative path begins at the test's folder, else at the root"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def crm_replay(request: pytest.FixtureRequest) -> Replayed:
    """The bundle of the test's marker, played: its facts, its requests."""
    from sales_crm_bridge.replay.replayed import replayed  # noqa: PLC0415 - see the module

    marker = request.node.get_closest_marker("crm_replay")
    if marker is None or not marker.args:
        pytest.fail("say which bundle: @pytest.mark.crm_replay('bundles/acme-import')", pytrace=False)
    folders = (request.path.parent, request.config.rootpath)
    tenant = marker.kwargs.get("tenant")
    return replayed(_found(folders, marker.args[0]), _found(folders, tenant) if tenant is not None else None)


@pytest.fixture
def scripted_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedCrm]:
    """A CRM that the test scripts, with the bridge beside it on virtual time."""
    from sales_crm_bridge.replay.scripted import ScriptedCrm  # noqa: PLC0415 - see the module

    crm = ScriptedCrm(tmp_path_factory.mktemp("scripted-crm"))
    yield crm
    crm.close()


def _found(folders: tuple[Path, ...], name: str) -> Path:
    """The first that is there; where none is, the first, for the message."""
    places = [folder / name for folder in folders]
    return next((place for place in places if place.exists()), places[0])
