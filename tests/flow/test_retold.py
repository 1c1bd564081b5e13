"""The flow tests' eye for what is told twice: it sees a bridge that does so, which is planted here on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.policy import sight
from sales_crm_bridge.policy.drafts import Observed, Removed, Restored
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.retold import Retold
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import disagreements, view, world


def told(folder: Path) -> list[str]:
    """A person edits a contact, deletes another and takes it back; what is wrong with what was told of it."""
    loop = VirtualLoop()

    async def story(home: World) -> None:
        edited, deleted, _ = home.portal.truth().live["contacts"]
        await home.clock.sleep(120)
        home.portal.person.edit(edited, {"phone": "+1"})
        home.portal.person.delete(deleted)
        await home.clock.sleep(1200)
        home.portal.person.restore(deleted)
        await home.clock.sleep(1200)

    async def main() -> list[str]:
        home = world(loop, folder, "retold", leads=3)
        await home.live(lambda _service: asyncio.ensure_future(story(home)))
        seen = view(home.topics.facts)
        assert {"crm_lead_observed", "crm_lead_removed", "crm_lead_restored"} <= set(seen.kinds)
        return disagreements(seen, home.portal)

    return run(main(), loop)


def twice(method: Callable[..., None], kind: type[Observed | Removed | Restored]) -> Callable[..., None]:
    """The method of a page's work, telling every fact of ``kind`` in two versions, and remembering the second."""

    def telling(page: Any, *args: Any) -> None:
        before = len(page.drafts)
        method(page, *args)
        for draft in page.drafts[before:]:
            if isinstance(draft, kind) and draft is page.drafts[-1]:
                again = msgspec.structs.replace(draft, version=draft.version + 1)
                page.drafts.append(again)
                page.keep(msgspec.structs.replace(page.by_lead[draft.lead_id], aggregate_version=again.version))

    return telling


def test_nothing_is_wrong_with_what_is_told_once(tmp_path: Path) -> None:
    """The eye is not too sharp: an edit, a deletion and a return are three facts, each of which says something new."""
    assert told(tmp_path) == []


@pytest.mark.parametrize(
    ("method", "kind", "words"),
    [
        ("see_known", Observed, "in version 3: changed, and is as it was"),
        ("see_new", Observed, "in version 2: imported, and was known"),
        ("see_removed", Removed, "in version 3: removed, and was not there"),
        ("see_known", Restored, "in version 4: restored, and was there"),
    ],
)
def test_what_is_told_twice_under_two_ids_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, kind: type[Observed | Removed | Restored], words: str
) -> None:
    """Every version is there and no id comes twice, so only what the facts say of the lead gives it away."""
    monkeypatch.setattr(sight._Page, method, twice(getattr(sight._Page, method), kind))
    wrong = told(tmp_path)
    assert any(one.endswith(words) for one in wrong), wrong
    assert not any("told in versions" in one for one in wrong)


REF = contract.ExternalRef(record_id="512")
CREATE, REVISE = contract.CrmOperation.CRM_OPERATION_CREATE, contract.CrmOperation.CRM_OPERATION_REVISE
CHANGED = contract.CrmChangeKind.CRM_CHANGE_KIND_CHANGED


def observed(**fields: str) -> dict[str, object]:
    lead = contract.Lead(**fields)  # type: ignore[arg-type]  # texts, all of them
    return {"crm_lead_observed": contract.CrmLeadObserved(change=CHANGED, lead=lead, external=REF)}


def pushed(operation: contract.CrmOperation.ValueType, written: str, **fields: str) -> dict[str, object]:
    lead = contract.Lead(**fields) if fields else None  # type: ignore[arg-type]  # texts, all of them
    body = contract.CrmLeadPushed(operation=operation, written_fields=written.split(), lead=lead, external=REF)
    return {"crm_lead_pushed": body}


REMOVED = {"crm_lead_removed": contract.CrmLeadRemoved()}
CONVERTED = {"crm_lead_converted": contract.CrmLeadConverted()}
RESTORED = {"crm_lead_restored": contract.CrmLeadRestored(external=REF)}


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ([observed(phone="1"), observed(phone="2")], ""),
        ([observed(phone="1"), observed(phone="1")], "changed, and is as it was"),
        ([pushed(CREATE, "phone", phone="1"), observed(phone="1")], "changed, and is as it was"),
        ([observed(phone="1"), pushed(REVISE, "phone", phone="2"), observed(phone="2")], "changed, and is as it was"),
        ([observed(phone="1"), pushed(REVISE, "city", city="U", phone="hers"), observed(city="U", phone="hers")], ""),
        ([observed(phone="1"), pushed(REVISE, "phone"), observed(phone="1")], ""),
        ([observed(phone="1"), REMOVED, RESTORED, observed(phone="2")], ""),
        ([observed(phone="1"), REMOVED, RESTORED, observed(phone="1")], "changed, and is as it was"),
        ([observed(phone="1"), CONVERTED, RESTORED], ""),
        ([observed(phone="1"), CONVERTED, REMOVED], ""),
        ([observed(phone="1"), CONVERTED, CONVERTED], "converted, and was not a lead"),
    ],
)
def test_what_counts_as_told(facts: list[dict[str, Any]], wrong: str) -> None:
    """What was observed, and what we wrote. What a push shows beside that is a person's change, which is told after it."""
    retold = Retold()
    said = []
    for body in facts:
        fact = contract.SalesIntegrationFact(**body)
        fact.subject.aggregate_id = "L-1"
        said.append(retold.wrong(fact))
    assert said == [""] * (len(facts) - 1) + [wrong]
