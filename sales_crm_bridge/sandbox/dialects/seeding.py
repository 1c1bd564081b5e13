"""Records to begin with, by number, so that two accounts of any dialect can be compared."""

from __future__ import annotations

from sales_crm_bridge.sandbox.dialects.cloud import Cloud
from sales_crm_bridge.sandbox.dialects.harbour import Harbour
from sales_crm_bridge.sandbox.dialects.miserly import Miserly
from sales_crm_bridge.sandbox.dialects.plain import Plain
from sales_crm_bridge.sandbox.dialects.rpc import Rpc

Dialect = Plain | Cloud | Rpc | Miserly | Harbour


def fill(crm: Dialect, count: int) -> list[str]:
    """Make ``count`` records of moderate variety, at the present moment; gives their ids."""
    return [_create(crm, number) for number in range(1, count + 1)]


def _create(crm: Dialect, number: int) -> str:
    name, mail, phone, firm = (
        f"Lead {number}",
        f"lead{number}@corp.example",
        f"+49 30 {number:06d}",
        f"Firm {number % 40} GmbH",
    )
    match crm:
        case Plain():
            status = ("New", "New", "Contacted", "Qualified")[number % 4]
            return crm.create({"fullName": name, "email": mail, "phone": phone, "company": firm, "status": status})
        case Cloud():
            stage = ("open", "open", "working", "won")[number % 4]
            return crm.create(
                {"title": name, "contact.email": mail, "contact.phone": phone, "company": firm, "stage": stage}
            )
        case Miserly():
            state = ("A", "A", "B", "C")[number % 4]
            return crm.create({"Name": name, "Mail": mail, "Tel": phone, "Firm": firm, "State": state})
        case Harbour():
            phase = ("new", "new", "talking", "ready")[number % 4]
            return crm.create(
                {"skipper.name": name, "skipper.mail": mail, "skipper.phone": phone, "firm": firm, "phase": phase}
            )
        case Rpc():
            stage = ("new", "new", "qualified", "proposition")[number % 4]
            return crm.create({"name": name, "email_from": mail, "phone": phone, "partner_name": firm, "stage": stage})
