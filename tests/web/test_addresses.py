"""Addresses of clients, and their rate limits."""

import pytest

from rlhf.web.addresses import client_address, network_of, parse_proxies
from rlhf.web.rate_limit import RateLimit
from tests.errors import raises


def scope(peer: str, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"client": (peer, 5000), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # not a proxy: the header is forged
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the beginning is the client's
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1", "10.0.0.9"], "198.51.100.1"),  # two proxies
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["10.0.0.9"], "10.0.0.9"),
        ("127.0.0.1", ["unknown"], "unknown"),
    ],
)
def test_last_address_that_is_no_proxy_is_the_client(peer, forwarded, client):
    proxies = parse_proxies(["127.0.0.1", "10.0.0.0/8"])
    assert client_address(scope(peer, *forwarded), proxies) == client


def test_an_ipv6_household_is_one_visitor():
    assert (
        network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    )
    assert network_of("2001:db8:1:3::4") != network_of("2001:db8:1:2::4")
    assert network_of("::ffff:203.0.113.7") == network_of("203.0.113.7") == "203.0.113.7"
    assert network_of("unknown") == "unknown"


def test_a_proxy_that_is_no_address_is_rejected():
    with raises("bad-value", "trusted_proxy", "proxy.example"):
        parse_proxies(["proxy.example"])


def test_rate_limit_forgets_events_after_its_window():
    now = [0.0]
    limit = RateLimit(2, 60.0, clock=lambda: now[0])
    limit.count("a")
    now[0] = 30.0
    limit.count("a")
    assert (limit.is_exceeded("a"), limit.is_exceeded("b")) == (True, False)
    now[0] = 60.0
    assert not limit.is_exceeded("a")  # the first event has left the window, the second has not
    limit.count("a")
    assert limit.is_exceeded("a")
    now[0] = 200.0
    limit.count("b")
    assert len(limit._times) == 1
