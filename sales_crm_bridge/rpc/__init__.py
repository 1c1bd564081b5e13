"""Intents by calls: the Lead methods of the command service over gRPC, through the same gate and inbox as the topic.

``RpcServer`` listens, ``Counter`` takes commands and reads leads, ``Doorkeeper`` knows the callers. docs/rpc.md tells how a client
calls, docs/decisions/0009-intents-by-rpc.md why it is as it is.
"""

import os

# gRPC's core writes lines of its own to standard error, in no form of ours, for whatever a stranger sends. It reads this when it is
# loaded; who wants to see them sets it.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from sales_crm_bridge.rpc.again import Tenure
from sales_crm_bridge.rpc.asking import Asker
from sales_crm_bridge.rpc.counter import Counter
from sales_crm_bridge.rpc.credentials import findings_of_files
from sales_crm_bridge.rpc.identity import Doorkeeper
from sales_crm_bridge.rpc.server import RpcServer

__all__ = ["Asker", "Counter", "Doorkeeper", "RpcServer", "Tenure", "findings_of_files"]
