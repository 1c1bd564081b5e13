"""Paths, shapes and templates: what they find and fill in, and that nothing that a CRM says can upset them."""

import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters.rest.notions import Common, Request
from sales_crm_adapters.rest.paths import MISSING, BadPath, Shape, every, is_plain, one, path_of, paths_of, put
from sales_crm_adapters.rest.templates import BadTemplate, Calls, Template, deep, variables

from sales_crm_bridge.model import Effect

ANSWER = {
    "data": {"items": [{"id": 1, "tags": [{"name": "a"}, {"name": "b"}]}, {"id": 2, "tags": []}]},
    "errors": {"email": ["taken"], "phone": ["bad", "long"]},
    "a.b": {"c": None},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", [ANSWER]),
        ("data.items.0.id", [1]),
        ("data.items.1.id", [2]),
        ("data.items.2.id", []),
        ("data.items.*.id", [1, 2]),
        ("data.items.*.tags.*.name", ["a", "b"]),
        ("errors.@keys", ["email", "phone"]),
        ("errors.*.0", ["taken", "bad"]),
        ("errors.*.*", ["taken", "bad", "long"]),
        (["a.b", "c"], [None]),
        ("a.b.c", []),
        ("data.items.id", []),
        ("data.items.@keys", []),
        ("errors.email.0.x", []),
        ("data.items.99999999", []),
    ],
)
def test_a_path_finds_what_stands_there(path: Any, found: list[object]) -> None:
    """Names, numbers, every member, the names of a mapping; what leads nowhere finds nothing; a shape finds the same."""
    steps = path_of(path)
    assert list(every(ANSWER, steps)) == found
    assert one(ANSWER, steps) == (found[0] if found else MISSING)
    read = Shape({"x": steps}).read(json.dumps(ANSWER).encode())["x"]
    assert read == (found if {"*", "@keys"} & set(steps) else found[0] if found else MISSING)


@pytest.mark.parametrize("path", ["a..b", ".", "@keys.a", ["", "a"], ".".join("a" * 21)])
def test_what_is_no_path_is_said_so(path: Any) -> None:
    """An empty step, steps after the names, more than anybody needs."""
    with pytest.raises(BadPath):
        path_of(path)


def test_several_paths_are_a_list_of_texts_or_of_lists() -> None:
    """One text is one path; in a list each member is one."""
    assert paths_of("a.b") == (("a", "b"),)
    assert paths_of(["a.b", ["c.d", 0]]) == (("a", "b"), ("c.d", "0"))
    assert paths_of(None) == ()
    assert is_plain(("a", "b"))
    assert not any(map(is_plain, (("a", "0"), ("*",), ("@keys",))))


def test_put_makes_the_way_to_its_place() -> None:
    """Mappings that are missing are made; what stands in the way of one gives way."""
    target: dict[str, Any] = {"a": 1}
    put(target, ("x", "y", "z"), 2)
    put(target, ("x", "y", "w"), None)
    put(target, ("a", "b"), 3)
    assert target == {"a": {"b": 3}, "x": {"y": {"z": 2, "w": None}}}


