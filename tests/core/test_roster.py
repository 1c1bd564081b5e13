"""Which tenants are in force when files change, break, go, and differ between replicas."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import contract, gate, tenants, yaml_places
from sales_crm_bridge.admission import serves
from sales_crm_bridge.errors import ConfigError, EnvironmentFault
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.roster import Judged, Roster, judge, owners
from sales_crm_bridge.state import Intake, TenantRow
from sales_crm_bridge.units import time_text, time_us

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config" / "tenants" / "acme.yaml").read_text()
NOW_US = 1_790_000_000_000_000


class Clock:
    now = NOW_US

    def now_us(self) -> int:
        return self.now

    sleeps = 0

    async def sleep(self, _seconds: float) -> None:
        """Time stands still."""
        type(self).sleeps += 1


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_HUBSPOT_TOKEN", "a token")
    monkeypatch.setattr(Clock, "now", NOW_US)
    monkeypatch.setattr(Clock, "sleeps", 0)


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


def appended(*entries: str) -> str:
    """Tell the example's file with further entries of ``leads``."""
    last = "  - {owner: crm, from: 2026-01-01T00:00:00Z}\n"
    assert last in EXAMPLE
    return EXAMPLE.replace(last, last + "".join(f"  - {{{entry}}}\n" for entry in entries))


RETIRED = f"owner: domain, from: {time_text(NOW_US)}"
COMING = "owner: crm, from: 2030-01-01T00:00:00Z"


async def retired(folder: Path, ledger: SqlLedger, text: str = EXAMPLE) -> Roster:
    """Tell a process that has seen the tenant accepted, read from the topic, and retired at ``NOW_US``."""
    one = roster(folder, ledger)
    (folder / "acme.yaml").write_text(text)
    await one.refresh()
    await ledger.take(Intake(rows=(), dead=(), offsets={(contract.INTENT_TOPIC, 0): 5}, now_us=NOW_US))
    assert await ledger.tenant_retire("acme", NOW_US)
    assert await one.refresh() == {"connection/acme/hubspot"}
    return one


async def test_a_retired_tenants_late_intents_are_judged_by_their_own_time(tmp_path: Path) -> None:
    """Its leads were the CRM's until it was retired, also for a process that has begun since; nobody reads leads for it now."""
    ledger = await open_ledger("sqlite://:memory:")
    first = await retired(tmp_path, ledger)
    (tmp_path / "acme.yaml").unlink()
    second = roster(tmp_path, ledger)
    await second.refresh()
    for one in (first, second):
        assert not one.tenants()
        assert not one.leases()
        tenancy = one.tenancy()
        assert tenancy.conns == {"acme": 1}
        assert tenancy.earliest_us == time_us("2026-01-01T00:00:00Z")
        for at_us, decision in (
            (NOW_US - 1, gate.OURS),
            (NOW_US, gate.NotOurs(gate.Reason.RETIRED)),
            (0, gate.NotOurs(gate.Reason.BEFORE_FIRST)),
        ):
            assert gate.decide(tenancy.ownership, "acme", "CreateLeadRequested", at_us) == decision
        assert serves(tenancy, "acme", NOW_US - 1) == gate.NotOurs(gate.Reason.RETIRED)
    assert [*second.tenancy().ownership.values()] == owners(await ledger.tenants(), CATALOGUE)
    await ledger.close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (EXAMPLE, "tenant.retired"),
        (EXAMPLE + "# changed\n", "tenant.returns"),
        (appended(COMING), "tenant.returns"),
        (appended(f"owner: domain, from: {time_text(NOW_US + 1)}", COMING), "tenant.returns"),
        (appended(RETIRED).replace("2024-01-01", "2024-02-01"), "tenant.leads-changed"),
        (appended(RETIRED, f"owner: crm, from: {time_text(NOW_US + 1)}"), "tenant.leads-past"),
        (appended(RETIRED).replace('"4242"', '"4343"'), "tenant.account-moved"),
    ],
)
async def test_a_file_that_does_not_tell_of_the_retirement_brings_nobody_back(
    tmp_path: Path, text: str, code: str
) -> None:
    """The domain has had the leads since then: by a file that says otherwise intents would be handled twice. The remedy has it."""
    ledger = await open_ledger("sqlite://:memory:")
    one = await retired(tmp_path, ledger)
    Clock.now = NOW_US + 2
    (tmp_path / "acme.yaml").write_text(text)
    assert await one.refresh() == set()
    assert not one.tenants()
    found = {finding.code: finding for finding in one.findings}
    assert {*found} - {"tenant.leads-repeated"} == {code}
    if code in ("tenant.retired", "tenant.returns"):
        wanted = f"{{{RETIRED}}}, and then {{owner: crm, from: <a coming time>}}"
        assert f"after the entries of before that time, {wanted}" in found[code].remedy
    await ledger.close()


