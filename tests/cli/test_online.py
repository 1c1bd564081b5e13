"""``check --online`` and ``sync --once`` against a HubSpot over real HTTP and a Kafka in the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge import checkup
from sales_crm_bridge.checkup import CheckReport, whose
from sales_crm_bridge.errors import Finding, Place
from sales_crm_bridge.kafka.embedded import EmbeddedKafka
from sales_crm_bridge.model import Account
from sales_crm_bridge.sandbox import SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.settings import read
from sales_crm_bridge.state import lease_name

TENANT = """
tenant: acme
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: hubspot
  address: {address}
  account: "{account}"
  credentials: {credentials}
  allow_hosts: [127.0.0.1]
  limits: {{per_second: 100}}
fields:
  email: email
  city: {city}
  status: {{crm: hs_lead_status, values: {{NEW: new, CONNECTED: qualified, UNQUALIFIED: disqualified}}, otherwise: working}}
pull: {{every: 1s, horizon: 1s, second_pass: 10s, removed_every: 1m, audit_every: 5m}}
"""

SECRETS = {
    "HASH_KEY": "a hash key of the tests",
    "SEAL_KEY": "a seal key of the tests",
    "ACME_TOKEN": "pat-na1-sandbox",
    "ACME_ID": "our-app",
    "ACME_SECRET": "s3cret",
    "ACME_REFRESH": "refresh-0",
}
PRIVATE_APP = "{kind: token, token: env:ACME_TOKEN}"
OAUTH_APP = "{kind: oauth, client_id: env:ACME_ID, client_secret: env:ACME_SECRET, refresh_token: env:ACME_REFRESH}"


class Shop:
    """A deployment on embedded parts, whose verbs run as processes of their own."""

    def __init__(self, folder: Path, address: str, servers: str) -> None:
        self._folder = folder
        self.address = address
        self._config = folder / "bridge.yaml"
        settings = {
            "ledger": f"sqlite:///{folder / 'bridge.db'}",
            "kafka": {"bootstrap.servers": servers},
            "hash_keys": ["env:HASH_KEY"],
            "seal_key": "env:SEAL_KEY",
            "tenants": {"folder": str(folder / "tenants")},
            "service": {"drain": "8s"},
            "http": {"retry_first": "10ms"},
        }
        self._config.write_text(json.dumps(settings))
        # A cluster in the process does not answer an administrator's questions: `check` would wait for each of them.
        (folder / "no-kafka.yaml").write_text(json.dumps({**settings, "kafka": {}}))
        (folder / "tenants").mkdir()
        self.tenant()

    def tenant(self, account: str = "4242", city: str = "city", credentials: str = PRIVATE_APP) -> None:
        text = TENANT.format(address=self.address, account=account, city=city, credentials=credentials)
        (self._folder / "tenants" / "acme.yaml").write_text(text)

    async def start(self, *verb: str) -> asyncio.subprocess.Process:
        env = {**os.environ, **SECRETS}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sales_crm_bridge", *verb),
            env={"SALES_CRM_BRIDGE_CONFIG": str(self._config), **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def check(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """``check --online`` without Kafka: what it told of the tenant, and its findings by code but for the one about that."""
        code, said = await self.call("check", "--online", "--json", "-c", str(self._folder / "no-kafka.yaml"))
        assert code == 2, said
        report = json.loads(said)
        assert all(one["remedy"] for one in report["findings"])
        found = {one["code"]: one for one in report["findings"]}
        del found["config.missing-key"]
        return (report["tenants"] or [{}])[0], found

    async def call(self, *verb: str) -> tuple[int, str]:
        process = await self.start(*verb)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, out.decode() or err.decode()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@asynccontextmanager
async def shop(folder: Path, portal: Portal) -> AsyncIterator[Shop]:
    with EmbeddedKafka() as kafka:
        async with serve(SandboxApp(portal)) as address:
            yield Shop(folder, address, kafka.servers)


@pytest.fixture
def portal() -> Portal:
    made = Portal.seeded(seed=1, leads=120, clock=time.time, vices=Vices(search_per_s=100))
    made.add_property("contacts", "bridge_lead_id", unique=True)
    return made


async def test_check_online_compares_with_what_is_there(tmp_path: Path, portal: Portal) -> None:
    """Account, clock and quota are told; a wrong account and a field that the CRM lacks are findings with their line."""
    async with shop(tmp_path, portal) as deployment:
        await deployment.call("migrate")
        tenant, found = await deployment.check()
        assert found == {}
        assert tenant["account"].startswith("4242")
        deployment.tenant(account="999", city="citty")
        _, found = await deployment.check()
        assert found["mapping.crm-field-unknown"]["line"] > 0
        assert "4242" in found["crm.wrong-account"]["message"]


def calls(folder: Path, made: int | None = None) -> int:
    """The ledger's count of the account's calls; or set it."""
    with contextlib.closing(sqlite3.connect(folder / "bridge.db")) as ledger, ledger:
        if made is not None:
            ledger.execute("UPDATE calls SET made = ?", (made,))
        return int(ledger.execute("SELECT sum(made) FROM calls").fetchall()[0][0])


async def test_check_online_says_that_the_day_is_used_up(tmp_path: Path, portal: Portal) -> None:
    """By the CRM's word, our own count, or that of the process at work: told with the time of the reset; no call is burnt."""
    async with shop(tmp_path, portal) as deployment:
        await deployment.call("migrate")
        portal.vices = replace(portal.vices, per_day=0)
        tenant, found = await deployment.check()
        assert found.keys() == {"crm.quota-day"}
        assert tenant["calls left today"] == "0"
        assert tenant["asked again"][:19] in found["crm.quota-day"]["message"]

        portal.vices = replace(portal.vices, per_day=625_000)
        file = tmp_path / "tenants" / "acme.yaml"
        file.write_text(
            file.read_text().replace("per_second: 100", "per_second: 100, per_day: 6000, reserve_per_day: 1000")
        )
        code, said = await deployment.call("sync", "--once", "--json")
        assert code == 0, said
        made = calls(tmp_path)
        _, found = await deployment.check()
        assert found == {}
        assert made < calls(tmp_path) < made + 20, "a check counts the calls that it makes, and no block of them"
        calls(tmp_path, 5000)
        before = portal._limits.used_today
        tenant, found = await deployment.check()
        assert found.keys() == {"quota.day"}
        assert "1000 are kept for the account's other programs" in found["quota.day"]["message"]
        assert portal._limits.used_today == before

        calls(tmp_path, 0)
        with contextlib.closing(sqlite3.connect(tmp_path / "bridge.db")) as ledger, ledger:
            lease = (lease_name("acme", "hubspot"), "another", 10**6, 9 * 10**15)
            ledger.execute("INSERT OR REPLACE INTO leases (name, holder, epoch, until_us) VALUES (?, ?, ?, ?)", lease)
            seen = json.loads(ledger.execute("SELECT state FROM glances").fetchall()[0][0])
            seen["quota_until"] = "2099-01-01T00:00:00Z"
            ledger.execute("UPDATE glances SET state = ?", (json.dumps(seen).encode(),))
        tenant, found = await deployment.check()
        assert found.keys() == {"quota.day"}
        assert tenant["asked again"].startswith("2099-01-01T00:00:00")
        assert portal._limits.used_today == before


