"""The form in a real browser: its questions by keyboard and touch."""

from pathlib import Path

import pytest

from rlhf.labels.criteria import parse_criteria
from rlhf.labels.form_config import FormConfig, load_form
from rlhf.labels.records import Candidate
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig
from tests.browsing import done, press, wait_until
from tests.labels.forms import FORM
from tests.labels.page import PAIRS, PHONE, focused
from tests.labels.web_server import candidates, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_form_is_filled_in_by_the_keyboard_alone(tmp_path, open_page):
    """Every kind of answer, marked passages included; Enter leads to what is missing."""
    with serving(tmp_path, PAIRS, web=WebConfig(form=FORM)) as site:
        page = open_page(site, "ann")
        page.evaluate("() => addEventListener('pointerdown', () => { window.clicked = true; })")
        press(page, "2", "Enter")  # A is clearly better; helpful of A is required
        page.locator("#status.problem", has_text="Helpful of A").wait_for()
        assert focused(page) == "helpful|0|"
        press(page, "3")
        assert focused(page) == "tone|0|"
        press(page, "2")
        assert focused(page) == "rubric|0|It names a date."
        press(page, "y", "n")
        assert focused(page) == "wrong|0|"
        press(page, "Enter")  # opens the dialog; the first word is selected and marked
        press(page, "Control+Shift+ArrowRight", "1", "Escape")
        page.locator("#spans").wait_for(state="hidden")
        page.locator(".card .passages li").wait_for()
        press(page, "m")
        assert focused(page) == "helpful|1|"
        press(page, "9", "0", "Escape")  # there is no 9
        assert focused(page) == "card"
        press(page, "Enter")
        page.locator("#status.problem", has_text="Why").wait_for()
        assert focused(page) == "why|0|"
        page.keyboard.type("it answers 1 2 3")
        press(page, "Control+Enter")
        done(page, 1)
        assert page.evaluate("() => window.clicked") is None
        [label] = site.store.labels()
        order = list(label.order_shown)
        answers = label.extra["criteria"]
        shown = {name: [of[i] for i in order] for name, of in answers.items() if name != "why"}
        text = PAIRS[0].responses[order[0]]
        word = text.split()[0].rstrip(".")
        [[marked], nothing] = shown.pop("wrong")
        assert (marked["text"].rstrip("."), marked["start"], nothing) == (word, 0, None)
        assert shown == {
            "helpful": [3, 0],
            "tone": ["rude", None],
            "rubric": [{"It names a date.": True, "It is short.": False}, None],
        }
        assert answers["why"] == [{"response": order[0], "answer": "it answers 1 2 3"}]
        assert label.strength == 3.0


def test_answers_survive_reload_and_fit_a_phone(tmp_path, open_page):
    """HelpSteer's five axes of four responses by touch; a tap on a number answers."""
    form = load_form("helpsteer")
    with serving(tmp_path, candidates(1), web=WebConfig(form=form)) as site:
        page = open_page(site, "ann", **PHONE)
        width = "() => document.documentElement.scrollWidth"
        assert page.evaluate(width) == 360
        axis = page.locator(".card").first.locator(".question").first
        axis.locator("input[value='3']").tap()
        axis.locator(".word", has_text="mostly").wait_for()
        page.reload()
        page.wait_for_selector("body[data-ready]")
        axis.locator("input[value='3']:checked").wait_for(state="attached")
        for tier in range(4):
            page.locator(f"input[name=tier-{tier}][value='{4 - tier}']").tap()
        page.locator("#submit").tap()
        page.locator("#status.problem", has_text="Correctness of A").wait_for()
        assert site.store.labels() == []
        assert page.evaluate(width) == 360


def test_questions_about_the_best_appear_with_the_ranking(tmp_path, open_page):
    with serving(tmp_path, candidates(1), web=WebConfig(form=load_form("reasons"))) as site:
        page = open_page(site, "ann")
        best = page.locator(".question[data-name=best_reasons]")
        assert best.locator("visible=true").count() == 0
        press(page, "2", "1", "3", "4")
        page.locator("legend", has_text="Best reasons B").wait_for()
        page.locator("legend", has_text="Worst reasons D").wait_for()
        best.nth(1).locator("input[value=correct]").check()
        press(page, "3", "Enter")  # another option of the question that has the focus
        page.locator("#empty-title", has_text="All done").wait_for()
        [label] = site.store.labels()
        reasons = {"response": label.order_shown[1], "answer": ["correct", "clear"]}
        assert label.extra["criteria"] == {"best_reasons": [reasons]}


def test_reason_follows_its_response_when_the_ranking_changes(tmp_path, open_page):
    """B is the best and gets a reason; then A is, without one; then both are, and B has its own."""
    with serving(tmp_path, candidates(1), web=WebConfig(form=load_form("reasons"))) as site:
        page = open_page(site, "ann")
        best = page.locator(".question[data-name=best_reasons]")
        press(page, "2", "1", "3", "4")
        best.nth(1).locator("input[value=correct]").check()
        rank = "input[name=tier-{}][value='{}']"
        page.locator(rank.format(1, 3)).check()
        page.locator(rank.format(0, 1)).check()
        page.locator("legend", has_text="Best reasons A").wait_for()
        assert best.nth(0).locator("input:checked").count() == 0
        assert not best.nth(1).is_visible()
        page.reload()  # the draft keeps the reason of B
        page.wait_for_selector("body[data-ready]")
        page.locator(rank.format(1, 1)).check()
        page.locator("legend", has_text="Best reasons B").wait_for()
        page.locator("legend", has_text="Best reasons A").wait_for()
        assert best.nth(1).locator("input:checked").get_attribute("value") == "correct"
        assert best.nth(0).locator("input:checked").count() == 0
        page.click("#submit")
        page.locator("#empty-title", has_text="All done").wait_for()
        [label] = site.store.labels()
        reasons = {"response": label.order_shown[1], "answer": ["correct"]}
        assert label.extra["criteria"] == {"best_reasons": [reasons]}