@pytest.mark.parametrize("entries", [(RETIRED,), (RETIRED, COMING)])
async def test_a_file_that_tells_of_the_retirement_brings_the_tenant_back(
    tmp_path: Path, entries: tuple[str, ...]
) -> None:
    """With its old connection; the CRM owns the leads again from the coming entry on, and nothing is judged anew."""
    ledger = await open_ledger("sqlite://:memory:")
    one = await retired(tmp_path, ledger)
    before = one.tenancy()
    Clock.now = NOW_US + 2
    (tmp_path / "acme.yaml").write_text(appended(*entries))
    assert await one.refresh() == {"connection/acme/hubspot"}
    assert one.findings == ()
    assert one.tenancy().conns == before.conns
    for at_us in (0, NOW_US - 1, NOW_US, NOW_US + 10**9):
        was, now = (gate.decide(it.ownership, "acme", "CreateLeadRequested", at_us) for it in (before, one.tenancy()))
        assert isinstance(was, gate.Ours) is isinstance(now, gate.Ours)
    coming = gate.decide(one.tenancy().ownership, "acme", "CreateLeadRequested", time_us("2030-01-01T00:00:00Z"))
    assert isinstance(coming, gate.Ours) is (COMING in entries)
    await ledger.close()


async def test_a_tenant_that_was_retired_with_the_domain_as_the_owner_comes_back_with_any_change(
    tmp_path: Path,
) -> None:
    """But not with an older file that another replica still has: that is no news."""
    ledger = await open_ledger("sqlite://:memory:")
    text = appended("owner: domain, from: 2026-09-22T00:00:00Z")
    slow = roster(tmp_path / "slow", ledger)
    (tmp_path / "slow" / "acme.yaml").write_text(text)
    await slow.refresh()
    Clock.now = time_us("2026-09-23T00:00:00Z")
    quick = roster(tmp_path / "quick", ledger)
    (tmp_path / "quick" / "acme.yaml").write_text(text + "# newer\n")
    await quick.refresh()
    await ledger.tenant_retire("acme", Clock.now)
    for _ in range(2):
        for one in (slow, quick):
            await one.refresh()
            assert not one.tenants()
    (retired,) = quick.findings
    assert "after the entries of before that time, {owner: crm, from: <a coming time>}" in retired.remedy
    (tmp_path / "quick" / "acme.yaml").write_text(text + "# once more\n")
    await quick.refresh()
    assert set(quick.tenants()) == {"acme"}
    await ledger.close()


async def test_a_retired_tenants_account_is_free(tmp_path: Path) -> None:
    """Another tenant may have it, though the old file is still there; then the old tenant cannot come back to it."""
    ledger = await open_ledger("sqlite://:memory:")
    one = await retired(tmp_path, ledger)
    coming = EXAMPLE.replace("2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z")
    (tmp_path / "beta.yaml").write_text(coming.replace("tenant: acme", "tenant: beta"))
    await one.refresh()
    assert set(one.tenants()) == {"beta"}
    (tmp_path / "acme.yaml").write_text(appended(RETIRED))
    await one.refresh()
    assert set(one.tenants()) == {"beta"}
    assert [(Path(it.place.file).name, it.code) for it in one.findings] == [("acme.yaml", "tenant.shared-account")]
    await ledger.close()


async def test_a_retired_tenant_whose_text_is_no_longer_understood_stops_nobody(tmp_path: Path) -> None:
    """Its leads are the domain's then; a tenant in force with such a text keeps the process from starting (rule 17)."""
    ledger = await open_ledger("sqlite://:memory:")
    row = TenantRow(
        tenant="old", text="leads: {}", digest="d", accepted_us=1, connection="c", adapter="gone", account="1"
    )
    await ledger.tenant_accept(row)
    one = roster(tmp_path, ledger)
    with pytest.raises(ConfigError):
        await one.refresh()
    await ledger.tenant_retire("old", NOW_US)
    (tmp_path / "acme.yaml").write_text(EXAMPLE)
    await one.refresh()
    assert set(one.tenants()) == {"acme"}
    decision = gate.decide(one.tenancy().ownership, "old", "CreateLeadRequested", NOW_US - 1)
    assert decision == gate.NotOurs(gate.Reason.BEFORE_FIRST)
    assert json.dumps(gate.gate_json(owners(await ledger.tenants(), CATALOGUE)))
    await ledger.close()


