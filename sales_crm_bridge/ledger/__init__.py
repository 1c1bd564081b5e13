"""The ledger: all state there is, in SQLite or PostgreSQL, behind ``ports.Ledger``.

.. code-block:: text

    opening     address → ledger; migrate
    sql_ledger  ports.Ledger's methods → steps
    leases · tenants · commands · bindings · commits · outbox · notices · house · census
                the steps: sans-I/O generators that yield statements
    sqlite · postgres (arrays)
                the drivers: a step → one transaction
    schema · migrations · bells
"""

from sales_crm_bridge.ledger.opening import migrate, open_ledger, schema_state
from sales_crm_bridge.ledger.schema import SCHEMA_VERSION, SchemaState
from sales_crm_bridge.ledger.sql_ledger import SqlLedger

__all__ = ["SCHEMA_VERSION", "SchemaState", "SqlLedger", "migrate", "open_ledger", "schema_state"]
