"""The label page in a real browser: skips, guideline, time, keys on other layouts, theme."""

import pytest

from rlhf.labels.records import Candidate
from tests.browsing import done, press, strike, wait_until
from tests.labels.page import PAIRS, PHONE, focused
from tests.labels.web_server import candidates, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_typed_response_survives_a_skip(tmp_path, open_page):
    with serving(tmp_path, candidates(2)) as site:
        page = open_page(site, "ann")
        press(page, "s")
        assert not page.locator("#skip-note").is_visible()
        press(page, "Escape", "w")
        page.keyboard.type("typed at length")
        press(page, "Escape", "s")
        page.locator("#skip-note", has_text="Undo").wait_for()
        page.fill("#skip-comment", "why")
        comment, reasons = page.locator("#skip-comment"), page.locator("#reasons button")
        assert comment.bounding_box()["y"] < reasons.first.bounding_box()["y"]  # these submit
        reasons.nth(3).click()
        page.locator("#conversation", has_text="prompt 1").wait_for()
        press(page, "u")
        page.locator("#conversation", has_text="prompt 0").wait_for()
        assert page.locator("#rewrite").input_value() == "typed at length"
        press(page, "s")
        assert page.locator("#skip-comment").input_value() == "why"
        press(page, "4")  # the focus is on the reasons, where digits are reasons
        page.locator("#conversation", has_text="prompt 1").wait_for()
        assert site.store.count_events() == {"skip": 1, "undo": 1}


def test_skip_waits_until_a_label_has_arrived(tmp_path, open_page):
    """On a slow line a dialog that was opened for the first item would skip the second one."""
    held = []
    with serving(tmp_path, PAIRS) as site:
        page = open_page(site, "ann")
        page.route("**/api/submit", lambda route: held.append(route))
        press(page, "1", "Enter")
        wait_until(lambda: held or page.wait_for_timeout(20))
        press(page, "s")
        held[0].continue_()
        done(page, 1)
        assert not page.locator("#skip-dialog").is_visible()
        press(page, "s")
        page.locator("#skip-dialog").wait_for()


def test_guideline_opens_at_its_beginning_until_it_is_confirmed(tmp_path, open_page):
    text = "\n\n".join(f"Rule {i}: be careful." for i in range(1, 61))
    with serving(tmp_path, candidates(1)) as site:
        site.store.add_guideline(text)
        page = open_page(site, "ann")
        page.locator("#guideline[open]").wait_for()
        top = "() => document.getElementById('guideline').scrollTop"
        assert page.evaluate(top) == 0
        assert page.evaluate("() => document.activeElement.id") == "guideline-text"
        press(page, "ArrowDown", "ArrowDown")
        page.wait_for_function(f"() => ({top})() > 0")
        press(page, "Escape")
        page.reload()
        page.locator("#guideline[open]").wait_for()  # it was closed, not confirmed
        page.get_by_role("button", name="I have read it").click()
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#guideline[open]").count() == 0
        press(page, "g")
        page.get_by_role("button", name="Close").click()


def test_time_goes_on_after_a_reload(tmp_path, open_page):
    with serving(tmp_path, PAIRS) as site:
        page = open_page(site, "ann")
        page.wait_for_timeout(1500)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        press(page, "1", "Enter")
        done(page, 1)
        [label] = site.store.labels()
        assert label.seconds > 1.5
        press(page, "u")
        page.locator("#conversation", has_text="p0").wait_for()
        press(page, "2", "Enter")
        done(page, 1)
        assert site.store.labels()[0].seconds > label.seconds


def test_link_pasted_into_the_open_login_page_logs_in(tmp_path, window):
    with serving(tmp_path, PAIRS) as site:
        page = window().page()
        page.goto(f"{site.address}/login")
        page.evaluate("(token) => { location.hash = token; }", site.token("ann"))
        page.wait_for_function("() => document.getElementById('token').value !== ''")
        page.click("button.primary")
        page.wait_for_selector("body[data-ready]")