async def test_check_online_keeps_a_token_that_the_crm_rotates(tmp_path: Path) -> None:
    """Each sign-in ends the refresh token before it: a tenant that runs nowhere yet is not locked out by being checked.

    Without a ledger nothing could be kept: then the CRM is not asked, and the report says so.
    """
    rotating = Portal.seeded(seed=1, leads=1, clock=time.time, vices=Vices(rotate_refresh_tokens=True))
    rotating.add_property("contacts", "bridge_lead_id", unique=True)
    app = rotating.tokens.oauth_app("our-app", "s3cret", "refresh-0")
    async with shop(tmp_path, rotating) as deployment:
        deployment.tenant(credentials=OAUTH_APP)
        tenant, found = await deployment.check()
        assert tenant["asked by"].startswith("nobody")
        assert found.keys() == {"ledger.unreachable"}
        assert "bridge.db" not in names_in(tmp_path), "looking makes no ledger"
        assert app.refresh_tokens == ["refresh-0"]
        await deployment.call("migrate")
        for _ in range(2):
            tenant, found = await deployment.check()
            assert found == {}
            assert tenant["account"].startswith("4242")
        assert "refresh-0" not in app.refresh_tokens
        _, said = await deployment.call("tenant", "list", "--json")
        assert json.loads(said) == []


