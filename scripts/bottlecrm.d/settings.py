"""The CRM's own settings, and what a server for tests needs besides: no Redis, webhooks to this machine, long sign-ins.

Payloads, signatures, retries and everything else of its API stay as they are.
"""

import os
import uuid
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from time import monotonic

from crm.settings import *  # noqa: F403 - that is how Django's settings are extended
from crm.settings import SIMPLE_JWT
from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps
from webhooks import ssrf

# Without Redis the web server hands its tasks to the worker in a folder.
_SPOOL = os.environ["CELERY_SPOOL"]
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": _SPOOL,
    "data_folder_out": _SPOOL,
    "control_folder": _SPOOL + "-control",
    "polling_interval": 0.1,
}


def _put(self: filesystem.Channel, queue: str, payload: object, **_: object) -> None:
    """Put a message in its folder whole: the worker dies of one that is half written when it looks."""
    file = Path(self.data_folder_out) / f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
    part = file.with_suffix(".part")
    try:
        part.write_bytes(dumps(payload).encode())
        part.replace(file)
    except OSError as fault:
        raise ChannelError(f"cannot add {file}") from fault


filesystem.Channel._put = _put  # noqa: SLF001
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True

# An operator's token must outlive a long run of tests; the bridge itself uses tokens that do not expire.
SIMPLE_JWT = {**SIMPLE_JWT, "ACCESS_TOKEN_LIFETIME": timedelta(days=365)}

# Its guard lets webhooks go to public HTTPS addresses alone; the bridge under test listens on this machine.
_is_blocked = ssrf.is_blocked


def _blocked_but_here(address: IPv4Address | IPv6Address) -> bool:
    return str(address) != "127.0.0.1" and _is_blocked(address)


ssrf.is_blocked = _blocked_but_here
ssrf._allowed_schemes = lambda: ("https", "http")  # noqa: SLF001
ssrf._allowed_ports = lambda: range(1, 65536)  # noqa: SLF001
