"""The census: counts that are right, of rows that nobody reads."""

import msgspec

from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import (
    CommandChange,
    CommandState,
    Commit,
    DeadLetter,
    Fence,
    Gap,
    Glance,
    InboxRow,
    Intake,
    Lease,
    LetterCount,
    NewCommand,
    OutboxRow,
    Refusal,
    TenantRow,
    Waiting,
    lease_name,
)
from tests.ledger.house import House


def letter(source: str, tenant: str, code: str, created_us: int) -> DeadLetter:
    return DeadLetter(
        source=source,
        tenant=tenant,
        lead_id="",
        code=code,
        message=f"m {source}",
        remedy=f"r {source}",
        key=b"",
        payload=b"personal",
        headers=b"",
        created_us=created_us,
    )


def refusal(holder: str, code: str, since_us: int = 1) -> Refusal:
    return Refusal(holder=holder, number=0, since_us=since_us, code=code, place="a.yaml:1:2", message="m", remedy="r")


async def test_an_empty_ledger_has_nothing_to_count(house: House) -> None:
    """No connection, no queue, no letter."""
    census = await house.ledger.census()
    assert (census.connections, census.letters, census.gaps, census.outbox, census.glances) == ([], [], [], {}, {})


async def test_queues_are_counted_by_connection_with_the_age_of_the_oldest(house: House) -> None:
    """Commands by state, facts, notices, positions: each connection's own."""
    conn, fence = await house.connection()
    other, _ = await house.connection("beta")
    rows = [
        InboxRow(
            tenant="acme",
            message_id=f"m{n}",
            command=NewCommand(
                conn=conn, lead_id=f"L{n}", operation=Operation.CREATE, payload=b"p", occurred_us=100 + n
            ),
        )
        for n in range(4)
    ]
    await house.ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=1))
    seqs = [seq for _, seq in await house.ready(conn)]
    changes = [
        CommandChange(seq=seqs[0], state=CommandState.DONE, finished_us=1),
        CommandChange(seq=seqs[1], state=CommandState.PARKED),
        CommandChange(seq=seqs[2], state=CommandState.UNKNOWN),
    ]
    facts = [OutboxRow(message_id=f"f{n}", fact=b"f", created_us=7 + n) for n in range(3)]
    gap = Gap(id="g", conn=conn, feed="intents", from_us=0, to_us=1, cause="c", opened_us=3)
    await house.ledger.commit(
        fence, Commit(conn=conn, commands=changes, outbox=facts, positions={"f": b"p"}, gaps=[gap])
    )
    await house.ledger.hear(other, ["1", "2"], 55, 100)
    census = await house.ledger.census()
    assert [row.tenant for row in census.connections] == ["acme", "beta"]
    count = census.commands[conn]
    assert (count.open, count.unknown, count.parked, count.oldest_us) == (2, 1, 1, 102)
    assert census.outbox == {conn: Waiting(number=3, since_us=7)}
    assert census.notices == {other: Waiting(number=2, since_us=55)}
    assert census.positions == {conn: {"f": b"p"}}
    assert census.gaps == [gap]
    assert {lease.name for lease in census.leases} == {"account/acme", "account/beta"}


async def test_dead_letters_are_told_by_tenant_and_code_with_the_newest_ones_remedy(house: House) -> None:
    """What many letters have in common is told once; no letter is read for it."""
    conn, fence = await house.connection()
    letters = [
        letter("1", "acme", "push.validation", 30),
        letter("2", "acme", "push.validation", 20),
        letter("3", "acme", "push.auth", 40),
        letter("4", "", "contract.unreadable", 10),
    ]
    await house.ledger.commit(fence, Commit(conn=conn, dead=letters))
    assert (await house.ledger.census()).letters == [
        LetterCount("", "contract.unreadable", 1, 10, "m 4", "r 4"),
        LetterCount("acme", "push.auth", 1, 40, "m 3", "r 3"),
        LetterCount("acme", "push.validation", 2, 20, "m 2", "r 2"),
    ]


