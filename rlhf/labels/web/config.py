"""Settings of the label page and its server."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Scope

from rlhf.errors import ConfigError
from rlhf.labels.crowd import CrowdConfig, Participants
from rlhf.labels.form_config import FormConfig
from rlhf.labels.project_list import ProjectEntry
from rlhf.labels.web.oidc import OidcConfig, OidcLogin
from rlhf.labels.web.proxy_login import ProxyLogin
from rlhf.labels.webhook import Webhook
from rlhf.web.server import LOOPBACK_NAMES, check_address

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class CrowdStudy:
    """A study on a crowd platform, and the file of its participants."""

    config: CrowdConfig
    participants: Participants


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Settings of the web app."""

    project: str = ""  # name of one of several projects of a server; its pages are below /p/NAME
    hosts: Collection[str] = LOOPBACK_NAMES  # host names that requests may name
    https: bool = False  # behind a proxy with HTTPS: cookies are marked Secure
    proxy: ProxyLogin | None = None  # names users by a header; None: only links log in
    oidc: OidcLogin | None = None  # logs users in; None: only links do, or a proxy
    form: FormConfig = field(default_factory=FormConfig)
    finish: threading.Event | None = None  # set when the administrator ends the labelling
    pictures: Path | None = None  # folder of the pictures that prompts name; None shows none
    crowd: CrowdStudy | None = None

    @property
    def base(self) -> str:
        """What the paths of the app's pages begin with."""
        return f"/p/{self.project}" if self.project else ""

    @property
    def cookie(self) -> str:
        """Name of the session's cookie."""
        return f"rlhf_label_{self.project}" if self.project else "rlhf_label"

    def proxy_user_of(self, scope: Scope) -> str | None:
        """The user that a trusted proxy names; None without one.

        Raises:
            Rejected: the header comes from elsewhere, or is not one name.
        """
        return None if self.proxy is None else self.proxy.user_of(scope)


@dataclass(frozen=True, kw_only=True)
class LabelServerConfig:
    """Options of `rlhf label serve`."""

    store: str = ""
    projects: Sequence[ProjectEntry] = ()  # in place of one store
    host: str = "127.0.0.1"
    port: int = 8000
    public: bool = False
    allowed_hosts: Sequence[str] = ()
    https: bool = False
    proxy: ProxyLogin | None = None
    oidc: OidcConfig | None = None
    annotators: Sequence[str] = ()
    form: str | None = None
    new_admin_token: bool = False
    models: Sequence[str] = ()  # folders and hub ids, or with a server the names that it knows
    server: str | None = None  # address of the API that samples, http://HOST:PORT/v1
    num_responses: int = 4
    max_new_tokens: int = 128
    webhook: Webhook | None = None
    pictures: str | None = None
    crowd: CrowdConfig | None = None
    until: str | None = None  # number of labels after which the server stops, or "all"

    def __post_init__(self) -> None:
        check_address(self.host, self.port, public=self.public)
        if self.pictures is not None and not Path(self.pictures).is_dir():
            raise ConfigError(
                f"pictures={self.pictures} is not a folder; name the one with the pictures of the "
                "prompts.",
                code="missing-file",
            )
        if self.until not in (None, ALL) and not str(self.until).isdigit():
            raise ConfigError(
                f"until={self.until} is neither a number of labels nor {ALL}.", code="bad-value"
            )

    @property
    def samples(self) -> bool:
        """Whether models respond to annotators' prompts."""
        return bool(self.models) or self.server is not None
