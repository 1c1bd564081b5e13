"""Whose trouble a failing write is: what counts against a command, and which batches are taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.model import Operation
from sales_crm_bridge.policy.blame import MARKED, Blame, grouped
from sales_crm_bridge.state import Command


def commands(*seqs: int) -> list[Command]:
    return [
        Command(
            seq=seq,
            conn=1,
            tenant="acme",
            message_id=f"m-{seq}",
            lead_id=f"L-{seq}",
            operation=Operation.REVISE,
            payload=b"",
            occurred_us=1,
        )
        for seq in seqs
    ]


def batches(blame: Blame, seqs: Sequence[int], size: int) -> list[list[int]]:
    return [[command.seq for command in batch] for batch in blame.batches(commands(*seqs), size)]


def turn(blame: Blame, seqs: Sequence[int], works: Callable[[Sequence[int]], bool], size: int = 100) -> dict[int, int]:
    """Write these commands in batches, read back those that failed; gives their counts, by command."""
    lost: list[int] = []
    for batch in batches(blame, seqs, size):
        blame.sent(batch)
        if works(batch):
            blame.took_effect()
            blame.ended(batch)
        else:
            lost += batch
    return {seq: blame.failed(seq) for seq in lost}


def test_while_nothing_takes_effect_nothing_counts() -> None:
    """An outage of any length counts against no command, be there one or many."""
    blame = Blame()
    for _ in range(50):
        assert not any(turn(blame, range(20), lambda _: False).values())
        assert not any(turn(blame, [99], lambda _: False).values())


def test_in_an_outage_one_batch_is_taken_apart_and_the_others_stay_whole() -> None:
    """A thousand commands must not become a thousand calls each round because the CRM is away."""
    blame = Blame()
    for _ in range(20):
        turn(blame, range(1000), lambda _: False)
    sizes = [len(batch) for batch in batches(blame, range(1000), 100)]
    assert sizes.count(100) == 9
    assert sizes.count(1) == 100


@pytest.mark.parametrize("size", [2, 3, 20, 100])
@pytest.mark.parametrize("last", [False, True])
def test_a_poison_command_is_found_in_its_batch_and_nothing_counts_against_the_others(size: int, last: bool) -> None:
    """The batch is halved until the one at fault stands alone; then its failures count, with no further traffic too."""
    blame = Blame()
    bad = size - 1 if last else 0
    left = list(range(size))
    counts = {bad: 0}
    while counts[bad] == 0:
        counts = turn(blame, left, lambda batch: bad not in batch)
        assert not any(count for seq, count in counts.items() if seq != bad)
        left = sorted(counts)
    assert left == [bad]
    assert [turn(blame, left, lambda _: False)[bad] for _ in range(3)] == [2, 3, 4]


def test_a_command_alone_in_a_quiet_account_is_under_no_suspicion_until_another_write_takes_effect() -> None:
    """What took effect before its first try proves nothing; what does since counts once for each failure."""
    blame = Blame()
    turn(blame, [1], lambda _: True)
    assert [turn(blame, [2], lambda _: False) for _ in range(3)] == [{2: 0}] * 3
    counts = []
    for seq in range(10, 14):
        turn(blame, [seq], lambda _: True)
        counts.append(turn(blame, [2], lambda _: False)[2])
    assert counts == [1, 2, 3, 4]


def test_an_outage_that_follows_counts_no_further() -> None:
    """Once a command fails that nobody suspects, those under suspicion are given the benefit of the doubt."""
    blame = Blame()
    turn(blame, [2], lambda _: False)
    turn(blame, [3], lambda _: True)
    assert turn(blame, [2], lambda _: False) == {2: 1}
    assert turn(blame, [4], lambda _: False) == {4: 0}
    assert [turn(blame, [2], lambda _: False)[2] for _ in range(5)] == [0] * 5


def test_what_a_new_session_does_not_know_counts_against_nobody() -> None:
    """A write that an earlier process made, or whose batch nobody remembers."""
    blame = Blame()
    assert blame.failed(7) == 0
    assert batches(blame, [7, 8], 20) == [[7, 8]]


@given(sizes=st.lists(st.integers(1, 150), max_size=30))
def test_batches_are_grouped_in_order_and_small_ones_alone_share(sizes: list[int]) -> None:
    """Nothing is lost or moved; a group is one batch, or no more than may be marked together."""
    numbers = iter(range(sum(sizes)))
    made = [commands(*(next(numbers) for _ in range(size))) for size in sizes]
    groups = grouped(made)
    assert [batch for group in groups for batch in group] == made
    counts = [sum(map(len, group)) for group in groups]
    assert all(count <= MARKED or len(group) == 1 for count, group in zip(counts, groups, strict=True))
    assert all(count + len(later[0]) > MARKED for count, later in zip(counts, groups[1:], strict=False))