def test_login_page_tells_that_the_server_is_away(tmp_path, window):
    with serving(tmp_path, PAIRS) as site:
        page = window().page()
        page.goto(f"{site.address}/login")
    page.fill("#token", "any")
    page.click("button.primary")
    page.locator("#login-error", has_text="does not respond").wait_for()


def test_keys_work_on_other_layouts_and_can_be_changed(tmp_path, open_page):
    """French digits without Shift, Russian and Hebrew letters by their place."""
    with serving(tmp_path, PAIRS) as site:
        page = open_page(site, "ann")
        strike(page, "é", "Digit2")
        page.locator("#status", has_text="A is clearly better").wait_for()
        strike(page, "(", "Digit5", shiftKey=True)
        page.locator("#status", has_text="B is slightly better").wait_for()
        strike(page, "и", "KeyB")
        page.locator("#status", has_text="both bad").wait_for()
        strike(page, "ב", "KeyC")
        page.locator("#comment-box[open]").wait_for()
        press(page, "Escape")
        strike(page, "'", "KeyW")  # a sign on the letter's place, on a Hebrew keyboard
        page.locator("#rewrite-box[open]").wait_for()
        press(page, "Escape", "?")
        name = "{} change the key of: skip, with a reason"
        page.get_by_role("button", name=name.format("s"), exact=True).click()
        press(page, "u")  # was undo, which gets s in exchange
        page.get_by_role("button", name=name.format("u"), exact=True).wait_for()
        press(page, "Escape")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#skip kbd").inner_text() == "u"
        assert page.locator("#undo kbd").inner_text() == "s"
        press(page, "u")
        page.locator("#skip-dialog[open]").wait_for()
        press(page, "Escape", "?")
        page.get_by_role("button", name="Reset the keys").click()
        press(page, "Escape", "s")
        page.locator("#skip-dialog[open]").wait_for()


