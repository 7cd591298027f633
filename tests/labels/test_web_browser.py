"""The label page in a real browser, with keyboard, mouse and touch."""

import threading
from pathlib import Path

import pytest

from rlhf.labels import access, people
from rlhf.labels.access import MAX_NAME_LENGTH
from rlhf.labels.export import rows_of
from rlhf.labels.records import Candidate, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.live_sampling import LiveSampling
from tests.browsing import done, press
from tests.labels.web_server import candidates, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PAIR = Candidate(prompt="Which?", responses=("first", "second"))


def ranks_shown(site) -> list[list[int]]:
    """Ranks of each label, in the order in which its responses were shown."""
    return [[label.ranks[i] for i in label.order_shown] for label in site.store.labels()]


def test_keyboard_ranks_ties_skips_and_undoes(tmp_path, open_page):
    with serving(tmp_path, candidates(4)) as site:
        page = open_page(site, "ann")
        press(page, "Enter")
        page.locator("#status.problem", has_text="Not ranked yet: A, B, C, D").wait_for()
        press(page, "2")
        assert page.locator("#status.problem").count() == 0
        press(page, "1", "1", "4", "Enter")
        done(page, 1)
        assert ranks_shown(site) == [[3, 1, 1, 4]]

        page.keyboard.press("s")
        page.keyboard.press("2")
        page.locator("#conversation", has_text="prompt 2").wait_for()
        assert site.store.count_events()["skip"] == 1

        page.keyboard.press("u")  # the skip
        page.locator("#conversation", has_text="prompt 1").wait_for()
        page.keyboard.press("u")  # the label, with its ranks filled in
        page.locator("#conversation", has_text="prompt 0").wait_for()
        page.locator(".slot[data-tier='1'] .chip").nth(1).wait_for()
        page.keyboard.press("j")
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        done(page, 1)
        [[*ranks]] = ranks_shown(site)
        assert sorted(ranks) != [1, 1, 3, 4]


