"""The chat page in a real browser: its functions, and that it runs no text."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.model_pool import Limits
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.browsing import PATIENCE
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

pytestmark = [pytest.mark.slow, pytest.mark.browser]
LIMITS = Limits(slots=4, waiting=8, max_new_tokens=50_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    loaded = [load_chat_model(str(make_model(folder / name))) for name in ("one", "two")]
    loaded[1] = load_chat_model(str(make_model(folder / "other", seed=1)))
    return {
        name: replace(model, positions=100_000)
        for name, model in zip(("one", "two"), loaded, strict=True)
    }


@pytest.fixture(scope="module")
def reward_model(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "rm"
    model = models["one"]
    save_reward_model(folder, new_reward_model(model.name, seed=0), model.chat, 0.5, 2.0)
    return RewardModel(folder)


@pytest.fixture
def open_chat(open_page):
    """Opens the page with short responses and a fixed seed."""

    def open_at(site, **options):
        page = open_page(site, **options)
        page.click("#settings summary")
        page.fill("#max-tokens", "12")
        page.fill("#seed", "5")
        return page

    return open_at


def send(page, text: str, responses: int = 1) -> None:
    """Send a text and wait until all responses are complete."""
    before = page.locator(".turn.assistant").count()
    page.fill("#text", text)
    page.keyboard.press("Enter")
    page.locator(f".turn.assistant >> nth={before}").wait_for()
    page.locator("#send").wait_for()
    assert page.locator(".turn.assistant").last.locator(".response").count() == responses


def wait_until(condition) -> None:
    """Wait for a condition that is not a locator; the page's policy forbids evaluating strings."""
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def select_single_model(page, name: str) -> None:
    page.select_option("#first", name)
    page.select_option("#second", "")


def test_send_regenerate_edit_and_export(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        send(page, "A cat?")
        first = page.locator(".response .text").inner_text()
        assert first
        page.fill("#seed", "6")
        page.click("text=regenerate")
        wait_until(lambda: page.locator(".response .text").inner_text() not in ("", first))
        page.locator("#send").wait_for()
        page.click(".turn.user >> text=edit")
        assert page.input_value("#text") == "A cat?"
        assert page.locator(".turn").count() == 0
        page.fill("#seed", "5")
        send(page, "A cat?")
        assert page.locator(".response .text").inner_text() == first
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".response .text").inner_text() == first
        with page.expect_download() as download:
            page.click("#export")
        row = json.loads(Path(download.value.path()).read_text())
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert row["messages"][0]["content"] == "A cat?"


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


def test_blind_vote_hides_names_and_is_stored(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        page.check("#blind")
        send(page, "A cat?", responses=2)
        labels = page.locator(".model-name").all_inner_texts()
        assert [re.sub(" .*", "", text) for text in labels] == ["1", "2"]
        assert "one" not in page.locator("main").inner_text()
        assert page.locator("text=inspect").count() == 0  # the inspector shows the model's name
        page.click("text=2 is better")
        page.locator(".response.chosen").wait_for()
        revealed = {
            re.sub(" .*", "", text) for text in page.locator(".model-name").all_inner_texts()
        }
        assert revealed == {"one", "two"}
        page.locator("[aria-label='thumb down']").first.click()
        page.locator("[aria-label='thumb down'][aria-pressed=true]").wait_for()
        texts = page.locator(".response .text").all_inner_texts()
        send(page, "And a dog?", responses=2)  # continues with the better response
        with LabelStore(site.store) as store:
            [row] = rows_of(store, "rankings").rows
            [mark] = rows_of(store, "thumbs").rows
        assert row["ranks"] == [2, 1]
        assert row["extra"]["blind"] is True
        assert set(row["models"]) == {model.name for model in models.values()}
        assert mark["label"] is False
        assert mark["completion"] == row["responses"][0]
        assert len(texts) == 2
        page.click("text=1 is better >> nth=0")  # of the first turn, which has a next one
        page.locator(".turn >> nth=1 >> [aria-pressed=true]", has_text="1 is better").wait_for()
        assert page.locator(".response.chosen").get_attribute("data-n") == "1"


def test_inspect_a_response(tmp_path, models, reward_model, open_chat):
    with serving(tmp_path, models, limits=LIMITS, reward_model=reward_model) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        send(page, "A cat?")
        before = page.locator(".response .text").inner_text()
        page.locator(".model-name", has_text=re.compile(r"reward -?\d+\.\d\d$")).wait_for()
        page.click("text=inspect")
        page.locator(".tokens .prompt", has_text="<|eot_id|>").first.wait_for()
        page.click("[data-tab=next]")
        page.locator("tr.candidate").first.wait_for()
        page.locator("#pane .tokens button").nth(2).click()
        page.locator("#pane .tokens button:nth-child(3)[aria-pressed=true]").wait_for()
        slider = page.locator("#pane input[type=range]").first
        slider.fill("0")  # the likeliest token gets probability 1
        page.locator("tr.candidate:first-child td:nth-child(4)", has_text="1.000").wait_for()
        page.click("summary:has-text('All positions')")
        page.locator("#pane details tbody tr").first.wait_for()
        tokens = page.locator("#pane .tokens button").count()
        assert page.locator("#pane details tbody tr").count() == tokens
        page.locator("tr.candidate").nth(3).click()  # continue from another token
        page.locator("tr.candidate").first.wait_for(state="hidden")
        wait_until(lambda: page.locator(".response .text").inner_text() not in ("", before))
        page.locator("#send").wait_for()
        page.click("text=inspect")
        page.click("[data-tab=why]")
        page.locator("th", has_text="KL from two").wait_for()
        page.locator("svg[aria-label='reward token by token'] circle").first.wait_for()
        page.click("[data-tab=space]")
        page.locator("svg .path").wait_for()
        page.fill("#pane textarea", "A dog?\nWhere is the ball?\nPlease")
        page.click("text=Draw map")
        page.locator(".legend", has_text="4 prompts").wait_for()


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


def test_texts_of_users_and_models_are_not_executed(tmp_path, models, open_chat, root):
    """Every payload is shown as a prompt and as the response of a model."""
    payloads = (root / "tests" / "labels" / "xss.txt").read_text().splitlines()
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        turns = []
        for payload in payloads:
            response = {"model": "one", "label": payload, "text": payload, "finish": "stop"}
            turns += [
                {"role": "user", "content": payload},
                {"role": "assistant", "chosen": 0, "vote": "", "responses": [response]},
            ]
        turns[-1]["responses"][0]["label"] = "one"  # with a hidden name it could not be inspected
        page.evaluate(
            "turns => sessionStorage.setItem('rlhf-conversation', JSON.stringify(turns))", turns
        )
        page.reload()
        page.wait_for_selector("body[data-ready]")
        wait_until(lambda: page.locator(".response .text.plain").count() == 0)
        assert page.locator(".turn").count() == 2 * len(payloads)
        assert page.evaluate("window.hacked") is None
        assert (
            page.locator(
                "#conversation script, #conversation img, #conversation iframe, #conversation form"
            ).count()
            == 0
        )
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