def test_digit_in_the_overall_rating_does_not_rank(tmp_path, open_page):
    with serving(tmp_path, candidates(1)) as site:
        page = open_page(site, "ann")
        press(page, "o", "7")
        assert focused(page) == "card"
        press(page, "o", "Escape", "4", "3", "2", "1", "c")
        page.keyboard.type("done")
        press(page, "Control+Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        [label] = site.store.labels()
        assert [label.ranks[i] for i in label.order_shown] == [4, 3, 2, 1]
        assert [label.extra["overall"][i] for i in label.order_shown] == [7, None, None, None]


def test_better_response_starts_from_another_and_all_can_be_bad(tmp_path, open_page):
    with serving(tmp_path, candidates(2)) as site:
        page = open_page(site, "ann")
        shown = [text.strip() for text in page.locator(".card .text").all_inner_texts()]
        press(page, "j", "e")  # from B
        assert page.locator("#rewrite").input_value() == shown[1]
        page.keyboard.type(" and more")
        press(page, "Escape")
        page.get_by_role("button", name="Start from response A").click()
        assert page.locator("#rewrite").input_value() == shown[0]
        press(page, "Control+z")
        assert page.locator("#rewrite").input_value() == f"{shown[1]} and more"
        press(page, "Escape", "b", "Enter")
        done(page, 1)
        [label] = site.store.labels()
        assert (list(label.ranks), label.extra["all_bad"]) == ([1, 1, 1, 1], True)


def test_copies_of_a_text_share_their_rank(tmp_path, open_page):
    items = [
        Candidate(prompt="p0", responses=("x", "x ")),
        Candidate(prompt="p1", responses=("x", "\u200b", "x ")),
    ]
    with serving(tmp_path, items) as site:
        page = open_page(site, "ann")
        page.locator(".card .same", has_text="the same text as A").wait_for()
        press(page, "1")
        page.locator("#status", has_text="the same text").wait_for()
        press(page, "Enter")
        done(page, 1)
        assert page.get_by_text("(empty)").count() == 1
        copies = page.locator(".card .same")
        assert copies.count() == 1
        card = page.locator(".card", has=page.locator(".same"))
        index = int(card.get_attribute("data-index"))
        card.locator("input[value='2']").first.check()
        assert page.locator(".slot[data-tier='2'] .chip").count() == 2
        checked = [page.locator(f"input[name=tier-{i}]:checked").count() for i in range(3)]
        other = checked.index(0)
        page.locator(f"input[name=tier-{other}][value='1']").check()
        press(page, "Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        equal, label = site.store.labels()
        assert (list(equal.ranks), equal.strength) == ([1, 1], 1.0)
        assert sorted(label.ranks) == [1, 2, 2]
        assert other != index


def test_long_talk_folds_its_earlier_turns(tmp_path, open_page):
    turns = [
        {"role": role, "content": f"{role} {i}. " + "words " * 60}
        for i in range(5)
        for role in ("user", "assistant")
    ]
    talk = [{"role": "system", "content": "Be brief."}, *turns[:-1]]
    with serving(tmp_path, [Candidate(prompt=talk, responses=("yes", "no"))]) as site:
        page = open_page(site, "ann")
        page.locator("summary", has_text="7 earlier turns").wait_for()
        seen = page.locator("#conversation .turn:visible")
        assert seen.count() == 3  # the system message, the last answer, the last question
        assert page.locator("#conversation .role", has_text="Prompt").count() == 0
        assert page.locator(".card").first.bounding_box()["y"] < 900
        press(page, "t")
        assert seen.count() == 10
        press(page, "r")  # stays open
        assert seen.count() == 10


def test_header_takes_two_lines_on_a_phone(tmp_path, open_page):
    """Progress and buttons, which scroll where the font is wide."""
    with serving(tmp_path, PAIRS) as site:
        page = open_page(site, "ann", **PHONE)
        buttons = page.locator(".bar nav button").all()
        assert len({button.bounding_box()["y"] for button in buttons}) == 1
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360


def test_pair_scale_names_its_ends_on_a_phone(tmp_path, open_page):
    with serving(tmp_path, PAIRS) as site:
        page = open_page(site, "ann", **PHONE)
        first, last = page.locator(".scale .first"), page.locator(".scale .second")
        assert (first.inner_text(), last.inner_text()) == ("A better", "B better")
        box, end = first.bounding_box(), last.bounding_box()
        one = page.locator(".steps label").first.bounding_box()
        assert box["x"] < 60
        assert end["x"] + end["width"] > 300
        assert box["y"] < one["y"]
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360


def test_theme_is_chosen_logout_asks_and_pace_waits_for_five_labels(tmp_path, open_page):
    with serving(tmp_path, candidates(7, responses=2)) as site:
        page = open_page(site, "ann", color_scheme="dark")
        background = "() => getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(background)
        press(page, "?")
        page.select_option("#theme", "light")
        light = page.evaluate(background)
        assert light != dark
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate(background) == light
        press(page, "?")
        page.select_option("#theme", "")
        assert page.evaluate(background) == dark
        press(page, "Escape")
        for number in range(1, 6):
            press(page, "1", "Enter")
            done(page, number)
            assert ("each" in page.locator("#progress-text").inner_text()) is (number == 5)
        page.click("#open-logout")
        page.locator("#logout-dialog", has_text="personal link").wait_for()
        press(page, "Escape")
        page.click("#open-logout")
        page.click("#logout")
        page.wait_for_url("**/login")


def test_question_is_sent_by_key_and_survives_a_server_that_is_away(tmp_path, open_page):
    with serving(tmp_path, candidates(1)) as site:
        page = open_page(site, "ann")
        press(page, "q")
        page.route("**/api/questions", lambda route: route.abort())
        page.fill("#question-text", "Are ties allowed?")
        press(page, "Control+Enter")
        page.locator("#question-status", has_text="the server does not respond").wait_for()
        assert page.input_value("#question-text") == "Are ties allowed?"
        page.unroute("**/api/questions")
        press(page, "Control+Enter")
        page.locator("#question-list", has_text="Are ties allowed?").wait_for()
