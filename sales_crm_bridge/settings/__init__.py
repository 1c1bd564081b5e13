"""Deployment settings: environment first, then secret files, then ``bridge.yaml``, then the defaults of the models."""

from sales_crm_bridge.settings.loading import Reading, load, read, run_findings, somewhere
from sales_crm_bridge.settings.models import KAFKA_OWNED, KAFKA_SECRETS, PREFIX, Settings
from sales_crm_bridge.settings.salvaging import touches
from sales_crm_bridge.settings.sources import Route

__all__ = [
    "KAFKA_OWNED",
    "KAFKA_SECRETS",
    "PREFIX",
    "Reading",
    "Route",
    "Settings",
    "load",
    "read",
    "run_findings",
    "somewhere",
    "touches",
]