async def test_a_retired_tenants_name_is_still_known(house: House) -> None:
    """Its dead letters can be told under it, and its commands under its connection, which is listed apart."""
    conn, _ = await house.connection()
    await house.intents(conn, "L1", "L2")
    await house.ledger.tenant_retire("acme", 5)
    census = await house.ledger.census()
    assert (census.connections, census.tenants) == ([], ["acme"])
    assert [(row.conn, row.tenant, row.name, row.since_us) for row in census.left] == [(conn, "acme", "main", 5)]
    assert census.commands[conn].open == 2


async def test_a_connection_that_its_tenants_file_has_left_is_listed_apart(house: House) -> None:
    """The file names another one now: the old one, its commands with it, is out of force until it is named again."""
    conn, _ = await house.connection()
    (accepted,) = await house.ledger.tenants()
    new = await house.ledger.tenant_accept(msgspec.structs.replace(accepted, connection="new"))
    census = await house.ledger.census()
    assert [row.conn for row in census.connections] == [new]
    assert [(row.conn, row.name, row.since_us) for row in census.left] == [(conn, "main", 0)]
    await house.ledger.tenant_accept(accepted)
    census = await house.ledger.census()
    assert [row.conn for row in census.connections] == [conn]
    assert [row.conn for row in census.left] == [new]


async def test_a_glance_is_the_newest_holders(house: House) -> None:
    """Written under the lease alone, and replaced."""
    conn, fence = await house.connection()
    await house.ledger.glance(fence, Glance(conn=conn, at_us=1, state=b"a"))
    await house.ledger.glance(fence, Glance(conn=conn, at_us=2, state=b"b"))
    assert (await house.ledger.census()).glances == {conn: Glance(conn=conn, at_us=2, state=b"b")}


async def test_one_connection_is_looked_at_alone(house: House) -> None:
    """With its own lease and glance, whatever others there are; none of a tenant that is out of force."""
    conn, _ = await house.connection()
    other = await house.ledger.tenant_accept(
        TenantRow(tenant="b", text="", digest="", accepted_us=1, connection="side", adapter="memory", account="2")
    )
    standing = await house.ledger.standing(conn)
    assert standing is not None
    assert (standing.row.tenant, standing.lease, standing.glance) == ("acme", None, None)
    held = [lease_name("acme", "main"), lease_name("b", "side")]
    epochs = await house.ledger.leases_take(held, "p9", 0, 77)
    for name, number, seen in zip(held, (conn, other), (b"a", b"b"), strict=True):
        fence = Fence(lease=name, holder="p9", epoch=epochs[name])
        await house.ledger.glance(fence, Glance(conn=number, at_us=1, state=seen))
    standing = await house.ledger.standing(conn)
    assert standing is not None
    assert standing.lease == Lease(name=held[0], holder="p9", epoch=epochs[held[0]], until_us=77)
    assert standing.glance == Glance(conn=conn, at_us=1, state=b"a")
    await house.ledger.tenant_retire("acme", 5)
    assert await house.ledger.standing(conn) is None


async def test_each_process_tells_what_it_refuses_now(house: House) -> None:
    """What it tells replaces what it told; another one's stays; a process that is long gone is forgotten with its lease."""
    first = [refusal("p1", "config.bad-value"), refusal("p1", "yaml.syntax")]
    await house.ledger.refuse("p1", first)
    await house.ledger.refuse("p2", [refusal("p2", "yaml.syntax", 5)])
    told = (await house.ledger.census()).refusals
    assert [(one.holder, one.code) for one in told] == [
        ("p1", "config.bad-value"),
        ("p1", "yaml.syntax"),
        ("p2", "yaml.syntax"),
    ]
    await house.ledger.refuse("p1", [])
    assert [one.holder for one in (await house.ledger.census()).refusals] == ["p2"]
    await house.ledger.leases_take(["process/p2"], "p2", 0, 10)
    await house.ledger.forget(0, 0, 8, 100)
    assert len((await house.ledger.census()).refusals) == 1
    await house.ledger.forget(0, 0, 100, 100)
    assert (await house.ledger.census()).refusals == []


async def test_a_tenant_without_work_has_a_row(house: House) -> None:
    """A connection that nothing was done for yet is listed as new."""
    row = TenantRow(tenant="acme", text="", digest="", accepted_us=1, connection="main", adapter="memory", account="1")
    await house.ledger.tenant_accept(row)
    (found,) = (await house.ledger.census()).connections
    assert (found.tenant, found.state) == ("acme", "new")
