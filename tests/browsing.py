"""Debian's chromium, driven by Playwright; tests that need it are skipped, in words, without."""

import re
import shutil
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 120_000  # milliseconds: the browser shares its cores with other tests


@contextmanager
def chromium():
    """A browser; skips where Playwright or chromium is not installed."""
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
    """What somebody has open: pages of one person, who log in by their link."""

    def __init__(self, browser, problems: list[str], **how: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        self.context.set_default_timeout(PATIENCE)
        self._problems = problems

    def page(self):
        """A new page; what goes wrong in it is noted."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self._problems.append(str(error)))
        page.on("dialog", lambda dialog: self._problems.append(dialog.message))
        page.on("console", self._note)
        return page

    def enter(self, link: str, ready: str = "body[data-ready]"):
        """A page that came in by a link."""
        page = self.page()
        page.goto(link)
        page.click("button.primary")
        page.wait_for_selector(ready)
        return page

    def _note(self, message) -> None:
        # A status that a test asked for is no fault of the page.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self._problems.append(message.text)


def press(page, *keys: str) -> None:
    """Press keys one after the other."""
    for key in keys:
        page.keyboard.press(key)


def done(page, count: int) -> None:
    """Wait until the label page shows this number of finished items."""
    page.locator("#progress-text", has_text=re.compile(f"^{count} done")).wait_for()