def test_order_shown_needs_confirmation_and_missing_ranks_are_named(tmp_path, open_page):
    with serving(tmp_path, candidates(1, responses=3)) as site:
        page = open_page(site, "ann")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        page.locator("#status.problem", has_text="B, C").wait_for()
        press(page, "2", "3", "Enter")
        page.locator("#status", has_text="order in which the responses were shown").wait_for()
        assert site.store.labels() == []
        page.keyboard.press("Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert ranks_shown(site) == [[1, 2, 3]]


def test_dragging_sets_ranks(tmp_path, open_page):
    with serving(tmp_path, candidates(1, responses=3)) as site:
        page = open_page(site, "ann")
        for letter, tier in (("A", 3), ("B", 1), ("C", 1)):
            chip = page.locator(".slot[data-tier=''] .chip", has_text=letter).bounding_box()
            slot = page.locator(f".slot[data-tier='{tier}']").bounding_box()
            page.mouse.move(chip["x"] + 8, chip["y"] + 8)
            page.mouse.down()
            page.mouse.move(slot["x"] + 20, slot["y"] + 20, steps=4)
            page.mouse.up()
        page.click("#submit")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert ranks_shown(site) == [[3, 1, 1]]


def test_two_responses_have_a_scale_a_tie_and_both_bad(tmp_path, open_page):
    pairs = [Candidate(prompt=f"p{i}", responses=("x", "y")) for i in range(3)]
    with serving(tmp_path, pairs) as site:
        page = open_page(site, "ann")
        for number, key in enumerate(("2", "0", "b"), 1):
            page.keyboard.press(key)
            page.keyboard.press("Enter")
            if number < 3:
                done(page, number)
        page.locator("#empty-title", has_text="All done").wait_for()
        assert ranks_shown(site) == [[1, 2], [1, 1], [1, 1]]
        strong, _, bad = site.store.labels()
        assert strong.strength == 3.0
        assert bad.extra["both_bad"] is True


def test_draft_survives_reload_and_keys_do_nothing_in_text_boxes(tmp_path, open_page):
    with serving(tmp_path, candidates(2)) as site:
        page = open_page(site, "ann")
        page.keyboard.press("3")
        page.keyboard.press("w")
        page.keyboard.type("I would say 1 2 3 4 s u ?")
        page.keyboard.press("Escape")
        page.keyboard.press("f")
        page.keyboard.press("Space")
        page.reload()  # at once: the unsaved draft is sent while the page unloads
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#rewrite").input_value() == "I would say 1 2 3 4 s u ?"
        assert page.locator(".slot[data-tier='3'] .chip").inner_text() == "A"
        press(page, "1", "2", "4", "Enter")
        done(page, 1)
        [label] = site.store.labels()
        assert label.extra["rewrite"] == "I would say 1 2 3 4 s u ?"
        [row] = rows_of(site.store, "demonstrations").rows
        assert (row["prompt"], row["completion"]) == ("prompt 0", "I would say 1 2 3 4 s u ?")
        best = label.ranks.index(1)
        assert ("I would say 1 2 3 4 s u ?", f"response 0.{best}") in {
            (pair["chosen"], pair["rejected"]) for pair in rows_of(site.store, "pairs").rows
        }
        assert sum(map(len, label.extra["flags"])) == 1


def test_concurrent_annotators_never_hold_the_same_place(tmp_path, open_page):
    with serving(tmp_path, candidates(4), QueueConfig(overlap=1)) as site:
        ann, bob = open_page(site, "ann"), open_page(site, "bob")
        for number in (1, 2):
            for page in (ann, bob):
                press(page, "4", "3", "2", "1", "Enter")
            if number == 1:
                done(ann, 1)
                done(bob, 1)
        ann.locator("#empty-title", has_text="All done").wait_for()
        bob.locator("#empty-title", has_text="All done").wait_for()
        labels = site.store.labels()
        assert sorted(label.item_id for label in labels) == [1, 2, 3, 4]
        assert {label.annotator for label in labels} == {"ann", "bob"}


def test_page_fits_360_pixels_and_works_by_touch(tmp_path, open_page):
    small = {"width": 360, "height": 740}
    with serving(tmp_path, candidates(1)) as site:
        page = open_page(site, "ann", viewport=small, has_touch=True, is_mobile=True)
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360
        for index, tier in enumerate((2, 1, 4, 3)):
            page.locator(f"input[name=tier-{index}][value='{tier}']").tap()
        page.locator("#submit").tap()
        page.locator("#empty-title", has_text="All done").wait_for()
        assert ranks_shown(site) == [[2, 1, 4, 3]]


def test_controls_have_names_and_changes_are_announced(tmp_path, open_page):
    """Ranks are radio groups; a live region announces each change."""
    with serving(tmp_path, candidates(1)) as site:
        page = open_page(site, "ann")
        page.get_by_role("group", name="Rank of response B").wait_for()
        page.get_by_role("radio", name="rank 2 of 4").nth(1).check()
        page.locator("#announcement", has_text="B rank 2").wait_for(state="attached")
        page.keyboard.press("2")
        page.locator("#announcement", has_text="tied with B").wait_for(state="attached")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, textarea')]
                .filter((node) => !node.closest('[hidden]'))
                .filter((node) => !(node.getAttribute('aria-label') || node.labels?.length
                    || node.textContent.trim())).map((node) => node.outerHTML)"""
        )
        assert nameless == []


def test_click_during_server_outage_is_delivered(tmp_path, open_page):
    with serving(tmp_path, [PAIR]) as site:
        page = open_page(site, "ann")
        page.route("**/api/submit", lambda route: route.fulfill(status=503, body="{}"))
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        page.locator("#status.problem", has_text="Not saved yet").wait_for()
        page.keyboard.press("2")  # a change of the form does not hide it
        assert "Not saved yet" in page.locator("#status").inner_text()
        page.unroute("**/api/submit")
        page.reload()  # even if the page is reloaded in between
        page.locator("#empty-title", has_text="All done").wait_for()
        assert ranks_shown(site) == [[1, 2]]


def test_models_respond_to_a_typed_prompt(tmp_path, open_page):
    def live(store):
        return LiveSampling(store, lambda prompt: [("yes", "m1"), ("no", "m2")])

    with serving(tmp_path, [], live=live) as site:
        page = open_page(site, "ann")
        page.keyboard.press("a")
        page.keyboard.type("Is it?")
        page.click("#send-prompt")
        page.locator("#conversation", has_text="Is it?").wait_for()
        page.keyboard.press("8")
        page.keyboard.press("Enter")
        page.locator("#empty-title", has_text="All done").wait_for()
        assert ranks_shown(site) == [[2, 1]]


def test_lost_prompt_is_reported_and_responses_wait_for_the_current_item(tmp_path, open_page):
    """A restart clears the queue of prompts, and the page reports it. An annotator who ranks
    another item when the responses arrive keeps that item."""
    release = threading.Event()

    def live(store):
        return LiveSampling(store, lambda prompt: [("yes", "m1"), (str(release.wait(60)), "m2")])

    with serving(tmp_path, candidates(1), live=live) as site:
        page = open_page(site, "ann")
        page.route("**/api/ask", lambda route: route.fulfill(json={"state": "none", "error": ""}))
        page.keyboard.press("a")
        page.keyboard.type("Is it?")
        page.click("#send-prompt")
        page.locator("#prompt-status", has_text="Send it again").wait_for()
        page.unroute("**/api/ask")
        page.click("#send-prompt")
        page.locator("#prompt-status", has_text="are responding").wait_for()
        press(page, "Escape", "2")
        release.set()
        page.locator("#status", has_text="next item").wait_for()
        press(page, "1", "4", "3", "Enter")
        page.locator("#conversation", has_text="Is it?").wait_for()
        assert ranks_shown(site) == [[2, 1, 4, 3]]


def test_admin_page_shows_tables_and_creates_a_link(tmp_path, window, open_page):
    with serving(tmp_path, candidates(3), QueueConfig(overlap=2)) as site:
        for name in ("ann", "bob"):
            client = site.client(name)
            while (item := client.next())["claim"] is not None:
                client.submit(item, f"key-{item['claim']:08}")
        page = open_page(site, "admin")
        assert page.locator("tbody tr").count() == 4  # two annotators, in two tables
        page.fill("#invite-names", "cleo\n dan \n\n" + "x" * 65)
        page.fill("#invite-cap", "9")
        page.fill("#invite-tags", "de, maths")
        page.dblclick("#invite button")
        page.locator("#invite-problem", has_text="64").wait_for()
        assert page.input_value("#invite-names") == "x" * 65  # the others have their links
        links = [line.split(": ") for line in page.inner_text("#invite-links").splitlines()]
        assert [name for name, _ in links] == ["cleo", "dan"]
        window().enter(links[0][1])
        with site.store.read() as connection:
            cleo = people.person_of(connection, "cleo")
        assert (cleo.cap, list(cleo.tags)) == (9, ["de", "maths"])


def test_no_xss_payload_runs(tmp_path, open_page):
    """Fifty payloads as prompt, responses, guideline, name and comment: no dialog, no error, no
    request elsewhere, on the label page (formatted and raw) and on the admin page."""
    payloads = (Path(__file__).parent / "xss.txt").read_text().splitlines()
    assert len(payloads) >= 50
    items = [
        Candidate(prompt=[{"role": "user", "content": text}], responses=(text, f"{text} "))
        for text in payloads
    ]
    with serving(tmp_path, items) as site:
        site.store.add_guideline("\n\n".join(payloads))
        name = "<img src=x onerror=alert(1)>"
        page = open_page(site, name)
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.locator("#guideline[open]").wait_for()  # a new version opens by itself
        page.keyboard.press("Escape")
        for number in range(1, len(payloads) + 1):
            page.keyboard.press("r")
            for selector in (".text a", "[href]"):
                for link in page.locator(selector).all():
                    assert not (link.get_attribute("href") or "").lower().startswith("javascript")
            page.keyboard.press("c")
            page.fill("#comment", payloads[number - 1])
            page.keyboard.press("Escape")
            page.keyboard.press("1")
            page.keyboard.press("Enter")
            if number < len(payloads):
                done(page, number)
        page.locator("#empty-title", has_text="All done").wait_for()
        page.keyboard.press("p")  # the prompts again, as the last items
        page.locator("#work-newest li").first.wait_for()
        assert page.evaluate("() => window.hacked") is None
        assert all(url.startswith(site.address) for url in requests)
        assert len(site.store.labels()) == len(payloads)
        names = [text[:MAX_NAME_LENGTH].strip() for text in payloads]
        names = [text for text in dict.fromkeys(names) if text.isprintable() and text != name]
        assert len(names) >= 50
        for number, annotator in enumerate(names):
            access.invite(site.store, annotator)
            label = Label(item_id=1 + number % 2, annotator=annotator, ranks=(1, 2))
            site.store.submit(label)
        admin = open_page(site, "admin")
        rows = admin.locator("table").first.locator("tbody th").all_inner_texts()
        assert set(rows) == {" ".join(text.split()) for text in [name, *names]}
        assert admin.evaluate("() => window.hacked") is None
        invited = open_page(site, names[0])  # the name is on this page and on the login page
        invited.goto(f"{site.address}/login")
        assert invited.locator("main strong").inner_text() == names[0]
