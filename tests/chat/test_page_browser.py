"""The chat page in a real browser: what a person does there, and what it refuses to run."""

import json
import re
import shutil
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
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
]
PATIENCE = 120_000  # milliseconds: the browser shares its cores with other tests
LIMITS = Limits(slots=4, waiting=8, max_new_tokens=50_000)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


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
def reward(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "rm"
    model = models["one"]
    save_reward_model(folder, new_reward_model(model.name, seed=0), model.chat, 0.5, 2.0)
    return RewardModel(folder)


@pytest.fixture
def open_page(browser):
    """Open the page; the test fails on any error, dialog, or request to somebody else."""
    contexts, problems = [], []

    def open_at(site, **how):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text)
                if message.type == "error" and not message.text.startswith("Failed to load")
                else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((site.address, "blob:"))
                else problems.append(request.url)
            ),
        )
        page.goto(site.address)
        page.wait_for_selector("body[data-ready]")
        page.click("#settings summary")
        page.fill("#longest", "12")
        page.fill("#seed", "5")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert problems == []


def ask(page, text: str, answers: int = 1) -> None:
    """Send a text and wait until everything is written."""
    before = page.locator(".turn.assistant").count()
    page.fill("#text", text)
    page.keyboard.press("Enter")
    page.locator(f".turn.assistant >> nth={before}").wait_for()
    page.locator("#send").wait_for()
    assert page.locator(".turn.assistant").last.locator(".answer").count() == answers


def until(holds) -> None:
    """Wait for what no locator says. The page's policy lets the browser evaluate no text."""
    end = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def only(page, name: str) -> None:
    page.select_option("#first", name)
    page.select_option("#second", "")


def test_ask_regenerate_edit_and_export(tmp_path, models, open_page):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_page(site)
        only(page, "one")
        ask(page, "A cat?")
        first = page.locator(".answer .text").inner_text()
        assert first
        page.fill("#seed", "6")
        page.click("text=regenerate")
        until(lambda: page.locator(".answer .text").inner_text() not in ("", first))
        page.locator("#send").wait_for()
        page.click(".turn.user >> text=edit")
        assert page.input_value("#text") == "A cat?"
        assert page.locator(".turn").count() == 0
        page.fill("#seed", "5")
        ask(page, "A cat?")
        assert page.locator(".answer .text").inner_text() == first
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".answer .text").inner_text() == first
        with page.expect_download() as download:
            page.click("#export")
        row = json.loads(Path(download.value.path()).read_text())
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert row["messages"][0]["content"] == "A cat?"


def test_stop_ends_the_answer_and_frees_its_place(tmp_path, models, open_page):
    endless = {
        name: replace(model, chat=replace(model.chat, eos_token_ids=()))
        for name, model in models.items()
    }
    with serving(tmp_path, endless, limits=LIMITS) as site:
        page = open_page(site)
        only(page, "one")
        page.fill("#longest", "50000")
        page.fill("#text", "A cat?")
        page.click("#send")
        until(lambda: len(page.locator(".answer .text").inner_text()) > 40)
        page.click("#stop")
        page.locator(".who", has_text="stopped").wait_for()
        assert site.settle() == (0, 0)
        assert len(page.locator(".answer .text").inner_text()) > 20


def test_a_blind_vote_hides_names_and_goes_to_the_store(tmp_path, models, open_page):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_page(site)
        page.check("#blind")
        ask(page, "A cat?", answers=2)
        shown = page.locator(".who").all_inner_texts()
        assert [re.sub(" .*", "", text) for text in shown] == ["1", "2"]
        assert "one" not in page.locator("main").inner_text()
        assert page.locator("text=look inside").count() == 0  # there stands whose it is
        page.click("text=2 is better")
        page.locator(".answer.chosen").wait_for()
        revealed = {re.sub(" .*", "", text) for text in page.locator(".who").all_inner_texts()}
        assert revealed == {"one", "two"}
        page.locator("[aria-label='thumb down']").first.click()
        page.locator("[aria-label='thumb down'][aria-pressed=true]").wait_for()
        texts = page.locator(".answer .text").all_inner_texts()
        ask(page, "And a dog?", answers=2)  # which goes on with the better answer
        with LabelStore(site.store) as store:
            [row] = rows_of(store, "rankings").rows
            [mark] = rows_of(store, "thumbs").rows
        assert row["ranks"] == [2, 1]
        assert row["extra"]["blind"] is True
        assert set(row["models"]) == {model.name for model in models.values()}
        assert mark["label"] is False
        assert mark["completion"] == row["responses"][0]
        assert len(texts) == 2
        page.click("text=1 is better >> nth=0")  # of the turn that has been gone on from
        page.locator(".turn >> nth=1 >> [aria-pressed=true]", has_text="1 is better").wait_for()
        assert page.locator(".answer.chosen").get_attribute("data-n") == "1"


