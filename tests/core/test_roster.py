"""Which tenants are in force when files change, break, go, and differ between replicas."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, cast

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import contract, tenants
from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.state import Intake

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config" / "tenants" / "acme.yaml").read_text()
NOW_US = 1_790_000_000_000_000


class Clock:
    def now_us(self) -> int:
        return NOW_US


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_HUBSPOT_TOKEN", "a token")


def roster(folder: Path, ledger: Any) -> Roster:
    folder.mkdir(exist_ok=True)
    return Roster(folder=folder, catalogue=CATALOGUE, ledger=ledger, clock=cast("Any", Clock()), hire=cast("Any", None))


async def test_replicas_with_different_files_do_not_take_turns(tmp_path: Path) -> None:
    """During a roll-out one replica still has the old file: the new one, once accepted, rules for both."""
    ledger = await open_ledger("sqlite://:memory:")
    old, new = roster(tmp_path / "old", ledger), roster(tmp_path / "new", ledger)
    (tmp_path / "old" / "acme.yaml").write_text(EXAMPLE)
    assert await old.refresh() == {"connection/acme/hubspot"}
    (tmp_path / "new" / "acme.yaml").write_text(EXAMPLE.replace("every: 30s", "every: 20s"))
    await new.refresh()
    for _ in range(3):
        await old.refresh()
        assert await new.refresh() == set()
    assert old.tenants()["acme"].pull.every_s == new.tenants()["acme"].pull.every_s == 20
    assert await old.refresh() == set()
    (tmp_path / "old" / "acme.yaml").write_text(EXAMPLE.replace("every: 30s", "every: 10s"))
    await old.refresh()
    await new.refresh()
    assert new.tenants()["acme"].pull.every_s == 10
    await ledger.close()


async def test_a_broken_or_missing_file_leaves_the_accepted_version_in_force(tmp_path: Path) -> None:
    """Also in a new process; what is wrong stands in the findings, each told once."""
    ledger = await open_ledger("sqlite://:memory:")
    first = roster(tmp_path, ledger)
    file = tmp_path / "acme.yaml"
    file.write_text(EXAMPLE)
    await first.refresh()
    file.write_text(EXAMPLE.replace("adapter: hubspot", "adapter: hubspott"))
    assert await first.refresh() == set()
    assert [one.code for one in first.findings] == ["config.unknown-crm"]
    second = roster(tmp_path, ledger)
    assert await second.refresh() == {"connection/acme/hubspot"}
    assert set(second.tenants()) == {"acme"}
    file.unlink()
    third = roster(tmp_path, ledger)
    await third.refresh()
    assert set(third.tenants()) == {"acme"}
    assert third.tenancy().conns == first.tenancy().conns
    (gone,) = third.findings
    assert (gone.code, gone.place.file) == ("tenant.file-gone", str(file))
    assert "tenant retire acme" in gone.remedy
    file.write_text(EXAMPLE)
    await third.refresh()
    assert third.findings == ()
    await ledger.close()


async def test_a_retired_tenant_is_told_from_an_unknown_one_and_comes_back_with_a_changed_file(tmp_path: Path) -> None:
    """Retiring takes it out of force though the file is still there; a changed file brings it back."""
    ledger = await open_ledger("sqlite://:memory:")
    one = roster(tmp_path, ledger)
    (tmp_path / "acme.yaml").write_text(EXAMPLE)
    await one.refresh()
    await ledger.tenant_retire("acme", NOW_US)
    assert await one.refresh() == {"connection/acme/hubspot"}
    assert not one.tenants()
    assert one.tenancy().ownership["acme"].retired_us == NOW_US
    assert [finding.code for finding in one.findings] == ["tenant.retired"]
    (tmp_path / "acme.yaml").write_text(EXAMPLE + "# once more\n")
    await one.refresh()
    assert set(one.tenants()) == {"acme"}
    await ledger.close()


async def test_a_new_tenant_may_not_own_a_past_that_intake_has_gone_by(tmp_path: Path) -> None:
    """Its earlier intents were passed over as an unknown tenant's: a past entry is refused, a coming one is not."""
    ledger = await open_ledger("sqlite://:memory:")
    offsets = {(contract.INTENT_TOPIC, 0): 5}
    await ledger.take(Intake(rows=(), dead=(), offsets=offsets, now_us=NOW_US))
    one = roster(tmp_path, ledger)
    (tmp_path / "acme.yaml").write_text(EXAMPLE)
    assert await one.refresh() == set()
    assert {finding.code for finding in one.findings} == {"tenant.leads-past"}
    coming = EXAMPLE.replace("2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z")
    (tmp_path / "acme.yaml").write_text(coming)
    await one.refresh()
    assert set(one.tenants()) == {"acme"}
    await ledger.close()


@pytest.mark.parametrize(
    ("step", "number", "why"),
    [
        ("iterdir", errno.EMFILE, "Too many open files"),
        ("iterdir", errno.EACCES, "Permission denied"),
        ("is_dir", errno.EACCES, "Permission denied"),
    ],
)
async def test_a_folder_that_cannot_be_read_is_a_matter_of_the_environment(
    step: str, number: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither empty nor gone: nothing changes, the fault says what and where, and the next look finds it again."""
    ledger = await open_ledger("sqlite://:memory:")
    home = roster(tmp_path, ledger)
    (tmp_path / "acme.yaml").write_text(EXAMPLE)
    await home.refresh()

    def refuse(_path: Path) -> None:
        raise OSError(number, why)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, refuse)
        with pytest.raises(EnvironmentFault, match=why) as told:
            await home.refresh()
        with pytest.raises(EnvironmentFault, match=why):
            tenants.load(tmp_path, CATALOGUE)
    assert (told.value.code, told.value.place) == ("tenant.folder-unreadable", str(tmp_path))
    assert told.value.remedy
    assert set(home.tenants()) == {"acme"}
    assert home.findings == ()
    (tmp_path / "acme.yaml").write_text(EXAMPLE.replace("every: 30s", "every: 20s"))
    assert await home.refresh() == {"connection/acme/hubspot"}
    await ledger.close()
