"""The label page under rough use: double clicks, two windows, back and forward, server crashes."""

import pytest

from rlhf.labels import access
from rlhf.labels.records import Candidate
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from tests.browsing import done, press
from tests.labels.hammer import server_of
from tests.labels.page import PHONE
from tests.labels.web_server import candidates, serving
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.browser]
CODE = (
    "Like this:\n\n```python\n" + "x = " + "1 + " * 60 + "1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
)
SIZES = (2, 3, 4, 8)  # responses per item


def mixed(count: int) -> list[Candidate]:
    """Items of 2, 3, 4 and 8 responses in turn, some with code."""
    return [
        Candidate(
            prompt=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"prompt {i}"},
            ],
            responses=[f"response {j}\n\n{CODE if j == 1 else ''}" for j in range(SIZES[i % 4])],
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("options", [{}, PHONE], ids=["1280", "360"])
def test_twelve_items_with_the_keyboard_alone(tmp_path, open_page, options):
    """The pressed keys determine the stored labels; no key triggers a click."""
    with serving(tmp_path, mixed(12)) as site:
        page = open_page(site, "ann", **options)
        page.evaluate("() => addEventListener('pointerdown', () => { window.clicked = true; })")
        width = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for number in range(12):
            count = SIZES[number % 4]
            page.locator("#conversation", has_text=f"prompt {number}").wait_for()
            assert page.evaluate(width) == 0
            if count == 2:
                press(page, "Enter")  # too early
                page.locator("#status.problem", has_text="which response is better").wait_for()
                press(page, "9", "3")  # 9 does nothing
            else:
                press(page, "9", *(str(rank) for rank in range(count, 0, -1)))
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
        ranks = [[label.ranks[i] for i in label.order_shown] for label in labels]
        assert ranks == [
            [1, 2] if SIZES[i % 4] == 2 else list(range(SIZES[i % 4], 0, -1)) for i in range(12)
        ]
        assert labels[0].strength == 2.0
        assert labels[4].extra["comment"] == "Enter 1 u s ?"
        ratings = [labels[5].extra["overall"][i] for i in labels[5].order_shown]
        assert [rating for rating in ratings if rating is not None] == [3]
        assert sum(map(len, labels[5].extra["flags"])) == 1


def test_double_click_is_one_label_and_second_window_is_informed(tmp_path, window):
    with serving(tmp_path, candidates(3)) as site:
        ann = window()
        page = ann.enter(site.link("ann"))
        other = ann.page()  # the same annotator, the same item
        other.goto(site.address)
        other.wait_for_selector("body[data-ready]")
        press(page, "4", "3", "2", "1")
        page.dblclick("#submit")
        done(page, 1)
        press(other, "1", "1", "1", "1", "Enter")
        other.locator("#status.problem", has_text="another window").wait_for()
        other.locator("#conversation", has_text="prompt 1").wait_for()
        assert [label.item_id for label in site.store.labels()] == [1]


def test_second_login_loses_no_click(tmp_path, window):
    """Opening the link again starts a new session; the old page still delivers its label."""
    with serving(tmp_path, candidates(2)) as site:
        ann = window()
        page = ann.enter(site.link("ann"))
        press(page, "4", "3", "2")
        ann.enter(site.link("ann"))
        press(page, "1", "Enter")
        done(page, 1)
        [label] = site.store.labels()
        assert [label.ranks[i] for i in label.order_shown] == [4, 3, 2, 1]


def test_back_and_forward_return_to_the_current_item(tmp_path, open_page):
    with serving(tmp_path, candidates(2)) as site:
        page = open_page(site, "ann")
        press(page, "4", "3", "2", "1", "Enter")
        done(page, 1)
        press(page, "2")
        page.goto(f"{site.address}/login")  # like an old bookmark
        page.locator("main", has_text="You are logged in as ann").wait_for()
        page.go_back()
        page.wait_for_selector("body[data-ready]")
        page.locator("#conversation", has_text="prompt 1").wait_for()
        assert page.locator(".slot[data-tier='2'] .chip").count() == 1
        page.go_forward()
        page.click("text=continue")
        page.wait_for_selector("body[data-ready]")
        assert len(site.store.labels()) == 1


def test_server_crash_loses_neither_click_nor_draft(tmp_path, window):
    """kill -9 while a draft is typed and while a label is sent; the page waits and continues."""
    path = tmp_path / "labels.sqlite"
    with LabelStore(path, create=True) as store:
        store.add_candidates(candidates(2))
        token = access.invite(store, "ann")
    with server_of(path, free_port(), overlap=1) as server:
        page = window().enter(f"{server.address}/login#{token}")
        press(page, "4", "3", "2", "1")
        server.kill()
        press(page, "Enter")
        page.locator("#status.problem", has_text="Not saved yet").wait_for()
        server.start()
        done(page, 1)
        server.kill()
        press(page, "3", "w")
        page.keyboard.type("typed during the outage")
        page.wait_for_timeout(1000)  # long enough for a failed save
        server.start()
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#rewrite").input_value() == "typed during the outage"
        assert page.locator(".slot[data-tier='3'] .chip").count() == 1
        press(page, "1", "2", "4", "Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
    with LabelStore(path) as store:
        labels = store.labels()
    assert [label.item_id for label in labels] == [1, 2]
    assert labels[1].extra["rewrite"] == "typed during the outage"


def test_rejected_field_is_shown_and_can_be_corrected(tmp_path, open_page):
    with serving(tmp_path, candidates(1)) as site:
        page = open_page(site, "ann")
        press(page, "4", "3", "2", "1", "c")
        # A text beyond the box's own limit, as a browser extension could insert it.
        page.evaluate(
            """() => {
                const box = document.getElementById("comment");
                box.value = "x".repeat(100_001);
                box.dispatchEvent(new Event("input", { bubbles: true }));
            }"""
        )
        page.click("#submit")
        page.locator("#status.problem", has_text="form.comment").wait_for()
        page.fill("#comment", "y" * 100_000)  # too long for a keepalive request
        page.click("#submit")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert site.store.labels()[0].extra["comment"] == "y" * 100_000


def test_new_guideline_opens_and_its_version_is_stored(tmp_path, open_page):
    with serving(tmp_path, candidates(2), QueueConfig()) as site:
        site.store.add_guideline("# Be **kind**")
        page = open_page(site, "ann")
        page.locator("#guideline[open] strong", has_text="kind").wait_for()
        press(page, "Escape", "4", "3", "2", "1")
        site.store.add_guideline("Be true")
        press(page, "Enter")
        page.locator("#guideline[open]", has_text="Be true").wait_for()
        page.get_by_role("button", name="I have read it").click()
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#guideline[open]").count() == 0  # it was read in this browser
        press(page, "4", "3", "2", "1", "Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert [label.guideline_version for label in site.store.labels()] == [1, 2]
