"""BottleCRM as a test sees it: organisations of the test's own, the people who work in them, the server as a process."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "examples" / "bottlecrm.yaml"
KEY = "bridge_lead_id"
SCOPES = ("leads:read", "leads:write", "org:read")


class Organisation:
    """One tenant of the CRM, made for one test; its methods are what a person does there, in an administrator's name."""

    def __init__(self, client: httpx.AsyncClient, org_id: str, token: str) -> None:
        self._client = client
        self.org_id = org_id
        self.token = token

    @classmethod
    async def founded(cls, passport: dict[str, Any], name: str) -> Organisation:
        """Make an organisation with our custom field, and an access token for the bridge."""
        # The server closes a connection that has been idle for 2 s: none is kept, so none is closed under a request.
        client = httpx.AsyncClient(
            base_url=passport["address"], timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
        )
        client.headers["Authorization"] = f"Bearer {passport['organisations']['acme']['jwt']}"
        made = await _said(client, "POST", "/api/org/", {"name": name})
        org_id = str(made["org"]["id"])
        moved = await _said(client, "POST", "/api/auth/switch-org/", {"org_id": org_id})
        client.headers["Authorization"] = f"Bearer {moved['access_token']}"
        field = {"target_model": "Lead", "key": KEY, "label": "Lead of Sales", "field_type": "text"}
        await _said(client, "POST", "/api/custom-fields/", field)
        wanted = {"name": "bridge", "scopes": SCOPES, "expires_at": None}
        token = await _said(client, "POST", "/api/profile/tokens/", wanted)
        return cls(client, org_id, token["token"])

    async def hook(self, url: str) -> str:
        """Register a webhook for everything that happens to leads; gives its secret."""
        events = ["lead.created", "lead.updated", "lead.deleted"]
        made = await _said(
            self._client, "POST", "/api/webhooks/", {"url": url, "description": "bridge", "events": events}
        )
        return str(made["secret"])

    async def deliveries(self) -> list[dict[str, Any]]:
        """Every delivery of the organisation's webhooks, newest first, as its log tells."""
        (hook,) = (await _said(self._client, "GET", "/api/webhooks/"))["endpoints"]
        return list((await _said(self._client, "GET", f"/api/webhooks/{hook['id']}/deliveries/"))["results"])

    async def leads(self) -> dict[str, dict[str, Any]]:
        """Every lead that is in the list, by id: one answer, so nothing can be between two pages."""
        page = await _said(self._client, "GET", "/api/leads/?limit=100000")
        return {lead["id"]: lead for kind in ("open_leads", "close_leads") for lead in page[kind][kind]}

    async def lead(self, lead_id: str) -> dict[str, Any] | None:
        """The lead under an id, converted ones too; None: there is none."""
        answer = await self._client.get(f"/api/leads/{lead_id}/")
        return None if answer.status_code == 404 else dict(answer.raise_for_status().json()["lead_obj"])

    async def create(self, **fields: object) -> str:
        """Make a lead by hand; gives its id."""
        return str((await _said(self._client, "POST", "/api/leads/", fields))["id"])

    async def edit(self, lead_id: str, **fields: object) -> None:
        """Change some fields of a lead; ``status="converted"`` converts it."""
        await _said(self._client, "PATCH", f"/api/leads/{lead_id}/", fields)

    async def delete(self, lead_id: str) -> None:
        """Delete a lead for good."""
        await _said(self._client, "DELETE", f"/api/leads/{lead_id}/")

    async def merge(self, keeper: str, loser: str) -> None:
        """Merge one lead into another."""
        await _said(self._client, "POST", f"/api/leads/{keeper}/merge/", {"merge_id": loser})

    async def close(self) -> None:
        """Let go of the connection; the organisation stays."""
        await self._client.aclose()

    def file(self, tenant: str, address: str, **replaced: str) -> str:
        """The example's tenant file, word for word, but for what must differ here."""
        text = EXAMPLE.read_text()
        words = {
            "tenant: acme\n": f"tenant: {tenant}\n",
            "address: https://crm.example\n": f"address: {address}\n  allow_hosts: [127.0.0.1]\n",
            '"00000000-0000-0000-0000-000000000000"': f'"{self.org_id}"',
            "ACME_BOTTLECRM": _variable(tenant),
            **replaced,
        }
        for old, new in words.items():
            assert old in text, f"{EXAMPLE} says nothing of {old!r}"
            text = text.replace(old, new)
        return text

    def secrets(self, tenant: str, hook: str) -> dict[str, str]:
        """The environment variables that ``file`` refers to."""
        return {f"{_variable(tenant)}_TOKEN": self.token, f"{_variable(tenant)}_HOOK": hook}


def _variable(tenant: str) -> str:
    return tenant.replace("-", "_").upper()


async def _said(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> dict[str, Any]:
    answer = await client.request(method, path, json=body)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
    return dict(answer.json())


class Server:
    """The CRM's own processes, as scripts/bottlecrm runs them."""

    def __init__(self, passport: dict[str, Any]) -> None:
        self._settings: dict[str, str] = passport["settings"]

    async def do(self, verb: str) -> None:
        """Run ``scripts/bottlecrm VERB`` to its end."""
        process = await asyncio.create_subprocess_exec(
            *(ROOT / "scripts" / "bottlecrm", verb),
            env={**os.environ, **self._settings},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0

    async def kill(self) -> None:
        """Kill the web server with all its children, in the middle of whatever they are doing; the worker lives on."""
        pid = int((Path(self._settings["BRIDGE_TEST_WORK"]) / "bottlecrm" / "web.pid").read_text())
        os.killpg(pid, signal.SIGKILL)
