"""Thoughts on the chat page, in a real browser."""

import json
import re

import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.chat.chat_server import serving
from tests.chat.scripted_model import make_scripted

pytestmark = [pytest.mark.slow, pytest.mark.browser]
WORDS = [f"step{number} " for number in range(1, 41)]
SCRIPT = ["<think>", *WORDS, "</think>", "A dog", ", I say."]
WHOLE = f"<think>\n{''.join(WORDS).strip()}\n</think>\n\nA dog, I say."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_scripted(tmp_path_factory.mktemp("models") / "thinker", script=SCRIPT)
    return load_chat_model(str(folder))


@pytest.fixture(scope="module")
def endless_thinker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "endless"
    return load_chat_model(str(make_scripted(folder, script=["<think>", *WORDS], end=WORDS[0])))


@pytest.fixture
def open_chat(open_page):
    """Opens the page with a single model selected."""

    def open_at(site, **options):
        page = open_page(site, **options)
        page.select_option("#second", "")
        return page

    return open_at


def send(page, text: str) -> None:
    page.fill("#text", text)
    page.click("#send")
    page.locator(".response > .text", has_text="A dog, I say.").last.wait_for()
    page.locator("#send").wait_for()


@pytest.mark.parametrize("width", [1280, 360])
def test_thought_is_folded_before_the_response(tmp_path, model, open_chat, width):
    with serving(tmp_path, {"thinker": model}) as site:
        page = open_chat(site, viewport={"width": width, "height": 780})
        send(page, "Who is it?")
        assert page.locator(".response > .text").inner_text() == "A dog, I say."
        summary = page.locator(".thought summary")
        assert summary.inner_text() == "Thought, 40 words"
        assert not page.locator(".thought .text").is_visible()
        summary.click()
        page.locator(".thought .text p", has_text="step1 step2").wait_for()  # rendered
        assert page.locator(".thought .text").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.reload()
        page.locator(".thought summary", has_text="Thought, 40 words").wait_for()


def test_thought_is_open_while_generated_and_when_cut_off(tmp_path, endless_thinker, open_chat):
    """The model repeats its thought forever, which leaves time to check the page."""
    limits = Limits(slots=1, waiting=1, max_new_tokens=4000)
    with serving(tmp_path, {"thinker": endless_thinker}, limits=limits) as site:
        page = open_chat(site)
        page.click("#settings summary")
        page.fill("#max-tokens", "4000")
        page.fill("#text", "Who is it?")
        page.click("#send")
        page.locator(
            ".thought[open] summary", has_text=re.compile(r"^Thinking, \d+ words")
        ).wait_for()
        page.locator(".thought[open] .text", has_text="step40 step1 step2").wait_for()
        page.click("#stop")
        page.locator(".model-name", has_text="stopped").wait_for()
        page.locator(
            ".thought[open] summary", has_text=re.compile(r"^Thought, \d+ words")
        ).wait_for()
        assert page.locator("text=inspect").count() == 1
        assert (
            page.get_by_role("button", name="good", exact=True).count() == 0
        )  # there is no response to rate


def test_thought_is_exported_stored_and_inspected(tmp_path, model, open_chat):
    folder = tmp_path / "rm"
    save_reward_model(folder, new_reward_model(model.name, seed=0), model.chat, 0.5, 2.0)
    reward_model = RewardModel(folder)
    with serving(tmp_path, {"thinker": model}, reward_model=reward_model) as site:
        page = open_chat(site)
        send(page, "Who is it?")
        page.click("text=good")
        page.get_by_role("button", name="good", exact=True, pressed=True).wait_for()
        with page.expect_download() as download:
            page.click("#export")
        reply = json.loads(download.value.path().read_text())["messages"][1]
        assert reply["reasoning_content"] == "".join(WORDS).strip()
        assert reply["content"] == "A dog, I say."
        page.click("text=inspect")
        page.locator("#pane .tokens button", has_text="</think>").wait_for()
        page.click("[data-tab=why]")
        circles = page.locator("svg[aria-label='reward token by token'] circle")
        circles.first.wait_for()
        page.click("[data-tab=next]")
        page.locator("#pane .tokens button", has_text="step3 ").first.click()
        page.locator("tr.candidate td:first-child", has_text="step3").first.click()
        page.locator("#inspector").wait_for(
            state="hidden"
        )  # the response continues from that token
        page.locator(".thought summary", has_text="Thought, 40 words").wait_for()
        page.locator(".response > .text", has_text="A dog, I say.").wait_for()
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert [row["completion"] for row in rows_of(store, "thumbs").rows] == [WHOLE]
