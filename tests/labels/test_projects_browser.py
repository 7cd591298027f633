"""Two projects in Chromium: one login, labels in both, drafts that stay apart."""

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn

from rlhf.labels.web.config import WebConfig
from tests.browsing import done, press
from tests.labels.test_projects import Server

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@contextmanager
def running(folder):
    """The server of two projects, and its address."""
    with ExitStack() as stack:
        site = Server(stack, folder, WebConfig())
        settings = uvicorn.Config(site.app, port=0, log_level="warning", lifespan="off")
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield site, f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(30)


def test_annotator_labels_in_two_projects(tmp_path, window):
    with running(tmp_path) as (site, address):
        token = site.invite("Ann", "maths", "chat")
        page = window().enter(f"{address}/login#{token}", "text=The chat")
        page.click("text=The maths")
        page.wait_for_selector("body[data-ready]")
        press(page, "c")
        page.keyboard.type("about maths")
        press(page, "Escape")
        page.wait_for_timeout(1000)  # the draft is saved
        page.click("text=Projects")
        page.click("text=The chat")
        page.wait_for_selector("body[data-ready]")
        assert page.input_value("#comment") == ""  # both projects have a claim 1
        press(page, "2", "1", "3", "4", "Enter")
        done(page, 1)
        page.goto(f"{address}/p/maths/")
        page.wait_for_selector("body[data-ready]")
        assert page.input_value("#comment") == "about maths"
        assert [len(site.stores[name].labels()) for name in ("maths", "chat")] == [0, 1]
        page.click("#open-logout")
        page.click("#logout")
        page.wait_for_url(f"{address}/p/maths/login")
        page.goto(f"{address}/")
        page.wait_for_selector("text=The chat")
        assert page.locator("text=The maths").count() == 0
