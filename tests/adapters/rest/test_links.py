"""Links to the next page, as CRMs write them."""

import pytest
from sales_crm_adapters import CATALOGUE
from sales_crm_adapters.rest.links import below, next_link

from sales_crm_bridge.model import Cursor
from tests.adapters.rest.kit import declared, hold, reply, row

REST = CATALOGUE["rest"]


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ('</a?x=1>; rel="next"', "/a?x=1"),
        ("</a>; rel=next", "/a"),
        ('</first>; rel="first", </a?ids=1,2,3>; rel="next"', "/a?ids=1,2,3"),
        ('</a?x=1;y=2>; title="more"; REL="Next"', "/a?x=1;y=2"),
        ('</a>; rel="last next"', "/a"),
        ('</a>; rel="prev", </b>; rel="first"', ""),
        ('</a>; rel="nextish"', ""),
        ('</a>; title="next"', ""),
        ("</a", ""),
        ("", ""),
    ],
)
def test_the_next_page_is_found_in_a_link_header(header: str, address: str) -> None:
    """RFC 8288: several links, commas and semicolons within an address, several relations, any case; nothing but ``next``."""
    assert next_link(header) == address


@pytest.mark.parametrize(
    ("link", "strip", "path"),
    [
        ("https://crm.example/v2/leads?c=1", "", "/v2/leads?c=1"),
        ("https://crm.example/v2/leads?c=1", "/v2", "/leads?c=1"),
        ("/v2x/leads", "/v2", "/v2x/leads"),
        ("/v2/leads", "/v2/", "/leads"),
        ("/leads", "", "/leads"),
        ("https://elsewhere.example/steal", "", "/steal"),
        ("leads?c=1", "", ""),
        ("https://[bad/leads", "", ""),
        ("/le ads", "", ""),
        ("/leäds", "", ""),
        ("/..\\leads", "", ""),
    ],
)
def test_a_link_becomes_a_path_below_the_address(link: str, strip: str, path: str) -> None:
    """Whatever host it names, the call goes to the connection's own; what is no path is refused."""
    assert below(link, strip) == path


@pytest.mark.parametrize(
    ("address", "strip", "path"),
    [
        ("https://crm.example/api", "", "/leads"),
        ("https://crm.example/api/", "", "/leads"),
        ("https://crm.example", "", "/api/leads"),
        ("https://crm.example/v2", "/api", "/leads"),
    ],
)
def test_a_link_with_the_path_of_the_address_is_followed_below_it(address: str, strip: str, path: str) -> None:
    """What the address has already is not said twice; a declaration may name another front."""
    page = {"by": "link", "next": "next", **({"strip": strip} if strip else {})}
    trial = REST.make(declared({"lists.all.query": {}, "lists.all.page": page}), ["name"], address)
    first, _ = hold(trial.pull(trial.feeds()[0], Cursor(), 10), reply({"rows": [row(1)], "next": "/api/leads?page=2"}))
    _, calls = hold(trial.pull(trial.feeds()[0], first.next, 10), reply({"rows": []}))
    assert (calls[0].path, calls[0].query) == (path, (("page", "2"),))