async def test_a_file_is_taken_up_when_the_secret_that_it_lacked_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no file has changed; until then the files are not read again and again for it."""
    looks: list[int] = []

    async def counted(*args: Any, **more: Any) -> Judged:
        looks.append(1)
        return await judge(*args, **more)

    monkeypatch.setattr("sales_crm_bridge.roster.judge", counted)
    ledger = await open_ledger("sqlite://:memory:")
    folder, secret = tmp_path / "tenants", tmp_path / "token"
    one = roster(folder, ledger)
    (folder / "acme.yaml").write_text(EXAMPLE.replace("env:ACME_HUBSPOT_TOKEN", f"file:{secret}"))
    for _ in range(3):
        assert await one.refresh() == set()
    assert [finding.code for finding in one.findings] == ["config.unresolvable-secret"]
    assert len(looks) == 1
    secret.write_text("a token")
    assert await one.refresh() == {"connection/acme/hubspot"}
    assert one.findings == ()
    secret.unlink()  # what is in force stays
    for _ in range(3):
        assert await one.refresh() == set()
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


async def test_behind_a_folder_that_cannot_be_read_the_ledger_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant that is retired meanwhile is out of force here too; where the ledger has nothing, nobody begins."""
    ledger = await open_ledger("sqlite://:memory:")
    home = roster(tmp_path, ledger)
    (tmp_path / "acme.yaml").write_text(EXAMPLE)

    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(EnvironmentFault):
            await home.refresh()
        assert not home.loaded
    await home.refresh()
    await ledger.tenant_retire("acme", NOW_US)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        await home.renew()  # what intake and calls go by
        assert home.tenants() == {}
        assert home.tenancy().ownership["acme"].retired_us == NOW_US
        assert home.tenancy().number == await ledger.tenancy()
        assert await home.refresh() == {"connection/acme/hubspot"}
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
    """It is neither empty nor gone: nothing changes, a finding says what and where, and the next look finds it again.

    A process that begins meanwhile goes by what was accepted (rule 17).
    """
    ledger = await open_ledger("sqlite://:memory:")
    home, late = roster(tmp_path, ledger), roster(tmp_path, ledger)
    (tmp_path / "acme.yaml").write_text(EXAMPLE)
    await home.refresh()

    def refuse(_path: Path) -> None:
        raise OSError(number, why)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, refuse)
        assert await home.refresh() == await home.refresh() == set()
        (said,) = home.findings
        with pytest.raises(EnvironmentFault, match=why):
            tenants.load(tmp_path, CATALOGUE)
        assert await late.refresh() == {"connection/acme/hubspot"}
        assert [one.code for one in late.findings] == ["tenant.folder-unreadable"]
        assert (set(late.tenants()), late.loaded) == ({"acme"}, True)
    assert await late.refresh() == set()
    assert late.findings == ()
    assert (said.code, said.place.file) == ("tenant.folder-unreadable", str(tmp_path))
    assert why in said.message
    assert said.remedy
    assert set(home.tenants()) == {"acme"}
    assert await home.refresh() == set()
    assert home.findings == ()
    (tmp_path / "acme.yaml").write_text(EXAMPLE.replace("every: 30s", "every: 20s"))
    assert await home.refresh() == {"connection/acme/hubspot"}
    await ledger.close()


def file_of(name: str, *, every: str = "30s", secret: str = "env:ACME_HUBSPOT_TOKEN") -> str:
    """Tell a file like the example's for another tenant."""
    text = EXAMPLE.replace("tenant: acme", f"tenant: {name}").replace('"4242"', f'"{name}"')
    return text.replace("every: 30s", f"every: {every}").replace("env:ACME_HUBSPOT_TOKEN", secret)