def test_page_loads_a_form_that_changed_and_keeps_what_was_entered(tmp_path, open_page):
    """The server gets another form; the old page submits, and is asked what is new."""
    criteria = [{"name": "why", "kind": "text", "about": "item", "required": True}]
    forms = [FormConfig(), FormConfig(criteria=parse_criteria(criteria))]
    with serving(tmp_path, PAIRS, web=WebConfig(form=forms[0])) as site:
        page = open_page(site, "ann")
        press(page, "2", "c")
        page.keyboard.type("a comment")
        press(page, "Escape")
        site.app._app = create_app(site.queue, WebConfig(form=forms[1]))._app
        press(page, "Enter")
        page.locator("#status.problem", has_text="form has changed").wait_for()
        assert page.locator("#comment").input_value() == "a comment"
        press(page, "Enter")
        page.locator("#status.problem", has_text="Why").wait_for()
        page.keyboard.type("the May one")
        press(page, "Control+Enter")
        done(page, 1)
        [label] = site.store.labels()
        assert (label.form_version, label.extra["comment"]) == (2, "a comment")
        assert label.extra["criteria"] == {"why": "the May one"}


def test_draft_that_is_saved_while_a_changed_form_loads_stays(tmp_path, open_page):
    """The page reads the item, saves its draft, and only then shows the item with the new form."""
    drafts, forms = [], []
    with serving(tmp_path, PAIRS) as site:
        page = open_page(site, "ann")
        page.route("**/api/draft", lambda route: drafts.append(route))
        press(page, "2", "c")
        page.keyboard.type("a comment")
        press(page, "Escape")
        page.route("**/api/form", lambda route: forms.append(route))
        site.app._app = create_app(site.queue, WebConfig(form=FormConfig(overall=False)))._app
        press(page, "Enter")
        wait_until(lambda: forms or page.wait_for_timeout(20))

        def is_saved() -> bool:
            while drafts:
                drafts.pop(0).continue_()
            return page.evaluate("() => sessionStorage.getItem('rlhf-label-draft') === null")

        wait_until(is_saved)
        forms[0].continue_()
        page.locator("#status.problem", has_text="form has changed").wait_for()
        assert page.locator("#comment").input_value() == "a comment"


def test_passages_are_marked_by_touch(tmp_path, open_page):
    """A tap on a kind marks what the handles of the selection enclose, which fire no other event.

    The second selection is gone when the finger leaves the button, as on some phones.
    """
    criteria = [{"name": "wrong", "kind": "spans", "options": ["untrue", "unclear"]}]
    form = FormConfig(criteria=parse_criteria(criteria))
    item = Candidate(prompt="p", responses=("It rains in May.", "It rains in May!"))
    drag_handles = """([node, start, end]) => {
        const text = document.querySelector("#spans-text")[node];
        getSelection().setBaseAndExtent(text, start, text, end);
    }"""
    with serving(tmp_path, [item], web=WebConfig(form=form)) as site:
        page = open_page(site, "ann", **PHONE)
        page.locator(".mark-passages").first.tap()
        page.locator("#spans[open]").wait_for()
        page.evaluate(drag_handles, ["firstChild", 3, 8])
        page.get_by_role("button", name="untrue").tap()
        page.locator("#spans-list li", has_text="rains untrue").wait_for()
        page.evaluate("() => addEventListener('touchend', () => getSelection().removeAllRanges())")
        page.evaluate(drag_handles, ["lastChild", 4, 7])
        page.get_by_role("button", name="unclear").tap()
        page.locator("#spans-list li", has_text="May unclear").wait_for()
        page.get_by_role("button", name="untrue").tap()  # nothing is selected
        page.locator("#spans-help.problem").wait_for()
        press(page, "Escape", "Escape", "1", "Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        [label] = site.store.labels()
        [marked] = [spans for spans in label.extra["criteria"]["wrong"] if spans]
        assert marked == [
            {"start": 3, "end": 8, "text": "rains", "option": "untrue"},
            {"start": 12, "end": 15, "text": "May", "option": "unclear"},
        ]


def test_no_xss_payload_runs_in_the_form(tmp_path, open_page):
    """Payloads as questions, options, statements, words and marked passages."""
    payloads = (Path(__file__).parent / "xss.txt").read_text().splitlines()
    texts = list(dict.fromkeys(payloads))
    criteria = [
        {"name": f"q{i}", "kind": "text", "question": text, "about": "item"}
        for i, text in enumerate(texts)
    ]
    criteria += [
        {"name": "c", "kind": "choice", "options": texts[:9]},
        {"name": "r", "kind": "rating", "words": texts[9:14]},
        {"name": "l", "kind": "checklist", "statements": texts[14:44]},
        {"name": "s", "kind": "spans", "options": texts[40:49]},
    ]
    form = FormConfig(criteria=parse_criteria(criteria))
    item = Candidate(prompt="p", responses=(texts[0], texts[1]))
    with serving(tmp_path, [item], web=WebConfig(form=form)) as site:
        page = open_page(site, "ann")
        page.locator(".mark-passages").first.click()
        press(page, "Control+a", "1", "Escape")
        page.locator(".card .passages li").wait_for()
        press(page, "Escape", "1", "Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert page.evaluate("() => window.hacked") is None
        [label] = site.store.labels()
        [marked] = [spans for spans in label.extra["criteria"]["s"] if spans]
        assert marked[0]["option"] == texts[40]
