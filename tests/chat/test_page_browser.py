"""The chat page in a real browser: prompts, responses, layout, and that it runs no text."""

import json
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from rlhf.chat.web.limits import Limits
from tests.browsing import PATIENCE, wait_until
from tests.chat.chat_server import serving
from tests.chat.page import LIMITS, select_single_model, send

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_oldest_turns_are_left_out_with_a_note_and_errors_are_in_sight(tmp_path, models, open_chat):
    small = {"one": replace(models["one"], positions=90)}
    with serving(tmp_path, small, limits=Limits(slots=4, waiting=8, max_new_tokens=8)) as site:
        page = open_chat(site, viewport={"width": 360, "height": 500})
        page.fill("#max-tokens", "8")
        for number in range(4):
            send(page, f"Please tell me a short story {number}")
        page.locator(".note", has_text=re.compile(r"Left out the \d oldest turns")).last.wait_for()
        page.fill("#text", "red " * 100)
        page.click("#send")
        page.locator("#error", has_text="90 positions").wait_for()
        assert page.input_value("#text") == ("red " * 100).strip()
        box = page.locator("#error").bounding_box()
        assert 0 <= box["y"] < page.locator("#text").bounding_box()["y"] < 500
        assert page.locator(".turn").count() == 8


def test_page_follows_the_response_unless_the_reader_has_scrolled_up(tmp_path, models, open_chat):
    endless = {"one": replace(models["one"], chat=replace(models["one"].chat, eos_token_ids=()))}

    def from_end(page) -> float:
        return page.evaluate(
            """() => { const main = document.querySelector("#scroller");
            return main.scrollHeight - main.scrollTop - main.clientHeight; }"""
        )

    with serving(tmp_path, endless, limits=LIMITS) as site:
        page = open_chat(site, viewport={"width": 500, "height": 500})
        page.fill("#max-tokens", "50000")
        page.click("#settings summary")
        page.fill("#text", "A cat?")
        page.click("#send")
        scroll_top = "() => document.querySelector('#scroller').scrollTop"
        wait_until(lambda: page.evaluate(scroll_top) > 300)
        assert from_end(page) < 60
        page.locator("#scroller").hover()
        page.mouse.wheel(0, -250)
        page.locator("#jump").wait_for()
        page.wait_for_timeout(500)  # the wheel scrolls smoothly
        before = page.evaluate(scroll_top)
        height = page.locator("#conversation").bounding_box()["height"]
        wait_until(lambda: page.locator("#conversation").bounding_box()["height"] > height + 50)
        assert page.evaluate(scroll_top) == before
        page.click("#jump")
        wait_until(lambda: from_end(page) < 60)
        page.click("#stop")
        page.locator("#send").wait_for()


