"""The arena in a real browser: a battle from the question to the leaderboard, and hostile texts."""

import pytest

from rlhf.chat.arena.config import ArenaConfig
from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from tests.chat.arena_server import serving_arena
from tests.chat.scripted_model import make_scripted

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HOSTILE = [
    '<img src=x onerror="document.title=1">',
    "<script>alert(1)</script>",
    " [x](javascript:a)",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`alpha` answers with a dog, `beta` with hostile HTML."""
    folder = tmp_path_factory.mktemp("models")
    alpha = make_scripted(folder / "alpha", script=["A **dog**", ", I say."])
    beta = make_scripted(folder / "beta", script=HOSTILE)
    return {"alpha": load_chat_model(str(alpha)), "beta": load_chat_model(str(beta))}


def test_a_visitor_asks_reads_votes_and_sees_the_names(tmp_path, models, open_page):
    with serving_arena(tmp_path, models) as arena:
        page = open_page(arena)
        page.fill("#text", "Which animal? <b>one</b>")
        page.keyboard.press("Enter")
        page.locator("#battle").wait_for()
        better = page.locator("[data-vote='1']")
        page.locator("#status", has_text="Which answer is better?").wait_for()
        assert better.is_enabled()
        assert page.locator("#question").inner_text() == "Which animal? <b>one</b>"
        names = page.locator(".model-name").all_inner_texts()
        assert names == ["Left", "Right"]
        assert "alpha" not in page.locator("#battle").inner_text()
        assert page.locator("#battle strong").inner_text() == "dog"
        assert page.locator("#battle :is(img, script, b, a[href^='javascript'])").count() == 0
        assert "onerror" in page.locator("#battle").inner_text()  # as text
        better.click()
        page.locator("#status", has_text="Your vote counts").wait_for()
        names = page.locator(".model-name").all_inner_texts()
        assert {name.split(": ")[1] for name in names} == {"alpha", "beta"}
        assert better.get_attribute("aria-pressed") == "true"
        assert better.is_disabled()
        page.fill("#text", "which animal?  <B>one</B>")
        page.click("#send")
        page.locator("#status", has_text="Which answer is better?").wait_for()
        page.click("[data-vote='bad']")
        page.locator("#status", has_text="does not count").wait_for()
        page.click("text=Leaderboard")
        page.wait_for_selector("body[data-ready]")
        assert "Counted votes: 1." in page.locator("main").inner_text()
        winner = page.locator(".board").first.locator("tbody tr").first.inner_text()
        assert names[0].split(": ")[1] in winner
        page.click("text=Rules")
        page.locator("#rules", has_text="The same address has voted").wait_for()
        assert page.title() == "Leaderboard"
        [first, second] = arena.store.labels()
        assert (list(first.ranks), first.purpose) == ([1, 2], "label")
        assert (list(second.ranks), second.purpose) == ([1, 1], "discounted")


def test_an_error_is_shown_and_the_question_stays(tmp_path, models, open_page):
    with serving_arena(tmp_path, models) as arena:
        page = open_page(arena)
    page.fill("#text", "Which animal?")  # the server has stopped
    page.click("#send")
    page.locator("#error", has_text="the server does not respond").wait_for()
    assert page.locator("#text").input_value() == "Which animal?"
    assert page.locator("#battle").is_hidden()


def test_the_page_fits_a_phone_and_stops_a_running_answer(tmp_path, models, open_page):
    endless = {
        name: load_chat_model(str(make_scripted(tmp_path / name, script=["ha ", "ho "], end="ha ")))
        for name in ("alpha", "beta")
    }
    config = ArenaConfig(limits=Limits(max_new_tokens=4000))
    with serving_arena(tmp_path, endless, config) as arena:
        page = open_page(arena, viewport={"width": 360, "height": 740})
        page.fill("#text", "Laugh")
        page.keyboard.press("Enter")
        page.locator("#answer-1", has_text="ha ho").wait_for()
        assert page.locator("[data-vote='1']").is_disabled()
        width = page.locator("html").evaluate("one => one.scrollWidth")
        assert width <= 360
        page.click("#stop")
        page.locator("#send").wait_for()
        assert page.locator("#battle").is_hidden()
        assert page.locator("#text").input_value() == "Laugh"
