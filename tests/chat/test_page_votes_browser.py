"""Votes, shortcuts and the inspector of the chat page in a real browser."""

import json
import re
from pathlib import Path

import pytest

from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.browsing import PATIENCE, strike, wait_until
from tests.chat.chat_server import serving
from tests.chat.page import LIMITS, select_single_model, send

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def reward_model(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "rm"
    model = models["one"]
    save_reward_model(folder, new_reward_model(model.name, seed=0), model.chat, 0.5, 2.0)
    return RewardModel(folder)


def test_keyboard_shortcuts(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        send(page, "A cat?", responses=2)
        page.keyboard.press("Escape")  # leaves the text box
        page.keyboard.press("?")
        page.locator("#shortcuts[open] dt", has_text="Enter").first.wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("2")
        page.locator(".response.chosen[data-n='1']").wait_for()
        page.keyboard.press("=")
        page.locator("[aria-pressed=true]", has_text="tie").wait_for()
        assert page.locator(".response.chosen").count() == 0
        page.keyboard.press("d")
        page.locator("[aria-pressed=true]", has_text="differences").wait_for()
        assert page.evaluate("CSS.highlights.get('difference').size") > 0
        page.keyboard.press("r")
        page.locator(".branches", has_text="2/2").wait_for()
        page.keyboard.press("[")
        page.locator(".branches", has_text="1/2").wait_for()
        page.keyboard.press("e")
        page.locator(".edit textarea:focus").wait_for()
        page.keyboard.press("Escape")
        strike(page, "&", "Digit1")  # 1 without Shift on a French keyboard
        page.locator(".response.chosen[data-n='0']").wait_for()
        strike(page, "ъ", "BracketRight")  # Russian
        page.locator(".branches", has_text="2/2").wait_for()
        strike(page, "ν", "KeyN")  # Greek
        wait_until(lambda: page.locator(".turn").count() == 0)


def test_voter_of_a_shared_page_gives_a_name(tmp_path, models, browser):
    with serving(tmp_path, models, limits=LIMITS, token="t0ken-of-sixteen") as site:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{site.address}/#t0ken-of-sixteen")
        page.wait_for_selector("body[data-ready]")
        page.click("#settings summary")
        page.fill("#max-tokens", "12")
        page.click("#settings summary")
        send(page, "A cat?", responses=2)
        page.click("text=1 is better")
        page.locator("#error", has_text="enter your name").wait_for()
        page.keyboard.type("Eve")
        page.click("text=1 is better")
        page.locator(".response.chosen").wait_for()
        with LabelStore(site.store) as store:
            assert [label.annotator for label in store.labels()] == ["Eve"]
        page.close()


def test_blind_vote_hides_names_and_is_stored(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        page.check("#blind")
        send(page, "A cat?", responses=2)
        labels = page.locator(".model-name").all_inner_texts()
        assert [text.split(" · ")[0] for text in labels] == ["1", "2"]
        assert "one" not in page.locator("main").inner_text()
        assert page.locator("text=inspect").count() == 0  # the inspector shows the model's name
        page.click("text=2 is better")
        page.locator(".response.chosen").wait_for()
        titles = [text.split(" · ")[0] for text in page.locator(".model-name").all_inner_texts()]
        assert sorted(title.split()[1] for title in titles) == ["one", "two"]
        assert [title.split()[0] for title in titles] == ["1", "2"]
        page.get_by_role("button", name="poor", exact=True).first.click()
        page.get_by_role("button", name="poor", exact=True, pressed=True).wait_for()
        texts = page.locator(".response .text").all_inner_texts()
        send(page, "And a dog?", responses=2)  # continues with the better response
        with LabelStore(site.store) as store:
            [row] = rows_of(store, "rankings").rows
            [mark] = rows_of(store, "thumbs").rows
        assert row["ranks"] == [2, 1]
        assert row["extra"]["blind"] is True
        assert set(row["models"]) == {Path(model.name).name for model in models.values()}
        assert mark["label"] is False
        assert mark["completion"] == row["responses"][0]
        assert len(texts) == 2
        page.click("text=1 is better >> nth=0")  # of the first turn, which has a next one
        page.locator(".turn >> nth=1 >> .response.chosen[data-n='0']").wait_for()
        with page.expect_download() as download:  # the second prompt continues response 2
            page.click("#export")
        exported = json.loads(Path(download.value.path()).read_text())["messages"]
        assert exported[1]["content"] == row["responses"][1]


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
        page.locator(".model-name", has_text="steered").wait_for()
        page.locator(".branches", has_text="2/2").wait_for()
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