def test_inside_an_answer(tmp_path, models, reward, open_page):
    with serving(tmp_path, models, limits=LIMITS, reward=reward) as site:
        page = open_page(site)
        only(page, "one")
        ask(page, "A cat?")
        before = page.locator(".answer .text").inner_text()
        page.locator(".who", has_text=re.compile(r"reward -?\d+\.\d\d$")).wait_for()
        page.click("text=look inside")
        page.locator(".cut .prompt", has_text="<|eot_id|>").first.wait_for()
        page.click("[data-tab=next]")
        page.locator("tr.pick").first.wait_for()
        page.locator("#pane .cut button").nth(2).click()
        page.locator("#pane .cut button[aria-pressed=true]").wait_for()
        slider = page.locator("#pane input[type=range]").first
        slider.fill("0")  # the likeliest has everything, live
        page.locator("tr.pick:first-child td:nth-child(4)", has_text="1.000").wait_for()
        page.click("summary:has-text('All positions')")
        page.locator("#pane details tbody tr").first.wait_for()
        tokens = page.locator("#pane .cut button").count()
        assert page.locator("#pane details tbody tr").count() == tokens
        page.locator("tr.pick").nth(3).click()  # go on from another token
        page.locator("tr.pick").first.wait_for(state="hidden")
        until(lambda: page.locator(".answer .text").inner_text() not in ("", before))
        page.locator("#send").wait_for()
        page.click("text=look inside")
        page.click("[data-tab=why]")
        page.locator("th", has_text="KL from two").wait_for()
        page.locator("svg[aria-label='reward token by token'] circle").first.wait_for()
        page.click("[data-tab=space]")
        page.locator("svg .way").wait_for()
        page.fill("#pane textarea", "A dog?\nWhere is the ball?\nPlease")
        page.click("text=Lay out")
        page.locator(".legend", has_text="4 prompts").wait_for()


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_page_light_or_dark(tmp_path, models, open_page, width):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_page(site, viewport={"width": width, "height": 780})
        ask(page, "A cat? " * 30 + "x" * 300, answers=2)
        page.locator("text=look inside").first.click()
        page.locator(".cut .prompt").first.wait_for()
        for tab in ("tokens", "next", "why", "space"):
            page.click(f"[data-tab={tab}]")
            page.locator(f"[data-tab={tab}][aria-selected=true]").wait_for()
            if tab == "next":
                page.click("summary:has-text('All positions')")
                page.locator("#pane details tbody tr").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("#close")
        was = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != was


def test_text_of_people_and_models_runs_nothing(tmp_path, models, open_page, root):
    """Every payload as a question, and as an answer that a model is made to have given."""
    payloads = (root / "tests" / "labels" / "xss.txt").read_text().splitlines()
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_page(site)
        only(page, "one")
        talk = []
        for payload in payloads:
            answer = {"model": "one", "shown": payload, "text": payload, "finish": "stop"}
            talk += [
                {"role": "user", "content": payload},
                {"role": "assistant", "chosen": 0, "vote": "", "answers": [answer]},
            ]
        talk[-1]["answers"][0]["shown"] = "one"  # whose names are hidden are not looked into
        page.evaluate("talk => sessionStorage.setItem('rlhf-talk', JSON.stringify(talk))", talk)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        until(lambda: page.locator(".answer .text.plain").count() == 0)
        assert page.locator(".turn").count() == 2 * len(payloads)
        assert page.evaluate("window.hacked") is None
        assert page.locator("#talk script, #talk img, #talk iframe, #talk form").count() == 0
        page.locator("text=look inside").last.click()
        page.locator(".cut .prompt").first.wait_for()
        assert page.evaluate("window.hacked") is None


def test_a_server_that_goes_away_is_said(tmp_path, models, open_page):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_page(site)
        only(page, "one")
    page.fill("#text", "A cat?")
    page.click("#send")
    page.locator("#problem", has_text="the server does not answer").wait_for()
    assert page.input_value("#text") == "A cat?"


def test_a_link_with_the_token_opens_the_page_and_hides_it_again(tmp_path, models, browser):
    with serving(tmp_path, models, limits=LIMITS, token="t0ken-of-sixteen") as site:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(site.address)
        page.locator("#problem", has_text="no or a wrong token").wait_for()
        page.goto(f"{site.address}/?again#t0ken-of-sixteen")
        page.wait_for_selector("body[data-ready]")
        assert page.url == f"{site.address}/"
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.close()
