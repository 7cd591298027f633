"""Webhooks: new events of a label store are sent to another server, in order, until it has them."""

import hashlib
import hmac
import http.client
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from rlhf.errors import ConfigError
from rlhf.labels import log_queries
from rlhf.labels.store import LabelStore

BATCH = 100  # events of one request
SIGNATURE = "X-Rlhf-Signature"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where events are sent.

    Args:
        url: receives POST requests with `{"events": [...]}`, as GET /rest/v1/events lists them.
        secret: key of the signature, `sha256=` and the HMAC-SHA256 of the body in hex.
        poll_seconds: between two looks at the log.
        first_wait: seconds before the first repetition; it doubles with each one.
        longest_wait: the longest of these pauses.
    """

    url: str
    secret: str = ""
    poll_seconds: float = 1.0
    first_wait: float = 1.0
    longest_wait: float = 300.0

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise ConfigError(
                f"webhook={self.url} is no address; write https://HOST/PATH.", code="bad-value"
            )

    def __str__(self) -> str:
        signed = "signed" if self.secret else "not signed: RLHF_WEBHOOK_SECRET is not set"
        return f"new events are sent to {self.url}, {signed}"

    @property
    def setting(self) -> str:
        """The store's setting that holds the id of the last event that was delivered."""
        return f"webhook:{hashlib.sha256(self.url.encode()).hexdigest()}"


def _is_address(url: str) -> bool:
    """Whether urllib can send to it: a host and a possible port, in ASCII without spaces."""
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
        (parts.hostname or "").encode("idna")  # as a connection does; `a..b` has an empty part
    except ValueError:  # or a port that is no number or too large, or half of an IPv6 address
        return False
    is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    return is_web and has_port and url.isascii() and url.isprintable() and " " not in url


class WebhookSender:
    """The thread that follows the log of a store.

    An event is sent again until the server answers with a status of 2xx, also after a restart, so
    it may arrive twice; its id tells. Events before the first start are not sent.
    """

    def __init__(self, store: LabelStore, webhook: Webhook) -> None:
        self._store, self._webhook = store, webhook
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rlhf-webhook", daemon=True)
        if not store.setting(webhook.setting):
            with store.read() as connection:
                newest = log_queries.newest_event(connection)
            store.set_setting(webhook.setting, str(newest))
        self._thread.start()

    def close(self) -> None:
        """End the thread; what was not delivered is sent after the next start."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        wait, has_failed = self._webhook.first_wait, False
        while not self._stopping.is_set():
            last = int(self._store.setting(self._webhook.setting))
            with self._store.read() as connection:
                events = log_queries.events_after(connection, last, BATCH)
            if not events:
                self._stopping.wait(self._webhook.poll_seconds)
            elif problem := send(self._webhook, events):
                logger.warning("webhook %s: %s; again in %g s", self._webhook.url, problem, wait)
                self._stopping.wait(wait)
                wait, has_failed = min(2 * wait, self._webhook.longest_wait), True
            else:
                self._store.set_setting(self._webhook.setting, str(events[-1]["id"]))
                if has_failed:  # as loud as the failures: a level below is not shown
                    logger.warning("webhook %s: events arrive again", self._webhook.url)
                wait, has_failed = self._webhook.first_wait, False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: urllib would follow it with a GET request, without the events."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """No request."""


_opener = urllib.request.build_opener(_NoRedirects)


def send(webhook: Webhook, events: Sequence[Mapping[str, object]]) -> str:
    """Send these events; returns why they did not arrive, "" if they did."""
    body = json.dumps({"events": list(events)}).encode()
    headers = {"Content-Type": "application/json"}
    if webhook.secret:
        headers[SIGNATURE] = f"sha256={signature(webhook.secret, body)}"
    request = urllib.request.Request(webhook.url, data=body, headers=headers)
    try:
        with _opener.open(request, timeout=30):
            return ""
    except urllib.error.HTTPError as error:
        moved = error.headers.get("Location")
        return f"status {error.code}" + (f", a redirect to {moved}" if moved else "")
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def signature(secret: str, body: bytes) -> str:
    """The HMAC-SHA256 of a body, in hex."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
