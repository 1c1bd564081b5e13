"""The tenants' files: read, checked against each other and against what was accepted, and handed on as frozen values."""

from sales_crm_bridge.tenants.comparing import compare
from sales_crm_bridge.tenants.connecting import Catalogue
from sales_crm_bridge.tenants.file import TenantFile
from sales_crm_bridge.tenants.judging import SUFFIXES, way_back
from sales_crm_bridge.tenants.loading import Loaded, load, parse, reaccept, recall, secrets_of, stamp
from sales_crm_bridge.tenants.outlining import spans_of
from sales_crm_bridge.tenants.shelf import Shelf
from sales_crm_bridge.tenants.values import (
    ConflictRule,
    Conflicts,
    Connection,
    Limits,
    Outline,
    PullRules,
    PushRules,
    Tenant,
)

__all__ = [
    "SUFFIXES",
    "Catalogue",
    "ConflictRule",
    "Conflicts",
    "Connection",
    "Limits",
    "Loaded",
    "Outline",
    "PullRules",
    "PushRules",
    "Shelf",
    "Tenant",
    "TenantFile",
    "compare",
    "load",
    "parse",
    "reaccept",
    "recall",
    "secrets_of",
    "spans_of",
    "stamp",
    "way_back",
]
