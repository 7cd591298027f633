"""Steps on the chat page in a browser."""

from rlhf.chat.web.limits import Limits

LIMITS = Limits(slots=4, waiting=8, max_new_tokens=50_000)


def send(page, text: str, responses: int = 1) -> None:
    """Send a text and wait until all responses are complete."""
    before = page.locator(".turn.assistant").count()
    page.fill("#text", text)
    page.keyboard.press("Enter")
    page.locator(f".turn.assistant >> nth={before}").wait_for()
    page.locator("#send").wait_for()
    assert page.locator(".turn.assistant").last.locator(".response").count() == responses


def select_single_model(page, name: str) -> None:
    page.select_option("#first", name)
    page.select_option("#second", "")
