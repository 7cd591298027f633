"""The chat page in a real browser: its functions, and that it runs no text."""

import json
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.model_pool import Limits
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.browsing import PATIENCE, wait_until
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


def strike(page, key: str, code: str) -> None:
    """A key as a browser reports it on another layout."""
    page.evaluate(
        """(event) => document.body.dispatchEvent(
            new KeyboardEvent("keydown", { ...event, bubbles: true }))""",
        {"key": key, "code": code},
    )


def select_single_model(page, name: str) -> None:
    page.select_option("#first", name)
    page.select_option("#second", "")


def version(page) -> str:
    """`n/N` of the last turn that has versions."""
    return page.locator(".branches span").last.inner_text()


def test_regenerated_and_edited_turns_are_versions(tmp_path, models, open_chat):
    """No text is removed: not by regenerating, not by editing, and not by a server that is away."""
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        send(page, "A cat?")
        first = page.locator(".response .text").inner_text()
        page.fill("#seed", "6")
        page.click("text=regenerate")
        wait_until(lambda: page.locator(".branches").count() == 1)
        assert version(page) == "2/2"
        second = page.locator(".response .text").inner_text()
        assert second not in ("", first)
        page.click("[aria-label='previous version']")
        assert (version(page), page.locator(".response .text").inner_text()) == ("1/2", first)
        send(page, "And a dog?")
        page.click(".turn.user >> nth=0 >> text=edit")
        page.fill(".edit textarea", "A bird?")
        page.keyboard.press("Escape")
        assert page.locator(".turn").count() == 4
        page.click(".turn.user >> nth=0 >> text=edit")
        page.fill(".edit textarea", "A bird?")
        page.keyboard.press("Enter")
        page.locator(".turn.user", has_text="A bird?").wait_for()
        page.locator("#send").wait_for()
        assert page.locator(".turn").count() == 2
        assert version(page) == "2/2"
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.click("[aria-label='previous version']")
        assert page.locator(".turn.user .text").all_inner_texts() == ["A cat?", "And a dog?"]
        assert page.locator(".response .text").first.inner_text() == first
        shown = page.locator(".response .text").all_inner_texts()
    page.click("text=regenerate")  # the server has stopped
    page.locator("#error", has_text="the server does not respond").wait_for()
    assert page.locator(".response .text").all_inner_texts() == shown


def test_system_message_belongs_to_the_turn_it_was_asked_under(tmp_path, models, open_chat):
    """A vote, a thumb, an export and the inspector take it from the turn, not from the field."""
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        page.fill("#system", "Red ball")
        send(page, "A cat?", responses=2)
        page.locator(".note", has_text="System message: Red ball").wait_for()
        page.fill("#system", "Blue box")
        page.click("text=1 is better")
        page.locator(".response.chosen").wait_for()
        page.evaluate("sessionStorage.removeItem('rlhf-field-system')")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.input_value("#system") == ""
        page.locator("[aria-label='thumb up']").first.click()
        page.locator("[aria-label='thumb up'][aria-pressed=true]").wait_for()
        page.locator("text=inspect").first.click()
        page.locator(".tokens .prompt").first.wait_for()
        prompt = "".join(page.locator(".tokens .prompt").all_inner_texts())
        assert "ball" in prompt
        page.click("#close")
        with page.expect_download() as download:
            page.click("#export")
        row = json.loads(Path(download.value.path()).read_text())
        send(page, "And a dog?", responses=2)
        page.locator(".note", has_text="No system message from here on").wait_for()
        with LabelStore(site.store) as store:
            [vote] = rows_of(store, "rankings").rows
            [thumb] = rows_of(store, "thumbs").rows
    asked = [
        {"role": "system", "content": "Red ball"},
        {"role": "user", "content": "A cat?"},
    ]
    assert vote["prompt"] == thumb["prompt"] == row["messages"][:2] == asked


def test_settings_and_draft_survive_a_reload(tmp_path, models, open_chat):
    fields = {"#seed": "7", "#max-tokens": "9", "#system": "Be kind.", "#text": "half a ques"}
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        page.check("#blind")
        page.select_option("#second", "one")
        page.locator("#temperature").fill("1.5")
        for field, value in fields.items():
            page.fill(field, value)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert {field: page.input_value(field) for field in fields} == fields
        assert page.is_checked("#blind")
        assert page.input_value("#second") == "one"
        assert page.locator("#temperature-value").text_content() == "1.50"


def test_conversations_are_kept_found_renamed_exported_and_deleted(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        select_single_model(page, "one")
        send(page, "A cat?")
        first = page.locator(".response .text").inner_text()
        page.click("#new")
        wait_until(lambda: page.locator(".turn").count() == 0)
        send(page, "Where is the red ball?")
        other = page.context.new_page()  # the first tab's conversation is not open here
        other.goto(site.address)
        other.wait_for_selector("body[data-ready]")
        assert other.locator(".turn").count() == 0
        titles = other.locator("#conversations .title")
        assert titles.all_inner_texts() == ["Where is the red ball?", "A cat?"]
        other.fill("#search", "CAT")
        other.locator("#conversations li:only-child .title", has_text="A cat?").wait_for()
        titles.first.click()
        other.locator(".response .text", has_text=first[:20]).wait_for()
        assert other.locator(".turn").count() == 2
        other.click("text=rename")
        other.fill("#conversations input", "Animals")
        other.keyboard.press("Enter")
        other.fill("#search", "animals")
        other.locator("#conversations li:only-child .title", has_text="Animals").wait_for()
        with other.expect_download() as download:
            other.click("#conversations >> text=export")
        row = json.loads(Path(download.value.path()).read_text())
        assert [turn["content"] for turn in row["messages"]] == ["A cat?", first]
        other.click("#conversations >> text=delete")
        assert titles.count() == 1
        other.click("#conversations >> text=really delete?")
        other.locator("#no-conversations", has_text="No conversation has this text").wait_for()
        assert other.locator(".turn").count() == 0
        other.fill("#search", "")
        other.locator("#conversations .title", has_text="red ball").wait_for()


def test_without_history_a_new_chat_asks_first(tmp_path, models, open_chat):
    with serving(tmp_path, models, limits=LIMITS, with_history=False) as site:
        page = open_chat(site)
        assert not page.locator("#menu").is_visible()
        select_single_model(page, "one")
        send(page, "A cat?")
        page.click("#new")
        assert page.locator(".turn").count() == 2
        page.click("text=Really discard")
        wait_until(lambda: page.locator(".turn").count() == 0)


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
        assert [text.split(" · ")[0] for text in labels] == ["1", "2"]
        assert "one" not in page.locator("main").inner_text()
        assert page.locator("text=inspect").count() == 0  # the inspector shows the model's name
        page.click("text=2 is better")
        page.locator(".response.chosen").wait_for()
        titles = [text.split(" · ")[0] for text in page.locator(".model-name").all_inner_texts()]
        assert sorted(title.split()[1] for title in titles) == ["one", "two"]
        assert [title.split()[0] for title in titles] == ["1", "2"]
        page.locator("[aria-label='thumb down']").first.click()
        page.locator("[aria-label='thumb down'][aria-pressed=true]").wait_for()
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
