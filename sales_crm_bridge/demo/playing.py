"""The demo that goes on: how to play with it, the lines that somebody types, and the facts that come of it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from sales_crm_bridge import contract
from sales_crm_bridge.demo import wishes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.console import Console
    from sales_crm_bridge.demo.stage import Stage

LOOK_S = 0.3


async def go_on(console: Console, here: Stage, ends: Sequence[asyncio.Task[object]]) -> None:
    """Say how to play, then do what is typed and show the facts as they come, until one of ``ends`` has ended."""
    explain(console, here)
    typed: list[str] = []
    listener = Listener(typed)
    shown, number = len(here.lines), 0
    try:
        while not any(task.done() for task in ends):
            while typed:
                number += 1
                await _obey(console, here, typed.pop(0), f"typed-{number}")
            await here.read()
            for line in here.lines[shown:]:
                console.say("  ".join(filter(None, (line.kind, line.lead, line.what, f"({line.cause})"))))
            shown = len(here.lines)
            await asyncio.sleep(LOOK_S)
    finally:
        listener.close()


def explain(console: Console, here: Stage) -> None:
    """How to play with what is running."""
    record, *_ = sorted(here.live, key=int)
    contacts = f"{here.address}/crm/v3/objects/contacts"
    bearer = f"-H 'Authorization: Bearer {here.token}'"
    change = '-H \'Content-Type: application/json\' -d \'{"properties": {"city": "Lisbon"}}\''
    config = here.folder / "bridge.yaml"
    console.heading("Everything goes on. Be a person in the CRM: in another terminal, through HubSpot's own API,")
    console.say(f"  curl '{contacts}?limit=2' {bearer}")
    console.say(f"  curl -X PATCH {contacts}/{record} {bearer} {change}")
    console.say(f"  curl -X DELETE {contacts}/{record} {bearer}      # deletions are looked for once a minute")
    console.heading("Be a client of the Sales domain: type here,")
    for line in wishes.USAGE.splitlines():
        console.say(f"  {line}")
    console.say(
        f"or let any Kafka client produce a {contract.SalesDomainIntent.DESCRIPTOR.name} at {here.kafka.servers}:"
    )
    console.say(f"  intents: {contract.INTENT_TOPIC}, facts: {contract.FACT_TOPIC}")
    console.heading("Look at the bridge: in another terminal,")
    console.say(f"  sales-crm-bridge status --watch -c {config}")
    console.say(f"  sales-crm-bridge gate --in-force -c {config}")
    console.say(f"  sales-crm-bridge tenant list -c {config}")
    console.heading("Facts appear below as they come. Ctrl-C ends it, and everything in it.")


async def _obey(console: Console, here: Stage, line: str, message_id: str) -> None:
    if not line.strip():
        return
    try:
        wish = wishes.parse(line, message_id)
    except ValueError as error:
        console.say(f"{error}. Type one of:")
        for usage in wishes.USAGE.splitlines():
            console.say(f"  {usage}")
        return
    await here.utter(wish)
    console.say(f"uttered {wish.kind} about {wish.lead_id} as {message_id}")


class Listener:
    """Puts the lines that come on standard input into ``lines``, without a thread that nobody could end.

    Where standard input is no terminal and no pipe, or is at its end, nobody types.
    """

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._rest = b""
        self._open = False
        try:
            self._input = sys.stdin.fileno()
            asyncio.get_running_loop().add_reader(self._input, self._hear)
            self._open = True
        except (AttributeError, OSError, ValueError):
            self._input = -1

    def _hear(self) -> None:
        heard = os.read(self._input, 4096)
        if not heard:
            self.close()
            return
        *lines, self._rest = (self._rest + heard).split(b"\n")
        self._lines += [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        """Listen no more. Again: nothing."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._input)
