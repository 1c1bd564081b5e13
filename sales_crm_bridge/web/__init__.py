"""The service's own HTTP side: health, readiness, metrics, and the door at which CRMs leave their notices.

.. code-block:: text

    face        what is served together, and what it is made of
    health      the pulse: is the ledger there, was Kafka, what do we say to /readyz
    meter       counts and times of what this process does
    families    the ledger's census and this process's own state as metrics
    hooks       a delivery: from bytes to notices in the ledger, or the status that it is refused with
    lines       open connections, each with a deadline, and how many there may be
    server      uvicorn in the running loop
"""

from sales_crm_bridge.web.face import Face
from sales_crm_bridge.web.hooks import Door, DoorLimits
from sales_crm_bridge.web.lines import LineLimits
from sales_crm_bridge.web.meter import Meter
from sales_crm_bridge.web.server import serve

__all__ = ["Door", "DoorLimits", "Face", "LineLimits", "Meter", "serve"]
