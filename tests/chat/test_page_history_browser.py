"""What the chat page keeps, in a real browser: versions, conversations, settings."""

import json
from pathlib import Path

import pytest

from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from tests.browsing import wait_until
from tests.chat.chat_server import serving
from tests.chat.page import LIMITS, select_single_model, send

pytestmark = [pytest.mark.slow, pytest.mark.browser]


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
        page.get_by_role("button", name="good", exact=True).first.click()
        page.get_by_role("button", name="good", exact=True, pressed=True).wait_for()
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


def test_fields_of_the_settings_do_not_overlap(tmp_path, models, open_chat):
    """Also where the browser's text fields are wider than a column, as with larger text."""
    with serving(tmp_path, models, limits=LIMITS) as site:
        page = open_chat(site)
        page.locator(".settings").evaluate("node => { node.style.fontSize = '20px'; }")
        ends = page.locator(".settings input:not([type=range])").evaluate_all(
            """(nodes) => nodes.map((node) => [node.getBoundingClientRect().right,
                node.parentElement.getBoundingClientRect().right])"""
        )
        assert len(ends) == 3
        assert all(field <= column + 1 for field, column in ends), ends


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
        assert not other.locator("#model-info").is_visible()
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
        assert other.locator("#model-info").is_visible()
        other.click("#new")  # ends the search, so that the list has the new conversation
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
