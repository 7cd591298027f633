"""Debian's chromium, driven by Playwright; without it the tests are skipped with a reason."""

import re
import shutil
import time
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 120_000  # milliseconds: the browser shares its cores with other tests


@contextmanager
def chromium():
    """A browser; skips the test if Playwright or chromium is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Window:
    """A browser window of one user, who logs in with a personal link."""

    def __init__(self, browser, problems: list[str], **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        self.context.set_default_timeout(PATIENCE)
        self._problems = problems

    def page(self):
        """A new page whose errors are recorded."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self._problems.append(str(error)))
        page.on("dialog", lambda dialog: self._problems.append(dialog.message))
        page.on("console", self._record_console)
        return page

    def enter(self, link: str, ready: str = "body[data-ready]"):
        """A new page that has logged in with the link."""
        page = self.page()
        page.goto(link)
        page.click("button.primary")
        page.wait_for_selector(ready)
        return page

    def _record_console(self, message) -> None:
        # An error status that a test provokes is not an error of the page.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self._problems.append(message.text)


def wait_until(condition) -> None:
    """Wait for a condition that is not a locator; the page's policy forbids evaluating strings."""
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def press(page, *keys: str) -> None:
    """Press the keys in order."""
    for key in keys:
        page.keyboard.press(key)


def strike(page, key: str, code: str, **more: bool) -> None:
    """A key as a browser reports it on another keyboard layout."""
    page.evaluate(
        """(event) => document.body.dispatchEvent(
            new KeyboardEvent("keydown", { ...event, bubbles: true, cancelable: true }))""",
        {"key": key, "code": code, **more},
    )


def done(page, count: int) -> None:
    """Wait until the label page shows this number of finished items."""
    page.locator("#progress-text", has_text=re.compile(f"^{count} done")).wait_for()
