"""CRMs that no adapter was written for, as different from one another as CRMs are: a test of what can be declared.

Each module's docstring is the reference that an integrator would be given; the code keeps to it, vices included.
"""

from __future__ import annotations

from sales_crm_bridge.sandbox.dialects.cloud import Cloud
from sales_crm_bridge.sandbox.dialects.counter import Counter
from sales_crm_bridge.sandbox.dialects.harbour import Harbour
from sales_crm_bridge.sandbox.dialects.miserly import Miserly
from sales_crm_bridge.sandbox.dialects.plain import Plain
from sales_crm_bridge.sandbox.dialects.rpc import Rpc
from sales_crm_bridge.sandbox.dialects.seeding import fill

__all__ = ["Cloud", "Counter", "Harbour", "Miserly", "Plain", "Rpc", "fill"]