NAMES = st.sampled_from(["a", "b", "c", "0", "1"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
PATHS = st.lists(st.lists(NAMES | st.just("*"), max_size=4).map(tuple), min_size=1, max_size=6)


@given(value=JSON, paths=PATHS)
def test_a_shape_finds_what_a_whole_decoding_finds(value: object, paths: list[tuple[str, ...]]) -> None:
    """Whatever the answer, and however the paths overlap: decoding only what is wanted loses nothing and invents nothing."""
    wanted = {str(at): path for at, path in enumerate(paths)}
    told = Shape(wanted).read(json.dumps(value).encode())
    for name, path in wanted.items():
        assert told[name] == (list(every(value, path)) if "*" in path else one(value, path))


@given(value=JSON, paths=PATHS)
def test_a_bundle_finds_what_as_many_readers_find(value: object, paths: list[tuple[str, ...]]) -> None:
    """The fast way to the fields of a record and the plain one say the same, whatever stands there; none is in two bundles."""
    wanted = {str(at): path for at, path in enumerate(paths)}
    shape = Shape(wanted)
    decoded = shape.decoded(json.dumps(value).encode())
    bundles = shape.bundle(wanted)
    names = [name for bundle in bundles for name in bundle.names]
    assert len(names) == len(set(names))
    for bundle in bundles:
        values = bundle.values(decoded) or [MISSING] * len(bundle.names)
        assert list(values)[: len(bundle.names)] == [shape.reader(name)(decoded) for name in bundle.names]
    plainly = {name for name, path in wanted.items() if path and is_plain(path)}
    overlaid = {
        name
        for name in plainly
        for other in wanted.values()
        if other != wanted[name] and wanted[name][: len(other)] == other
    }
    cut = {
        name for name in plainly for other in wanted.values() if not is_plain(other) and _reaches(other, wanted[name])
    }
    assert plainly - overlaid - cut <= set(names)


def _reaches(other: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether what ``other`` needs decoded whole holds ``path``."""
    head = next(at for at, step in enumerate(other) if not is_plain((step,)))
    return path[:head] == other[:head]


@given(st.binary(max_size=40))
def test_a_shape_raises_what_is_known_for_what_is_no_json(text: bytes) -> None:
    """No JSON: msgspec's error or the codec's, never another."""
    try:
        Shape({"a": ("a",), "rows": ("b", "c")}, rows=["rows"]).read(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return


def test_the_records_of_a_page_stay_text() -> None:
    """A list of records is not decoded, whatever is in it; what stands beside it is."""
    shape = Shape({"rows": ("data",), "next": ("meta", "next")}, rows=["rows"])
    read = shape.read(b'{"data":[{"a": 1},2],"meta":{"next":"n","x":[]}}')
    assert [bytes(text) for text in read["rows"]] == [b'{"a": 1}', b"2"]
    assert read["next"] == "n"


# --- templates --------------------------------------------------------------------------------------------------------

GIVEN = {"id": 7, "key": "L/1 ü", "fields": {"name": "x"}, "ids": [1, 2], "none": None, "flag": True}


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("plain", "plain"),
        ("{id}", 7),
        ("{fields}", {"name": "x"}),
        ("{ids}", [1, 2]),
        ("{none}", None),
        ("a{id}b{flag}", "a7btrue"),
        ("in ({ids})", "in (1,2)"),
        ("{{id}} {id}", "{id} 7"),
        ({"a": "{id}", "b": "{missing}", "c": {"d": "{missing}"}}, {"a": 7, "c": {}}),
        ([["id", ">", "{missing}"], ["x", "{id}"]], MISSING),
        ({"where": [["id", ">", "{missing}"]], "x": 1}, {"x": 1}),
        ([1, None, {"a": "{{}}"}], [1, None, {"a": "{}"}]),
        ("x{missing}", MISSING),
        ("x{none}", MISSING),
    ],
)
def test_a_template_is_filled_in(value: object, made: object) -> None:
    """A variable alone keeps its kind; in a text it is text; what has no value takes its member, or its list, with it."""
    assert Template(value).render(GIVEN) == made


@pytest.mark.parametrize("value", ["{", "}", "a{b", "{}", "{A}", "{a b}", "{1}", "{{a}", ["{x"], {"a": "}"}])
def test_braces_that_are_no_variable_are_said_so(value: object) -> None:
    """A single brace, or a name that is none, wherever it stands."""
    with pytest.raises(BadTemplate):
        list(variables(value))
    with pytest.raises(BadTemplate):
        Template(value)


@given(st.text(alphabet=string.printable, max_size=30))
def test_data_never_becomes_a_template(text: str) -> None:
    """Braces in a value are text, however often it goes through."""
    assert Template("{x}").render({"x": text}) == text
    assert Template("a{x}").render({"x": text, "y": "other"}) == f"a{text}"


def request(**parts: Any) -> Request:
    return msgspec.convert({"path": "/leads", **parts}, Request)


def test_a_request_carries_what_it_should_where_it_should() -> None:
    """Percent-encoded in the path, as parameters, as headers; a list as commas or, where it is written as a list, repeated."""
    asked = request(
        path="/leads/{key}",
        query={"ids": "{ids}", "id[]": ["{ids}", "x"], "gone": "{missing}", "flag": "{flag}", "n": 5},
        headers={"If-Match": "{missing}", "X-Id": "n{id}"},
        budget="search",
    )
    call = Calls(asked, Common(query={"v": "1", "n": 4}, headers={"Accept": "x"}), Effect.READ).call(GIVEN)
    assert call.method == "GET"
    assert call.path == "/leads/L%2F1%20%C3%BC"
    assert call.query == (
        ("v", "1"),
        ("n", "5"),
        ("ids", "1,2"),
        ("id[]", "1"),
        ("id[]", "2"),
        ("id[]", "x"),
        ("flag", "true"),
    )
    assert call.headers == (("Accept", "x"), ("X-Id", "n7"))
    assert (call.body, call.budget) == (b"", "search")


def test_a_common_body_lies_under_bodies_that_are_mappings_alone() -> None:
    """Merged deep, the request's words win; a request without a body gets none, a form is a form."""
    common = Common(body={"jsonrpc": "2.0", "params": {"model": "lead", "method": "x"}})
    call = Calls(request(body={"params": {"method": "read"}}), common, Effect.READ).call({})
    assert call.method == "POST"
    assert json.loads(call.body) == {"jsonrpc": "2.0", "params": {"model": "lead", "method": "read"}}
    assert Calls(request(), common, Effect.READ).call({}).body == b""
    assert Calls(request(body="{ids}"), common, Effect.READ).call(GIVEN).body == b"[1,2]"
    form = Calls(request(form={"a": "{id}", "b": "x y"}), common, Effect.READ).call(GIVEN)
    assert (form.body, form.content_type) == (b"a=7&b=x+y", "application/x-www-form-urlencoded")
    assert deep({"a": {"b": 1}, "c": 1}, {"a": {"d": 2}, "c": {}}) == {"a": {"b": 1, "d": 2}, "c": {}}


@given(st.text(min_size=1, max_size=12))
def test_no_value_leaves_its_step_of_a_path_or_its_line_of_a_header(text: str) -> None:
    """Slashes, dots, question marks, line ends: what a CRM calls its records leads nowhere else."""
    asked = request(path="/leads/{id}/x", headers={"X": "{id}"})
    call = Calls(asked, Common(), Effect.READ).call({"id": text})
    _, leads, step, rest = call.path.split("/")
    assert (leads, rest) == ("leads", "x")
    assert step not in ("", ".", "..")
    assert not set(step) & set("?#\\ ")
    assert call.path.isascii()
    assert all(value.isascii() and value.isprintable() for _, value in call.headers)
