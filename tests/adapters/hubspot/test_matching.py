"""Which input of a batch a result answers: found by an index, as one would find it by looking at each."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters.hubspot.batches import Input, _answered, _named
from sales_crm_adapters.hubspot.wire import Row

NAMES = st.sampled_from(["", "1", "2", "3"])
INPUTS = st.lists(
    st.builds(
        Input,
        trace=st.sampled_from("abcdef"),
        properties=st.just({}),
        by=st.sampled_from(["", "email", "key"]),
        name=NAMES,
    ),
    max_size=6,
    unique_by=lambda one: one.trace,
)
VALUES = st.dictionaries(st.sampled_from(["email", "key"]), st.none() | NAMES)


def answers(row: Row, one: Input) -> bool:
    """The slow twin: by its trace id or, where it has none, by what the input named."""
    if row.object_write_trace_id is not None:
        return row.object_write_trace_id == one.trace
    if not one.name:
        return False
    return (row.properties.get(one.by) if one.by else row.id) == one.name


@given(inputs=INPUTS, name=st.sampled_from("123"), values=VALUES, trace=st.none() | st.sampled_from("abcxyz"))
def test_a_result_answers_what_it_names(
    inputs: list[Input], name: str, values: dict[str, Any], trace: str | None
) -> None:
    """In whatever order and by whichever property inputs name their records."""
    row = Row(id=name, properties=values, updated_at="", object_write_trace_id=trace)
    known = {one.trace for one in inputs}
    found = [one for one in _answered(row, _named(inputs)) if one in known]
    assert sorted(found) == sorted(one.trace for one in inputs if answers(row, one))
