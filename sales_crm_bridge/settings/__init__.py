"""Deployment settings: environment first, then secret files, then ``bridge.yaml``, then the defaults of the models."""

from sales_crm_bridge.settings.loading import load, run_findings, tenants_folder
from sales_crm_bridge.settings.models import KAFKA_OWNED, KAFKA_SECRETS, PREFIX, Settings

__all__ = ["KAFKA_OWNED", "KAFKA_SECRETS", "PREFIX", "Settings", "load", "run_findings", "tenants_folder"]
