"""The page as people treat it: twice, in two windows, back and forth, and with the server gone."""

import pytest

from rlhf.labels import access
from rlhf.labels.records import Candidate
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from tests.browsing import done, press
from tests.labels.hammer import Server
from tests.labels.test_reliability import free_port
from tests.labels.web_server import pairs_and_more, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PHONE = {"viewport": {"width": 360, "height": 740}}
CODE = (
    "Like this:\n\n```python\n" + "x = " + "1 + " * 60 + "1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
)
KINDS = (2, 3, 4, 8)  # answers of an item


def mixed(count: int) -> list[Candidate]:
    """Items of 2, 3, 4 and 8 answers in turn, code among them; answers say their number."""
    return [
        Candidate(
            prompt=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"prompt {i}"},
            ],
            responses=[f"answer {j}\n\n{CODE if j == 1 else ''}" for j in range(KINDS[i % 4])],
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("how", [{}, PHONE], ids=["1280", "360"])
def test_a_dozen_items_by_keyboard_alone(tmp_path, open_page, how):
    """What is pressed is what is stored, whatever is asked beside the order; no key is a click."""
    with serving(tmp_path, mixed(12)) as site:
        page = open_page(site, "ann", **how)
        page.evaluate("() => addEventListener('pointerdown', () => { window.clicked = true; })")
        width = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for number in range(12):
            count = KINDS[number % 4]
            page.locator("#talk", has_text=f"prompt {number}").wait_for()
            assert page.evaluate(width) == 0
            if count == 2:
                press(page, "Enter")  # too early
                page.locator("#status.problem", has_text="which answer is better").wait_for()
                press(page, "9", "3")  # there is no 9
            else:
                press(page, "9", *(str(place) for place in range(count, 0, -1)))
            if number == 4:
                press(page, "c")
                page.keyboard.type("Enter 1 u s ?")
                press(page, "Escape")
            if number == 5:
                press(page, "k", "o", "ArrowRight", "ArrowRight", "f", "Space")
            press(page, "Enter")
            if number < 11:
                done(page, number + 1)
        page.locator("#empty-title", has_text="All done").wait_for()
        assert page.evaluate("() => window.clicked") is None
        labels = site.store.labels()
        shown = [[one.ranks[i] for i in one.order_shown] for one in labels]
        assert shown == [
            [1, 2] if KINDS[i % 4] == 2 else list(range(KINDS[i % 4], 0, -1)) for i in range(12)
        ]
        assert labels[0].strength == 2.0
        assert labels[4].extra["comment"] == "Enter 1 u s ?"
        marked = [labels[5].extra["overall"][i] for i in labels[5].order_shown]
        assert [mark for mark in marked if mark is not None] == [3]
        assert sum(map(len, labels[5].extra["flags"])) == 1


def test_a_double_click_is_one_label_and_a_second_window_is_told(tmp_path, window):
    with serving(tmp_path, pairs_and_more(3)) as site:
        ann = window()
        page = ann.enter(site.link("ann"))
        other = ann.page()  # the same person, the same item
        other.goto(site.address)
        other.wait_for_selector("body[data-ready]")
        press(page, "4", "3", "2", "1")
        page.dblclick("#submit")
        done(page, 1)
        press(other, "1", "1", "1", "1", "Enter")
        other.locator("#status.problem", has_text="another window").wait_for()
        other.locator("#talk", has_text="prompt 1").wait_for()
        assert [label.item_id for label in site.store.labels()] == [1]


def test_logging_in_again_elsewhere_costs_no_click(tmp_path, window):
    """The link opened anew makes a new session; what the old page holds still arrives."""
    with serving(tmp_path, pairs_and_more(2)) as site:
        ann = window()
        page = ann.enter(site.link("ann"))
        press(page, "4", "3", "2")
        ann.enter(site.link("ann"))
        press(page, "1", "Enter")
        done(page, 1)
        [label] = site.store.labels()
        assert [label.ranks[i] for i in label.order_shown] == [4, 3, 2, 1]


def test_back_and_forward_lead_to_the_item_in_hand(tmp_path, open_page):
    with serving(tmp_path, pairs_and_more(2)) as site:
        page = open_page(site, "ann")
        press(page, "4", "3", "2", "1", "Enter")
        done(page, 1)
        press(page, "2")
        page.goto(f"{site.address}/login")  # as an old bookmark would
        page.locator("main", has_text="You are in already, as ann").wait_for()
        page.go_back()
        page.wait_for_selector("body[data-ready]")
        page.locator("#talk", has_text="prompt 1").wait_for()
        assert page.locator(".slot[data-tier='2'] .chip").count() == 1
        page.go_forward()
        page.click("text=go on")
        page.wait_for_selector("body[data-ready]")
        assert len(site.store.labels()) == 1


def test_a_killed_server_costs_neither_a_click_nor_a_draft(tmp_path, window):
    """kill -9 while a draft is typed and while an item is sent; the page waits and goes on."""
    path = tmp_path / "labels.sqlite"
    with LabelStore(path, create=True) as store:
        store.add_candidates(pairs_and_more(2))
        token = access.invite(store, "ann")
    server = Server(path, free_port(), overlap=1)
    page = window().enter(f"{server.address}/login#{token}")
    press(page, "4", "3", "2", "1")
    server.kill()
    press(page, "Enter")
    page.locator("#status.problem", has_text="Not saved yet").wait_for()
    server.start()
    done(page, 1)
    server.kill()
    press(page, "3", "w")
    page.keyboard.type("typed while nobody listened")
    page.wait_for_timeout(1000)  # long enough for a save to have failed
    server.start()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#rewrite").input_value() == "typed while nobody listened"
    assert page.locator(".slot[data-tier='3'] .chip").count() == 1
    press(page, "1", "2", "4", "Enter")
    page.locator("#empty-title", has_text="All done").wait_for()
    server.kill()
    with LabelStore(path) as store:
        labels = store.labels()
    assert [label.item_id for label in labels] == [1, 2]
    assert labels[1].extra["rewrite"] == "typed while nobody listened"


def test_what_is_refused_is_said_in_words(tmp_path, open_page):
    with serving(tmp_path, pairs_and_more(1)) as site:
        page = open_page(site, "ann")
        press(page, "4", "3", "2", "1", "c")
        # A paste beyond the box's own limit, as a browser extension could make it.
        page.evaluate(
            """() => {
                const box = document.getElementById("comment");
                box.value = "x".repeat(100_001);
                box.dispatchEvent(new Event("input", { bubbles: true }));
            }"""
        )
        page.click("#submit")
        page.locator("#status.problem", has_text="form.comment").wait_for()
        page.fill("#comment", "y" * 100_000)  # more than a request of a page that closes may hold
        page.click("#submit")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert site.store.labels()[0].extra["comment"] == "y" * 100_000


def test_a_new_guideline_is_shown_and_its_version_stored(tmp_path, open_page):
    with serving(tmp_path, pairs_and_more(2), QueueConfig()) as site:
        site.store.add_guideline("# Be **kind**")
        page = open_page(site, "ann")
        page.locator("#guideline[open] strong", has_text="kind").wait_for()
        press(page, "Escape", "4", "3", "2", "1")
        site.store.add_guideline("Be true")
        press(page, "Enter")
        page.locator("#guideline[open]", has_text="Be true").wait_for()
        press(page, "Escape")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#guideline[open]").count() == 0  # it was read here
        press(page, "4", "3", "2", "1", "Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert [label.guideline_version for label in site.store.labels()] == [1, 2]
