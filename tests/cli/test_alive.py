"""A container's health check: it is about one process, whatever its replicas and its ledger do."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sales_crm_bridge.alive import alive

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"


@asynccontextmanager
async def answering(answer: bytes, *, whole: bool = True) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve ``answer`` to whatever is asked; not ``whole``: then keep the line open. Give the port and what was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if not whole:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], asked


async def probe(port: int, folder: Path) -> tuple[int | None, str]:
    """Run the health check as the image does, in ``folder``; give its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sales_crm_bridge.alive"),
        cwd=folder,
        env={
            **os.environ,
            "PORT_HTTP": str(port),
            "HTTP_PROXY": "http://127.0.0.1:1",
            "http_proxy": "http://127.0.0.1:1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def made(folder: Path) -> list[Path]:
    """Give the files of a folder."""
    return list(folder.rglob("*"))


async def test_a_process_that_answers_is_alive(tmp_path: Path) -> None:
    """Exit code 0 for 200 from ``/healthz`` on this machine, past any proxy; nothing is said and no file is made."""
    async with answering(OK) as (port, asked):
        assert await probe(port, tmp_path) == (0, "")
    assert asked[0].startswith(b"GET /healthz HTTP/1.1\r\n")
    assert made(tmp_path) == []


async def test_a_process_that_is_gone_is_dead(tmp_path: Path) -> None:
    """Exit code 1 with the reason, at once, where nothing listens: whether another replica lives is nobody's question."""
    async with answering(OK) as (port, _):
        pass
    code, said = await probe(port, tmp_path)
    assert code == 1
    assert said.startswith(f"alive: no answer on port {port}: ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers 'HTTP/1.1 503 Service Unavailable'"),
        (b"SSH-2.0 200\xff\r\n", "answers 'SSH-2.0 200\ufffd'"),
        (b"", "answers ''"),
    ],
)
async def test_any_other_answer_is_no_sign_of_life(answer: bytes, reason: str) -> None:
    """Another status, another protocol, a line that is closed without a word: not alive, with what was heard."""
    async with answering(answer) as (port, _):
        assert reason in await asyncio.to_thread(alive, port)


async def test_a_process_that_hangs_is_dead() -> None:
    """A line that is taken and never answered counts as no answer once the time is up."""
    async with answering(b"HTTP/1.1", whole=False) as (port, _):
        assert "timed out" in await asyncio.to_thread(alive, port, 0.2)


def test_the_health_check_costs_next_to_nothing() -> None:
    """It is run every few seconds beside the bridge: it imports nothing of ours but itself, and nothing of others."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; old = {*sys.modules}; import sales_crm_bridge.alive; print(*{*sys.modules} - old)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    new = {name.partition(".")[0] for name in run.stdout.split()}
    assert {name for name in run.stdout.split() if name.startswith("sales_crm_bridge")} == {
        "sales_crm_bridge",
        "sales_crm_bridge.alive",
    }
    assert new - {"sales_crm_bridge"} <= sys.stdlib_module_names
    assert not new & {"asyncio", "email", "http", "json", "ssl", "urllib"}