def test_cut_response_is_continued_copied_and_shown_as_plain_text(tmp_path, models, open_chat):
    endless = {"one": replace(models["one"], chat=replace(models["one"].chat, eos_token_ids=()))}
    with serving(tmp_path, endless, limits=LIMITS) as site:
        page = open_chat(site, permissions=["clipboard-read", "clipboard-write"])
        send(page, "A cat?")
        page.locator(".model-name", has_text="max tokens reached").wait_for()
        page.click("text=raw")
        begun = page.locator(".response .text.mono").inner_text()
        page.click("text=continue")
        page.locator(".branches", has_text="2/2").wait_for()
        page.click("text=raw")
        text = page.locator(".response .text.mono").inner_text()
        assert text.startswith(begun)
        assert len(text) > len(begun)
        page.click(".response >> text=copy")
        page.locator("text=copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == text
        with page.expect_download() as download:
            page.click("#export")
        assert json.loads(Path(download.value.path()).read_text())["endings"] == ["length"]


def test_stop_ends_the_response_and_frees_its_slot(tmp_path, models, open_chat):
    endless = {
        name: replace(model, chat=replace(model.chat, eos_token_ids=()))
        for name, model in models.items()
    }
    with serving(tmp_path, endless, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        page.fill("#max-tokens", "50000")
        page.fill("#text", "A cat?")
        page.click("#send")
        wait_until(lambda: len(page.locator(".response .text").inner_text()) > 40)
        page.click("#stop")
        page.locator(".model-name", has_text="stopped").wait_for()
        assert site.settle() == (0, 0)
        assert len(page.locator(".response .text").inner_text()) > 20


@pytest.mark.parametrize("width", [1280, 360])
def test_page_does_not_overflow_in_light_or_dark(tmp_path, models, open_chat, width):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site, viewport={"width": width, "height": 780})
        send(page, "A cat? " * 30 + "x" * 300, responses=2)
        page.locator("text=inspect").first.click()
        page.locator(".tokens .prompt").first.wait_for()
        for tab in ("tokens", "next", "why", "space"):
            page.click(f"[data-tab={tab}]")
            page.locator(f"[data-tab={tab}][aria-selected=true]").wait_for()
            if tab == "next":
                page.click("summary:has-text('All positions')")
                page.locator("#pane details tbody tr").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("#close")
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        for target in ("#open-shortcuts", "#menu"):
            page.click(target)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.keyboard.press("Escape")
        page.emulate_media(color_scheme="dark")
        page.evaluate("localStorage.removeItem('rlhf-theme')")
        page.reload()  # with the system's theme, which may change while the page is open
        page.wait_for_selector("body[data-ready]")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != before
        page.emulate_media(color_scheme="light")
        page.wait_for_function(
            "color => getComputedStyle(document.body).backgroundColor === color", arg=before
        )


def test_texts_of_users_and_models_are_not_executed(tmp_path, models, open_chat, root):
    """Every payload is shown as a prompt and as the response of a model."""
    payloads = (root / "tests" / "labels" / "xss.txt").read_text().splitlines()
    limits = replace(LIMITS, max_prompt_tokens=100_000)  # the last prompt has all payloads
    with serving(tmp_path, models, limits=limits) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        turns, parent = [], None
        for number, payload in enumerate(payloads):
            response = {"model": "one", "label": payload, "text": payload, "finish": "stop"}
            reply = {"system": payload, "responses": [response | {"thought": payload}]}
            asked = {"id": f"user-{number:04}", "role": "user", "content": payload}
            answered = {"id": f"reply-{number:04}", "role": "assistant", **reply}
            for turn in (asked, answered):
                turns.append({"parent": parent, **turn})
                parent = turn["id"]
        turns[-1]["responses"][0]["label"] = "one"  # with a hidden name it could not be inspected
        for number, payload in enumerate(payloads):
            body = {"title": payload, "leaf": parent, "turns": turns if number == 0 else turns[:2]}
            saved = httpx.post(f"{site.address}/page/history/chat-{number:04}", json=body)
            saved.raise_for_status()
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#conversations .title").count() == len(payloads)
        page.locator("#conversations .title").last.click()
        wait_until(lambda: page.locator(".turn").count() == 2 * len(payloads))
        wait_until(lambda: page.locator(".response > .text.plain").count() == 0)
        assert page.evaluate("window.hacked") is None
        for place in ("#conversation", "#sidebar"):
            for tag in ("script", "img", "iframe", "form", "style", "object", "svg"):
                assert page.locator(f"{place} {tag}").count() == 0
        page.locator("text=inspect").last.click()
        page.locator(".tokens .prompt").first.wait_for()
        assert page.evaluate("window.hacked") is None


def test_unreachable_server_is_reported(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
    page.fill("#text", "A cat?")
    page.click("#send")
    page.locator("#error", has_text="the server does not respond").wait_for()
    assert page.input_value("#text") == "A cat?"


BREAKING_STREAM = """() => {
    const send = window.fetch;
    const chunk = { choices: [{ delta: { content: "Half a" }, finish_reason: null }] };
    window.fetch = (path, options) => !path.includes("chat/completions") ? send(path, options)
        : Promise.resolve(new Response(new ReadableStream({
            start(stream) {
                stream.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(chunk)}\\n`));
            },
            pull(stream) {
                // At once, the error would arrive before the text.
                setTimeout(() => stream.error(new TypeError("network error")), 300);
            },
        })));
}"""


def test_lost_connection_is_named_and_keeps_the_text_so_far(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        page.evaluate(BREAKING_STREAM)
        page.fill("#text", "A cat?")
        page.click("#send")
        page.locator("#error", has_text="the connection was lost").wait_for()
        assert page.locator(".response .text").all_inner_texts() == ["Half a"]


def test_token_in_the_link_opens_the_page_and_is_removed(tmp_path, models, browser):
    with serving(tmp_path, models, limits=LIMITS, token="t0ken-of-sixteen") as site:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(site.address)
        page.locator("#error", has_text="missing or wrong token").wait_for()
        page.goto(f"{site.address}/?again#t0ken-of-sixteen")
        page.wait_for_selector("body[data-ready]")
        assert page.url == f"{site.address}/"
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.close()
