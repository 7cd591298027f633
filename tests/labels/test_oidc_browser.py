"""Login by OpenID Connect in Chromium: the provider is another site than the label page."""

import socket
import threading
import time

import pytest
import uvicorn

from rlhf.labels import access
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.oidc import OidcConfig, OidcLogin
from tests.labels.web_server import candidates

pytest.importorskip("authlib", reason="needs authlib")
oidc_provider = pytest.importorskip("tests.labels.oidc_provider", reason="needs joserfc")
pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def provider():
    with oidc_provider.running() as provider:
        provider.claims = {"preferred_username": "Ann"}
        yield provider


@pytest.fixture
def address(tmp_path, provider):
    """Address of a label page, on `localhost`, whose provider is on `127.0.0.1`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://localhost:{listener.getsockname()[1]}"
        config = OidcConfig(
            issuer=provider.issuer,
            client_id=oidc_provider.CLIENT,
            client_secret=oidc_provider.SECRET,
        )
        with LabelStore(tmp_path / "labels.sqlite") as store:
            store.add_candidates(candidates(2))
            access.invite(store, "Ann")
            web = WebConfig(oidc=OidcLogin(config, address))
            app = create_app(Queue(store, QueueConfig()), web)
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
            thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
            thread.start()
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield address
            server.should_exit = True
            thread.join(30)


def test_login_reaches_the_label_page_with_its_strict_cookie(address, window):
    page = window().page()
    page.goto(f"{address}/")
    page.click("text=Log in with 127.0.0.1")
    page.wait_for_selector("body[data-ready]")
    assert page.url == f"{address}/"
    page.locator("#conversation", has_text="prompt").wait_for()
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["rlhf_label"]["sameSite"] == "Strict"
    assert "rlhf_oidc_state" not in cookies


def test_rejected_person_reads_why(address, provider, window):
    provider.claims = {"preferred_username": "<b>Eve"}
    page = window().page()
    page.goto(f"{address}/login")
    page.click("text=Log in with 127.0.0.1")
    page.locator("#login-error", has_text="<b>Eve has no access").wait_for()