async def test_check_online_says_what_the_crm_lacks(tmp_path: Path) -> None:
    """Without the property for our key nothing may be pushed: the finding says how to make it, also of a wrong account."""
    bare = Portal.seeded(seed=1, leads=1, clock=time.time)
    async with shop(tmp_path, bare) as deployment:
        await deployment.call("migrate")
        _, found = await deployment.check()
        assert "hubspot.key-property-missing" in found
        deployment.tenant(account="999")
        _, found = await deployment.check()
        assert found.keys() == {"crm.wrong-account", "hubspot.key-property-missing"}


async def test_check_online_says_why_a_crm_cannot_be_reached(tmp_path: Path, portal: Portal) -> None:
    """The check's own calls are faults enough for the breaker: the finding has the cause behind it, and what to do about that."""
    async with shop(tmp_path, portal) as deployment:
        deployment.address = "https://127.0.0.1:9"
        deployment.tenant()
        await deployment.call("migrate")
        _, found = await deployment.check()
        (code,) = found
        assert code in {"crm.suspended", "http.connect-error"}
        assert "no connection" in found[code]["message"]
        assert "`address`" in found[code]["remedy"]
        _, said = await deployment.call("check", "--online", "-c", str(tmp_path / "no-kafka.yaml"))
        assert "no connection" in said
        assert not [line for line in said.splitlines() if line.strip() == "Fix:"]


async def test_check_online_judges_files_by_what_is_in_force(tmp_path: Path, portal: Portal) -> None:
    """Files that are good by themselves and that a running bridge would refuse, or not go by: each is a finding."""
    async with shop(tmp_path, portal) as deployment:
        await deployment.call("sync", "--once")
        file = tmp_path / "tenants" / "acme.yaml"
        accepted = file.read_text()

        async def found() -> set[str]:
            return {*(await deployment.check())[1]}

        assert await found() == set()
        file.write_text(accepted.replace("2026-01-01", "2026-02-01"))
        assert await found() == {"tenant.leads-changed"}
        file.rename(tmp_path / "away.yaml")
        (tmp_path / "tenants" / "other.yaml").write_text(accepted.replace("tenant: acme", "tenant: other"))
        assert await found() == {"tenant.file-gone", "tenant.shared-account"}
        (tmp_path / "tenants" / "other.yaml").unlink()
        file.write_text(accepted)
        await deployment.call("tenant", "retire", "acme", "--yes")
        assert await found() == {"tenant.retired"}


async def looked_at(folder: Path, **settings: Any) -> CheckReport:
    """What ``check --online`` says in this process of a deployment with these settings beside the shop's own."""
    (folder / "other.yaml").write_text(json.dumps({**json.loads((folder / "bridge.yaml").read_text()), **settings}))
    reading = read(folder / "other.yaml")
    return await checkup.check_online(reading.settings, checkup.check_files(reading))


