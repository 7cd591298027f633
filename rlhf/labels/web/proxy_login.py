"""Login by the header in which a reverse proxy names its user, off by default.

The header counts only in requests from the addresses of trusted proxies: every other client could
write any name into it, so its requests with this header are rejected.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from rlhf.errors import ConfigError
from rlhf.labels.records import normalized_name
from rlhf.web.addresses import Network, is_proxy, parse_proxies
from rlhf.web.guard import Rejected

# Headers with a meaning of their own.
TAKEN = ("authorization", "cookie", "host", "origin", "content-length", "x-csrf-token")


@dataclass(frozen=True, kw_only=True)
class ProxyLogin:
    """Which header names the user, and from where it is accepted."""

    header: str  # in lower case
    trusted: Sequence[Network]

    def user_of(self, scope: Scope) -> str | None:
        """The user that a trusted proxy names; None without the header.

        Raises:
            Rejected: the header comes from elsewhere, occurs twice, or is not UTF-8.
        """
        key = self.header.encode()
        values = [value for name, value in scope["headers"] if name == key]
        if not values:
            return None
        client = scope.get("client")
        if not is_proxy(client[0] if client else "", self.trusted):
            raise Rejected(403, f"the header {self.header} is accepted only from a trusted proxy")
        try:
            [name] = [normalized_name(value.decode().strip()) for value in values]
        except ValueError as error:  # several, or not UTF-8
            raise Rejected(400, f"the header {self.header} is not one name in UTF-8") from error
        return name or None  # some proxies send an empty header before the login


def proxy_login(header: str | None, addresses: Sequence[str]) -> ProxyLogin | None:
    """The login by these options of the server; None where it is off.

    Args:
        header: name of the header.
        addresses: addresses and networks of proxies, such as 127.0.0.1 or 10.0.0.0/8.

    Raises:
        ConfigError: one without the other, a header that has another meaning, or no address.
    """
    if header is None and not addresses:
        return None
    if header is None or not addresses:
        raise ConfigError(
            "--proxy_user_header and --trusted_proxy are used together: the name in the header is "
            "accepted only from these addresses; give both, or none.",
            code="key-conflict",
        )
    if not re.fullmatch(r"[A-Za-z0-9-]+", header) or header.lower() in TAKEN:
        raise ConfigError(
            f"proxy_user_header={header!r} cannot name the user; use a header that the proxy sets "
            "and removes from requests of browsers, such as X-Forwarded-User.",
            code="bad-value",
        )
    return ProxyLogin(header=header.lower(), trusted=parse_proxies(addresses))
