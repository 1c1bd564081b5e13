"""``python -m sales_crm_bridge.alive``: is the process of this machine alive? For a container's health check.

It asks what an orchestrator's probe asks, ``/healthz`` on this machine, and nothing else: no settings, no ledger, no other
replica. So a dead process beside a living one is dead, and one whose ledger is away is alive. It is run every few seconds: it
imports next to nothing, and writes nothing.
"""

import os
import socket
import sys

PORT_HTTP = "8080"
"""What the settings say where nothing is said."""

TIMEOUT_S = 4.0


def alive(port: int, timeout_s: float = TIMEOUT_S) -> str:
    """Give "" if ``/healthz`` is answered 200 on ``port`` of this machine, else what was wrong.

    ``timeout_s`` bounds the connecting and each wait for more of the answer.
    """
    try:
        with socket.create_connection(("localhost", port), timeout=timeout_s) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while b"\r\n" not in answer and (more := line.recv(256)):
                answer += more
    except OSError as fault:
        return f"no answer on port {port}: {fault}"
    status = answer.partition(b"\r\n")[0].decode("ascii", "replace")
    return "" if status.split()[1:2] == ["200"] else f"port {port} answers {status!r}"


def main() -> None:
    """Exit with 0 if the process that listens on the environment's ``PORT_HTTP`` is alive, else with 1 and the reason."""
    if reason := alive(int(os.environ.get("PORT_HTTP", PORT_HTTP))):
        sys.exit(f"alive: {reason}")


if __name__ == "__main__":
    main()
