"""The verbs about gaps, as an operator calls them."""

import asyncio
import json
from pathlib import Path

import pytest

from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.state import Gap, Intake
from tests.cli.test_verbs import accepted, call, deployment  # noqa: F401 - fixtures


@pytest.fixture
def gap(accepted: Path) -> Path:  # noqa: F811 - the fixture
    """A ledger with an open gap."""

    async def fill() -> None:
        ledger = await open_ledger(f"sqlite:///{accepted.parent / 'bridge.db'}")
        (row,) = await ledger.tenants()
        lost = Gap(
            id="ab12", conn=row.conn, feed="intents", from_us=0, to_us=5, cause="offsets 3..9 are gone", opened_us=5
        )
        await ledger.take(Intake(rows=(), dead=(), offsets={}, now_us=5, gaps=[lost]))
        await ledger.close()

    asyncio.run(fill())
    return accepted


def test_a_gap_is_listed_closed_and_remembered(gap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose it is and why it is open; then who has closed it, and why. It is closed once."""

    def ask(*args: str, code: int = 0) -> str:
        assert call("gaps", *args, "-c", str(gap)) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    (told,) = json.loads(ask("list", "--json"))
    assert (told["id"], told["tenant"], told["cause"], told["closed"]) == ("ab12", "acme", "offsets 3..9 are gone", "")
    assert "offsets 3..9 are gone" in ask("list")
    assert "--why" in ask("close", "ab12", code=2)
    assert json.loads(ask("close", "ab12", "--why", "uttered again", "--by", "ann", "--json")) == {
        "id": "ab12",
        "closed": True,
    }
    assert "[config.no-gap] the ledger: there is no open gap 'ab12'" in ask("close", "ab12", "--why", "again", code=2)
    assert json.loads(ask("list", "--json")) == []
    (told,) = json.loads(ask("list", "--closed", "--json"))
    assert (told["who"], told["why"]) == ("ann", "uttered again")
    assert "uttered again" in ask("list", "--closed")
