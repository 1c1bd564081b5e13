"""The gate cannot be passed by skipping: the rules of tests/conftest.py, run on a small suite of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest

@pytest.mark.real
def test_marked():
    pytest.skip("the test's own reason")

def test_asks_for_kafka(kafka_bootstrap):
    assert kafka_bootstrap

def test_asks_for_postgres(postgres_dsn):
    assert postgres_dsn

def test_asks_for_bottlecrm(bottlecrm):
    assert bottlecrm

def test_plain():
    pytest.skip("another matter")

@pytest.mark.real
@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False
"""


def closing_line(folder: Path, **environment: str) -> tuple[int, str]:
    """Run the suite in ``folder`` where no service listens; give the exit code and everything that pytest printed."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider"],
        env={
            **{name: value for name, value in os.environ.items() if name not in {"REQUIRE_REAL", "PYTEST_ADDOPTS"}},
            "BRIDGE_TEST_KAFKA": "127.0.0.1:1",
            "BRIDGE_TEST_POSTGRES": "postgresql://bridge@127.0.0.1:1/postgres",
            "BRIDGE_TEST_BOTTLECRM": "/nowhere/bottlecrm.json",
            **environment,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Give a folder with this repository's conftest.py and the small suite."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers =\n    real: as in the repository\n"
    )
    (tmp_path / "test_suite.py").write_text(SUITE)
    return tmp_path


def test_a_missing_service_is_named_with_its_remedy(suite: Path) -> None:
    """Without services their tests skip, and the reason names the address and the script that starts the service."""
    code, output = closing_line(suite)
    assert code == 0, output
    assert "5 skipped, 1 xfailed" in output
    assert "no Kafka answers at 127.0.0.1:1: run scripts/kafka start" in output
    assert "no PostgreSQL answers at postgresql://bridge@127.0.0.1:1/postgres: run scripts/postgres start" in output
    assert "no BottleCRM answers that /nowhere/bottlecrm.json tells of: run scripts/bottlecrm start" in output


def test_a_skip_of_a_real_test_fails_where_real_is_required(suite: Path) -> None:
    """REQUIRE_REAL=1 fails exactly the skips of real tests, whether marked by hand or by what they ask for."""
    code, output = closing_line(suite, REQUIRE_REAL="1")
    assert code == 1, output
    assert "1 failed, 1 skipped, 1 xfailed, 3 errors" in output
    assert "REQUIRE_REAL=1 forbids this skip: Skipped: the test's own reason" in output
    assert "REQUIRE_REAL=1 forbids this skip: Skipped: no Kafka answers" in output
    assert "REQUIRE_REAL=1 forbids this skip: Skipped: no PostgreSQL answers" in output


def test_a_module_of_real_tests_cannot_skip_itself(suite: Path) -> None:
    """A module of tests/real that skips itself whole, so that none of its tests is seen, fails under REQUIRE_REAL=1."""
    (suite / "real").mkdir()
    (suite / "real" / "test_whole.py").write_text('import pytest\npytest.skip("all of it", allow_module_level=True)\n')
    (suite / "test_suite.py").unlink()
    assert closing_line(suite)[0] == pytest.ExitCode.NO_TESTS_COLLECTED
    code, output = closing_line(suite, REQUIRE_REAL="1")
    assert code != 0
    assert "REQUIRE_REAL=1 forbids this skip" in output
    assert "1 error" in output


def test_each_database_is_empty_and_its_own(postgres_databases: Any) -> None:
    """Two tests that ask for a database never see each other's tables, at the same time or one after the other.

    What a test left behind, a session in the middle of a transaction too, is gone when the database serves the next.
    """
    one, two = postgres_databases.take(), postgres_databases.take()
    assert one != two
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    module = sys.modules[type(postgres_databases).__module__]
    with psycopg.connect(module.address(one)) as left, psycopg.connect(module.address(two)) as beside:
        left.execute("CREATE TABLE seen (id int)")
        left.commit()
        left.execute("INSERT INTO seen VALUES (1)")
        assert beside.execute(tables).fetchone() == (0,)
        postgres_databases.give_back(one)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    postgres_databases.give_back(two)
    again = {postgres_databases.take(), postgres_databases.take()}
    assert again == {one, two}
    for name in sorted(again):
        with psycopg.connect(module.address(name)) as later:
            assert later.execute(tables).fetchone() == (0,)
        postgres_databases.give_back(name)
