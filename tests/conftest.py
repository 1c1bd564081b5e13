"""What every test can ask for: the real services, and no silent skip of a test that needs one."""

import itertools
import json
import os
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import hypothesis
import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from xdist.scheduler import LoadScopeScheduling

KAFKA = os.environ.get("BRIDGE_TEST_KAFKA", "127.0.0.1:19092")
POSTGRES = os.environ.get("BRIDGE_TEST_POSTGRES", "postgresql://bridge@127.0.0.1:15432/postgres")
BOTTLECRM = Path(
    os.environ.get("BRIDGE_TEST_BOTTLECRM", Path(__file__).parents[1] / ".work" / "bottlecrm" / "bottlecrm.json")
)
TOOLS = Path(__file__).parents[1] / ".work" / "tools"
REQUIRE_REAL = os.environ.get("REQUIRE_REAL") == "1"
NEEDS_REAL = frozenset(
    {
        *("kafka_bootstrap", "postgres_dsn", "postgres_database", "postgres_databases", "bottlecrm"),
        *("kustomize", "promtool"),
    }
)
REAL_FOLDER = Path(__file__).parent / "real"

# No test is timed, so no example has a deadline; in CI the examples are the same every time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


class Apart(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Workers take test by test; what is in tests/real stays together on one of them: it shares services and starts processes."""

    def _split_scope(self, nodeid: str) -> str:
        return "real" if nodeid.startswith("tests/real/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Apart:
    """Share the tests between workers our way, where there are workers."""
    return Apart(config, log)


def forbidden(skip: object) -> str:
    """Word the failure for pytest's record of a skip: a (path, line, reason), or something that prints."""
    return f"REQUIRE_REAL=1 forbids this skip: {skip[-1] if isinstance(skip, tuple) else skip}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `real` whatever asks for a real service or lies in tests/real: nobody can forget the marker."""
    for item in items:
        if NEEDS_REAL & set(getattr(item, "fixturenames", ())) or REAL_FOLDER in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under REQUIRE_REAL=1 a `real` test that is skipped has failed; an expected failure stays one."""
    report = yield
    if REQUIRE_REAL and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("real"):
        report.outcome = "failed"
        report.longrepr = forbidden(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Under REQUIRE_REAL=1 a module of tests/real that skips itself whole has failed too."""
    report = yield
    if REQUIRE_REAL and report.outcome == "skipped" and REAL_FOLDER in collector.path.parents:
        report.outcome = "failed"
        report.longrepr = forbidden(report.longrepr)
    return report


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """Give ``host:port`` of a real Kafka broker that answers; topics are the test's own to make and to name."""
    host, _, port = KAFKA.rpartition(":")
    try:
        # The client retries a refused connection until its time is up; a socket knows at once.
        socket.create_connection((host, int(port)), timeout=5).close()
        AdminClient({"bootstrap.servers": KAFKA, "log_level": 0}).list_topics(timeout=15)
    except (OSError, KafkaException):
        pytest.skip(f"no Kafka answers at {KAFKA}: run scripts/kafka start")
    return KAFKA


class Databases:
    """Databases on a real PostgreSQL; one that a test has given back is emptied, and serves the next.

    They are not dropped one by one: for each DROP DATABASE the server makes a checkpoint, and where it syncs, the first one after a
    hundred were made has tens of thousands of files to sync, which takes minutes on a busy disk.
    """

    def __init__(self, admin: psycopg.Connection[Any]) -> None:
        self._admin = admin
        self._count = itertools.count()
        self._made: list[str] = []
        self._free: list[str] = []

    def take(self) -> str:
        """Give the name of an empty database that nobody else has."""
        if self._free:
            return self._free.pop()
        name = f"bridge_test_{os.getpid()}_{next(self._count)}"
        # A process id comes round again: an earlier run that was killed may have left its databases.
        self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._admin.execute(f'CREATE DATABASE "{name}"')
        self._made.append(name)
        return name

    def give_back(self, name: str) -> None:
        """End its sessions, and make it as empty as it was."""
        self._admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        with psycopg.connect(address(name), autocommit=True, connect_timeout=15) as inside:
            inside.execute("SET lock_timeout = '30s'")
            inside.execute("DROP SCHEMA public CASCADE")
            inside.execute("CREATE SCHEMA public")
        self._free.append(name)

    def drop(self) -> None:
        """Drop all of them."""
        for name in self._made:
            self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def address(database: str) -> str:
    """Give the DSN of a database on the tests' PostgreSQL."""
    return urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[Databases]:
    """Give the databases of a real PostgreSQL; they go at the end."""
    try:
        admin = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        pytest.skip(f"no PostgreSQL answers at {POSTGRES}: run scripts/postgres start")
    with admin:
        databases = Databases(admin)
        yield databases
        databases.drop()


@pytest.fixture
def postgres_database(postgres_databases: Databases) -> Iterator[Callable[[], str]]:
    """Give a function that returns the DSN of an empty database of the test's own, another one each time."""
    taken: list[str] = []

    def take() -> str:
        taken.append(postgres_databases.take())
        return address(taken[-1])

    yield take
    for name in taken:
        postgres_databases.give_back(name)


@pytest.fixture
def postgres_dsn(postgres_database: Callable[[], str]) -> str:
    """Give the DSN of an empty database of the test's own."""
    return postgres_database()


@pytest.fixture(scope="session")
def bottlecrm() -> dict[str, Any]:
    """Give the passport of a real BottleCRM that answers, as scripts/bottlecrm.d/passport.py wrote it."""
    try:
        passport: dict[str, Any] = json.loads(BOTTLECRM.read_text())
        httpx.get(f"{passport['address']}/healthz/", timeout=10).raise_for_status()
    except (OSError, httpx.HTTPError):
        pytest.skip(f"no BottleCRM answers that {BOTTLECRM} tells of: run scripts/bottlecrm start")
    return passport


def tool(variable: str, pattern: str) -> str:
    """Give the path of a program that scripts/tools has installed: the variable's, or the newest in the work folder."""
    found = [os.environ[variable]] if variable in os.environ else sorted(map(str, TOOLS.glob(pattern)))
    if not found or not os.access(found[-1], os.X_OK):
        pytest.skip(f"no {pattern.rstrip('-*')}: run scripts/tools install")
    return found[-1]


@pytest.fixture(scope="session")
def kustomize() -> str:
    """Give the path of kustomize."""
    return tool("BRIDGE_TEST_KUSTOMIZE", "kustomize-*")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Give the path of promtool."""
    return tool("BRIDGE_TEST_PROMTOOL", "promtool")
