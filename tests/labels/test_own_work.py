"""What an annotator sees of their own work."""

import pytest
import sqlalchemy as sa

from rlhf.labels.review.own_work import NEWEST, own_work
from rlhf.labels.review.progress import Work, day_of
from rlhf.labels.schema import events
from tests.browsing import done, press
from tests.labels.queues import judgment, queue_of
from tests.labels.web_server import candidates, serving


def test_work_by_day_has_what_was_not_undone(each_store):
    """Ann labels two items and skips one; yesterday's label counts there; Bob's do not count."""
    queue = queue_of(each_store, 4, overlap=2)
    for key in ("a1", "a2", "a3"):
        queue.submit("ann", queue.next("ann").id, judgment(), request_key=key)
    queue.undo("ann", request_key="u")
    skip = {"reason": "other", "seconds": 2.5}
    queue.skip("ann", queue.next("ann").id, skip, request_key="s")
    queue.submit("bob", queue.next("bob").id, judgment(), request_key="b")
    with each_store.write() as connection:
        first = events.c.id == 1
        connection.execute(sa.update(events).where(first).values(at=events.c.at - 86_400))
        at = connection.scalar(sa.select(events.c.at).where(first))
    seconds = judgment().seconds or 0.0
    own = own_work(each_store, "ann")
    assert list(own.by_day.values()) == [
        Work(labels=1, skips=1, seconds=seconds + 2.5),
        Work(labels=1, seconds=seconds),
    ]
    assert list(own.by_day)[1] == day_of(at)
    assert [one.kind for one in own.newest] == ["skip", "submit", "submit"]
    prompts = [item.prompt for item in each_store.items()]
    assert [one.prompt for one in own.newest] == [prompts[2], prompts[1], prompts[0]]
    assert own_work(each_store, "nobody").by_day == {}


def test_only_the_newest_items_are_listed(sqlite_store):
    queue = queue_of(sqlite_store, NEWEST + 2)
    for number in range(NEWEST + 2):
        queue.submit("ann", queue.next("ann").id, judgment(), request_key=str(number))
    own = own_work(sqlite_store, "ann")
    assert len(own.newest) == NEWEST
    assert own.newest[0].prompt == sqlite_store.items()[-1].prompt
    [work] = own.by_day.values()
    assert work.labels == NEWEST + 2


def test_route_has_the_work_of_the_session(site):
    ann = site.client("ann")
    ann.submit(ann.next(), "key-00000001").raise_for_status()
    reply = ann.http.get("/api/work").raise_for_status().json()
    [day] = reply["days"]
    assert (day["labels"], day["skips"]) == (1, 0)
    assert [one["kind"] for one in reply["newest"]] == ["submit"]
    assert "purpose" not in str(reply)  # annotators cannot tell gold items from others
    assert site.client("bob").http.get("/api/work").json() == {"days": [], "newest": []}


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_dialog_shows_days_and_the_last_items(tmp_path, open_page, width):
    with serving(tmp_path, candidates(3, responses=2)) as site:
        page = open_page(site, "ann", viewport={"width": width, "height": 740})
        press(page, "p")
        page.locator("#work-status", has_text="Nothing yet").wait_for()
        press(page, "Escape", "1", "Enter")
        done(page, 1)
        press(page, "s", "1")
        page.locator("#conversation", has_text="prompt 2").wait_for()
        page.click("#open-work")
        page.locator("#work-newest li").nth(1).wait_for()
        cells = page.locator("#work-days tbody tr").last.locator("th").all_inner_texts()
        assert cells[:3] == ["all", "1", "1"]
        assert "skipped" in page.locator("#work-newest li").first.inner_text()
        assert page.evaluate("() => document.documentElement.scrollWidth") == width
