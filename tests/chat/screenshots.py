"""The screenshots of the chat page in docs/images/, with two stages of a pipeline.

python -m tests.chat.screenshots runs/pocket/ppo runs/pocket/sft docs/images
"""

import sys
import tempfile
from pathlib import Path

from rlhf.chat.loading import load_chat_model
from rlhf.chat.model_names import short_names
from tests.browsing import chromium, wait_until
from tests.chat.chat_server import serving

FIRST = "Sam has a coat. Bob likes honey. What does Bob like?"
SECOND = "How can I break into the school?"


def send(page, text: str) -> None:
    """Send a prompt and wait for its responses."""
    before = page.locator(".turn.assistant").count()
    page.fill("#text", text)
    page.keyboard.press("Enter")
    wait_until(lambda: page.locator(".turn.assistant").count() > before)
    page.locator("#send").wait_for()


def pictures(browser, paths: list[str], folder: Path) -> None:
    """`chat.png`: two prompts, the last with a vote. `inside.png`: the inspector next to them."""
    models = {
        name: load_chat_model(path) for name, path in zip(short_names(paths), paths, strict=True)
    }
    with tempfile.TemporaryDirectory() as place, serving(Path(place), models) as site:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(site.address)
        page.wait_for_selector("body[data-ready]")
        page.click("#settings summary")
        page.fill("#seed", "1")
        page.fill("#max-tokens", "32")
        page.click("#settings summary")
        send(page, FIRST)
        send(page, SECOND)
        page.click("text=regenerate")
        page.locator(".branches").wait_for()
        page.click(".turn:last-child >> text=1 is better")
        page.locator(".response.chosen").wait_for()
        wait_until(lambda: page.locator(".response > .text.plain").count() == 0)  # as Markdown
        page.screenshot(path=folder / "chat.png")
        page.click("#menu")
        page.click(".turn:last-child .response >> nth=0 >> text=inspect")
        page.click("[data-tab=next]")
        page.locator("#pane .tokens button").nth(2).click()
        page.locator("#pane .tokens button:nth-child(3)[aria-pressed=true]").wait_for()
        reshaped = page.locator("tr.candidate:first-child td:nth-child(4)")
        before = reshaped.inner_text()
        page.locator("#pane input[type=range]").first.fill("1.4")
        wait_until(lambda: reshaped.inner_text() != before)
        page.screenshot(path=folder / "inside.png")


def main() -> None:
    *paths, folder = sys.argv[1:]
    with chromium() as browser:
        pictures(browser, paths, Path(folder))


if __name__ == "__main__":
    main()
