"""``python -m sales_crm_bridge``."""

from sales_crm_bridge.cli import main

main()
