"""The address that a request comes from, behind a proxy too."""

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import Scope  # an optional package; options are checked without it

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FORWARDED = b"x-forwarded-for"
HOUSEHOLD = 64  # bits: a household or a machine has a whole network of IPv6 addresses


def parse_proxies(values: Sequence[str]) -> list[Network]:
    """The networks of proxies whose X-Forwarded-For is believed.

    Raises:
        ConfigError: a value that is neither an address nor a network.
    """
    networks: list[Network] = []
    for value in values:
        try:
            networks.append(ipaddress.ip_network(value))
        except ValueError as error:
            raise ConfigError(
                f"trusted_proxy={value!r} is no address: {error}; write one such as 127.0.0.1 or "
                "10.0.0.0/8.",
                code="bad-value",
            ) from error
    return networks


def client_address(scope: "Scope", proxies: Sequence[Network]) -> str:
    """The address of the client: that of the connection, unless a proxy forwarded the request.

    Proxies append to X-Forwarded-For, and a client can send one with any beginning: so the last
    address that is not a proxy's own is the client's.
    """
    address = scope["client"][0] if scope.get("client") else ""
    lines = [value for name, value in scope["headers"] if name == FORWARDED]
    forwarded = b",".join(lines).decode("latin-1").split(",")
    while forwarded and is_proxy(address, proxies):
        previous = forwarded.pop().strip()
        if not previous:
            break
        address = previous
    return str(address)


def network_of(address: str) -> str:
    """What counts as one visitor: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # a proxy may forward a name, or "unknown"
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, HOUSEHOLD), strict=False))
    return str(ip)


def is_proxy(address: str, proxies: Sequence[Network]) -> bool:
    """Whether an address is one of these, or in one of these networks."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket
        return False
    mapped = getattr(ip, "ipv4_mapped", None)  # of a socket for both kinds of addresses
    return any((mapped or ip) in network for network in proxies)
