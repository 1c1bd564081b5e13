"""Services of a test's own, which it may kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]


def free_ports(number: int) -> list[str]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [str(one.getsockname()[1]) for one in sockets]


@pytest.fixture
def own_broker(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Give a function that starts, stops or kills a broker of the test's own and says its address.

    The shared broker is asked for since it proves that there is Java.
    """
    port, controller = free_ports(2)
    jars = Path(os.environ.get("BRIDGE_TEST_WORK", ROOT / ".work")) / "kafka" / "lib"
    (tmp_path / "kafka").mkdir()
    if (jars / "pom.xml").exists():
        (tmp_path / "kafka" / "lib").symlink_to(jars)
    environment = os.environ | {
        "KAFKA_PORT": port,
        "KAFKA_CONTROLLER_PORT": controller,
        "BRIDGE_TEST_WORK": str(tmp_path),
    }

    def do(what: str) -> str:
        if what == "kill":
            os.kill(int((tmp_path / "kafka" / "pid").read_text()), signal.SIGKILL)
        else:
            subprocess.run([ROOT / "scripts" / "kafka", what], env=environment, check=True, capture_output=True)
        return f"127.0.0.1:{port}"

    yield do
    do("stop")


@pytest.fixture
def own_postgres(postgres_dsn: str) -> Iterator[Callable[[str], str]]:
    """Give a function that starts, stops or kills a PostgreSQL of the test's own and says the DSN of its database.

    The shared one is asked for since it proves that the server is installed.
    """
    work = Path(tempfile.mkdtemp(prefix="sales-crm-bridge-test.", dir="/var/tmp"))
    work.chmod(0o755)
    (port,) = free_ports(1)
    dsn = f"postgresql://bridge@127.0.0.1:{port}/postgres"
    environment = os.environ | {"PGPORT_BRIDGE": port, "BRIDGE_TEST_WORK": str(work)}

    def do(what: str) -> str:
        if what == "kill":
            with psycopg.connect(dsn, autocommit=True) as asked:
                found = asked.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
            assert found is not None
            os.kill(int(found[0].split()[0]), signal.SIGKILL)
        else:
            subprocess.run([ROOT / "scripts" / "postgres", what], env=environment, check=True, capture_output=True)
        return dsn

    yield do
    do("stop")
    shutil.rmtree(work)