async def test_the_exit_code_of_a_check_says_who_must_act(
    tmp_path: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 where only Kafka or the ledger is away, 1 where only a CRM is, 2 as soon as anything of the set-up is to be mended."""

    async def away(*_: object, **__: object) -> list[Finding]:
        return [Finding(code="kafka.unreachable", message="no broker answers", place=Place(file="k"), remedy="look")]

    async def there(*_: object, **__: object) -> list[Finding]:
        return []

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(checkup, "kafka_state", there)
    async with shop(tmp_path, portal) as deployment:
        report = await looked_at(tmp_path)
        assert ([one.code for one in report.findings], report.exit_code) == (["ledger.unreachable"], 3)
        await deployment.call("migrate")
        assert (await looked_at(tmp_path)).exit_code == 0
        monkeypatch.setattr(checkup, "kafka_state", away)
        report = await looked_at(tmp_path)
        assert ([one.code for one in report.findings], report.exit_code) == (["kafka.unreachable"], 3)
        assert (await looked_at(tmp_path, seal_key=None)).exit_code == 2
        deployment.tenant(account="999")
        assert (await looked_at(tmp_path)).exit_code == 2
        deployment.tenant()
    monkeypatch.setattr(checkup, "kafka_state", there)
    report = await looked_at(tmp_path, http={"tries_max": 1})
    assert ([one.code for one in report.findings], report.exit_code) == (["http.connect-error"], 1)
    monkeypatch.setattr(checkup, "kafka_state", away)
    assert (await looked_at(tmp_path, http={"tries_max": 1})).exit_code == 3


async def test_a_sync_whose_facts_kafka_does_not_take_says_so(tmp_path: Path, portal: Portal) -> None:
    """Exit code 3 with code and remedy, for people and machines; the facts wait, and a sync with a Kafka brings them."""
    async with shop(tmp_path, portal) as deployment:
        settings = json.loads((tmp_path / "bridge.yaml").read_text())
        settings |= {"kafka": {"bootstrap.servers": "127.0.0.1:1"}, "relay": {"publish_timeout": "1s"}}
        (tmp_path / "alone.yaml").write_text(json.dumps(settings))
        code, said = await deployment.call("sync", "--once", "--json", "-c", str(tmp_path / "alone.yaml"))
        assert code == 3, said
        told = json.loads(said)
        assert (told["ok"], told["published"]) == (False, 0)
        assert told["waiting"] >= 120
        assert told["code"].startswith("kafka.")
        assert f"{told['waiting']} facts wait" in told["trouble"]
        assert "check --online" in told["remedy"]
        assert told["tenants"][0]["code"] == ""
        code, said = await deployment.call("sync", "--once", "-c", str(tmp_path / "alone.yaml"))
        assert code == 3, said
        assert f"[{told['code']}] facts: " in said
        assert f"Fix: {told['remedy']}" in said
        code, said = await deployment.call("sync", "--once", "--json")
        assert (code, json.loads(said)["waiting"], json.loads(said)["code"]) == (0, 0, "")
        assert json.loads(said)["published"] >= told["waiting"]


async def test_a_sync_of_more_leads_than_facts_may_wait_comes_to_its_end(tmp_path: Path) -> None:
    """Facts are published while it reads. Without a Kafka it stops there and says why, and the next one goes on."""
    portal = Portal.seeded(seed=1, leads=2_500, clock=time.time, vices=Vices(search_per_s=100))
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    async with shop(tmp_path, portal) as deployment:
        relay = {"publish_timeout": "1s", "outbox_rows_max": 1_000}
        whole = json.loads((tmp_path / "bridge.yaml").read_text()) | {"relay": relay}
        (tmp_path / "bridge.yaml").write_text(json.dumps(whole))
        (tmp_path / "alone.yaml").write_text(json.dumps(whole | {"kafka": {"bootstrap.servers": "127.0.0.1:1"}}))
        code, said = await deployment.call("sync", "--once", "--json", "-c", str(tmp_path / "alone.yaml"))
        assert code == 3, said
        told = json.loads(said)
        assert 1_000 <= told["waiting"] < 1_200
        assert told["tenants"][0]["code"] == "relay.outbox-full"
        code, said = await deployment.call("sync", "--once", "--json")
        assert (code, json.loads(said)["waiting"]) == (0, 0), said
        assert json.loads(said)["published"] >= 2_500


async def test_a_sync_of_a_tenant_that_was_not_read_says_why(tmp_path: Path, portal: Portal) -> None:
    """Exit code 1 with code and remedy: the CRM is away, or another process has the account."""
    async with shop(tmp_path, portal) as deployment:
        running = await deployment.start("run")
        try:
            for _ in range(100):
                code, said = await deployment.call("status", "--json")
                if code == 0 and any(one["holder"] for one in json.loads(said)["connections"]):
                    break
            code, said = await deployment.call("sync", "--once", "--json")
            assert code == 1, said
            (tenant,) = json.loads(said)["tenants"]
            assert tenant["code"] == "lease.elsewhere"
            assert tenant["remedy"]
        finally:
            running.kill()
            await running.communicate()


async def test_sync_once_reads_everything_and_resumes(tmp_path: Path, portal: Portal) -> None:
    """The first run imports, the second finds what a person changed meanwhile, a third finds nothing."""
    async with shop(tmp_path, portal) as deployment:
        code, said = await deployment.call("sync", "--once", "--json")
        assert code == 0, said
        (tenant,) = json.loads(said)["tenants"]
        assert tenant["changed"] == 120
        one = next(iter(portal.truth().live["contacts"]))
        portal.person.edit(one, {"city": "Lisbon"})
        await asyncio.sleep(1.2)  # the horizon: what is younger is not read yet
        code, said = await deployment.call("sync", "--once", "--json")
        assert (code, json.loads(said)["tenants"][0]["changed"]) == (0, 1)
        code, said = await deployment.call("status", "--json")
        (connection,) = json.loads(said)["connections"]
        assert (connection["tenant"], connection["state"], connection["code"]) == ("acme", "ok", "")


async def test_sync_once_leaves_word_of_how_the_connection_is(tmp_path: Path) -> None:
    """``status`` shows what stood in the way, with its remedy, though nothing runs any more; and ``ok`` when that is mended."""
    bare = Portal.seeded(seed=1, leads=1, clock=time.time)
    async with shop(tmp_path, bare) as deployment:

        async def connection() -> dict[str, Any]:
            _, said = await deployment.call("status", "--json")
            found: dict[str, Any] = json.loads(said)["connections"][0]
            return found

        code, _ = await deployment.call("sync", "--once")
        assert code == 1
        told = await connection()
        assert (told["state"], told["code"]) == ("stopped", "hubspot.key-property-missing")
        assert told["remedy"]
        assert told["holder"] == ""
        bare.add_property("contacts", "bridge_lead_id", unique=True)
        assert (await deployment.call("sync", "--once"))[0] == 0
        told = await connection()
        assert (told["state"], told["code"], told["remedy"]) == ("ok", "", "")


async def test_a_crm_that_sync_once_cannot_reach_is_told_in_the_status(tmp_path: Path, portal: Portal) -> None:
    """The connection is unavailable, and why stands beneath the tables."""
    async with shop(tmp_path, portal) as deployment:
        deployment.address = "https://127.0.0.1:9"
        deployment.tenant()
        assert (await deployment.call("sync", "--once"))[0] == 1
        _, said = await deployment.call("status")
        assert "\tunavailable\t" in said
        assert "no connection" in said


async def test_run_drains_on_sigterm_within_its_limit(tmp_path: Path, portal: Portal) -> None:
    """A running bridge ends with exit code 0 soon after SIGTERM, and has given its leases back."""
    async with shop(tmp_path, portal) as deployment:
        await deployment.call("migrate")  # `status` is asked before `run` has made a ledger, where the machine is busy
        process = await deployment.start("run")
        try:
            for _ in range(100):
                await asyncio.sleep(0.1)
                _, said = await deployment.call("status", "--json")
                if json.loads(said)["processes"]:
                    break
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
            assert time.monotonic() - asked < 12
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
        _, said = await deployment.call("status", "--json")
        report = json.loads(said)
        assert report["processes"] == []
        assert report["connections"][0]["holder"] == ""


def test_an_account_that_is_not_asked_for_is_called_unverified() -> None:
    """A declaration without ``check.account``: the file's account stands there unproven, and the check says so."""
    unknown = Account(account_id="", name="harbour", time_zone="UTC", fields={})
    assert whose(unknown).startswith("not verified")
    assert whose(replace(unknown, account_id="1")) == "1 harbour"