async def test_of_many_files_only_what_has_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand take long to read: also with the ledger's texts each is read once, and everything else has a turn after each."""
    read: list[str] = []
    parse = yaml_places.parse

    def counted(raw: bytes, name: str) -> yaml_places.Document:
        read.append(Path(name).stem)
        return parse(raw, name)

    monkeypatch.setattr(yaml_places, "parse", counted)
    ledger = await open_ledger("sqlite://:memory:")
    first = roster(tmp_path, ledger)
    names = [f"t{number}" for number in range(5)]
    for name in names:
        (tmp_path / f"{name}.yaml").write_text(file_of(name))
    await first.refresh()
    assert (read, Clock.sleeps) == (names, 5)
    read.clear()
    (tmp_path / "t3.yaml").write_text(file_of("t3", every="20s"))
    assert await first.refresh() == {"connection/t3/hubspot"}
    assert read == ["t3", "t3 (accepted)"]
    read.clear()
    (tmp_path / "t9.yaml").write_text(file_of("t9"))
    assert await first.refresh() == {"connection/t9/hubspot"}
    assert read == ["t9"]
    read.clear()
    second = roster(tmp_path, ledger)
    await second.refresh()
    assert read == [*names, "t9"]
    assert second.leases() == first.leases()
    await ledger.close()


async def test_files_at_rest_cost_one_question_to_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of all tenants are not read from it every few seconds: a number says whether any has changed."""
    asked: list[str] = []
    ledger = await open_ledger("sqlite://:memory:")
    one, other = roster(tmp_path, ledger), roster(tmp_path, ledger)
    (tmp_path / "t0.yaml").write_text(file_of("t0"))
    for _ in range(2):
        await one.refresh()
        await other.refresh()

    class Heard:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(ledger, name)

    monkeypatch.setattr(one, "_ledger", Heard())
    for _ in range(3):
        assert await one.refresh() == set()
    assert asked == ["tenancy"] * 3
    assert one.tenancy() is one.tenancy()
    (tmp_path / "t0.yaml").write_text(file_of("t0", every="20s"))
    await other.refresh()
    (tmp_path / "t0.yaml").write_text(file_of("t0"))
    before = one.tenancy()
    await one.refresh()
    assert one.tenancy().number == await ledger.tenancy() > before.number
    assert one.tenants()["t0"].pull.every_s == 20
    await ledger.close()


@given(
    deeds=st.lists(
        st.tuples(
            st.sampled_from(["write", "break", "move", "remove", "retire", "secret", "no secret"]),
            st.sampled_from(["t0", "t1", "t2"]),
        ),
        max_size=8,
    )
)
@settings(max_examples=30, deadline=None)
async def test_what_was_read_before_is_what_reading_anew_gives(deeds: list[tuple[str, str]]) -> None:
    """Whatever happens to files, secrets and tenants: judged with the shelf and without it, they are the same."""
    ledger = await open_ledger("sqlite://:memory:")
    with TemporaryDirectory() as name:
        folder = Path(name) / "tenants"
        one = roster(folder, ledger)
        for number, (deed, tenant) in enumerate(deeds):
            file, secret = folder / f"{tenant}.yaml", Path(name) / f"secret-{tenant}"
            match deed:
                case "write":
                    file.write_text(file_of(tenant, every=f"{20 + number}s", secret=f"file:{secret}"))
                case "break" if file.exists():
                    file.write_text(file.read_text().replace("adapter: hubspot", "adapter: hubspott"))
                case "move" if file.exists():
                    file.write_text(file.read_text().replace(f'account: "{tenant}"', 'account: "t0"'))
                case "remove":
                    file.unlink(missing_ok=True)
                case "retire":
                    await ledger.tenant_retire(tenant, NOW_US + number)
                case "secret":
                    secret.write_text("a token")
                case _:
                    secret.unlink(missing_ok=True)
            await one.refresh()
            rows = {row.tenant: row for row in await ledger.tenants()}
            kept = await judge(ledger, folder, CATALOGUE, rows, NOW_US, shelf=one._shelf)
            anew = await judge(ledger, folder, CATALOGUE, rows, NOW_US)
            assert told(kept) == told(anew)
    await ledger.close()


def told(judged: Judged) -> object:
    """Tell all of it but for the names under which the ledger's texts are read."""

    def said(one: tenants.Tenant) -> object:
        outline = one.outline
        rules = (one.ownership, one.connection, one.pull, one.push, one.conflicts, one.mapping.spec)
        return (one.tenant, one.text, one.digest, *rules, outline.spans, outline.account, set(outline.places))

    loaded = judged.loaded
    return (
        {name: said(one) for name, one in judged.previous.items()},
        judged.retired,
        judged.strays,
        {name: (one.file, said(one)) for name, one in loaded.tenants.items()},
        (loaded.findings, loaded.asleep, loaded.lost),
    )
