"""Links to the next page, as CRMs write them."""

import pytest
from sales_crm_adapters.rest.links import below, next_link


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
