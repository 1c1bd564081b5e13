"""The command line, ``sales-crm-bridge``."""

from sales_crm_bridge.cli.kit import DEFAULT_CONFIG, EXIT_INTERRUPTED
from sales_crm_bridge.cli.verbs import cli, main

__all__ = ["DEFAULT_CONFIG", "EXIT_INTERRUPTED", "cli", "main"]
