"""What the web app serves, and how it is reached."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from rlhf.errors import ConfigError
from rlhf.labels.web.form import FormConfig

ALL = "all"
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What the app serves, and under which names."""

    hosts: Collection[str] = ("127.0.0.1", "localhost", "[::1]")
    https: bool = False  # behind a proxy that speaks it: cookies are marked Secure
    form: FormConfig = field(default_factory=FormConfig)
    finish: threading.Event | None = None  # set when the researcher has enough labels


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """What `rlhf label serve` was asked for."""

    store: str
    host: str = "127.0.0.1"
    port: int = 8000
    public: bool = False
    allowed_hosts: Sequence[str] = ()
    https: bool = False
    annotators: Sequence[str] = ()
    form: str | None = None
    new_admin_token: bool = False
    models: Sequence[str] = ()
    num_responses: int = 4
    max_new_tokens: int = 128
    until: str | None = None  # labels after which the server stops by itself, or "all"

    def __post_init__(self) -> None:
        if self.host not in LOCAL and not self.public:
            raise ConfigError(
                f"host={self.host} can be reached by others; add --public if that is meant, and "
                "put a proxy with HTTPS before it."
            )
        if self.until not in (None, ALL) and not str(self.until).isdigit():
            raise ConfigError(f"until={self.until} is neither a number of labels nor {ALL}.")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port={self.port} is none; use 1 to 65535, or 0 for a free one.")
