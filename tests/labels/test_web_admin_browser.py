"""The administrator's and the adjudicator's pages in a real browser, wide and on a phone."""

import pytest

from rlhf.labels import people
from rlhf.labels.pre_labels import set_pre_labels
from rlhf.labels.records import Candidate, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.config import WebConfig
from tests.browsing import press
from tests.labels.forms import FORM, span
from tests.labels.page import PHONE
from tests.labels.test_web_access import CONTRASTS, DOUBLE_IDS, NAMELESS
from tests.labels.test_web_admin import PAGES, hostile, labelled  # noqa: F401
from tests.labels.web_server import candidates, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def visit(page, site, path):
    page.goto(f"{site.address}{path}")
    page.wait_for_selector("body[data-ready]")
    return page


@pytest.fixture
def campaign(tmp_path):
    """Four items that Ann and Bob rank in opposite ways, a guideline and a question."""
    with serving(tmp_path, candidates(4), QueueConfig(overlap=2)) as site:
        site.store.add_guideline("# Be fair\n\nRead all.")
        site.store.add_guideline("# Be fair\n\nRead everything.")
        labelled(site, "ann", "bob")
        site.client("ann").post("/api/questions", {"text": "Are ties allowed?"})
        yield site


@pytest.mark.parametrize("options", [{}, PHONE], ids=["1280", "360"])
def test_pages_fit_and_have_contrast_and_names(campaign, open_page, options):
    page = open_page(campaign, "admin", reduced_motion="reduce", **options)
    for path in [*PAGES, "/guideline?old=1&new=2"]:
        visit(page, campaign, f"/admin{path}")
        assert page.evaluate(WIDER) <= 0, path
        assert page.evaluate(CONTRASTS) == [], path
        assert page.evaluate(NAMELESS) == [], path
        assert page.evaluate(DOUBLE_IDS) == [], path


def test_item_is_found_corrected_and_excluded(campaign, open_page):
    page = visit(open_page(campaign, "admin"), campaign, "/admin/items")
    page.fill("input[name=text]", "prompt 2")
    press(page, "Enter")
    page.locator("tbody tr").first.wait_for()
    assert page.locator("tbody tr").count() == 1
    page.click("tbody tr a")
    page.wait_for_selector("body[data-ready]")
    page.locator("button[data-action=correct]").first.click()
    ranks = page.locator("#correction .rank-input")
    assert [ranks.nth(i).input_value() for i in range(4)] == ["1", "2", "3", "4"]
    ranks.nth(0).fill("4")
    page.fill("#reason", "first and last were swapped")
    page.click("#reason-form button.primary")
    page.locator("table", has_text="first and last were swapped").first.wait_for()
    corrected = campaign.store.labels()[-1]
    assert (corrected.annotator, corrected.ranks) == ("ann", [4, 2, 3, 4])
    page.click("button[data-action=exclude]")
    page.click("#reason-form button.primary")  # the reason is required
    assert page.locator("#reason-dialog[open]").count() == 1
    page.fill("#reason", "broken")
    page.click("#reason-form button.primary")
    page.locator("h1 .state.excluded").wait_for()
    assert len(campaign.store.labels()) == 6


def test_tables_in_responses_keep_their_alignment(tmp_path, open_page):
    table = "| a | b | c |\n|---|:---:|---:|\n| x | y | z |"
    with serving(tmp_path, [Candidate(prompt="p", responses=(table, "no table"))]) as site:
        page = visit(open_page(site, "admin"), site, "/admin/items/1")
        cells = page.locator(".text td").evaluate_all(
            "(cells) => cells.map((cell) => getComputedStyle(cell).textAlign)"
        )
    assert [one.removeprefix("-webkit-") for one in cells] == ["start", "center", "right"]


def test_items_of_a_list_lead_to_each_other(campaign, open_page):
    """The newest first: items 4, 3, 2 and 1."""
    page = visit(open_page(campaign, "admin"), campaign, "/admin/items?sort=newest")
    page.locator("tbody tr", has_text="prompt 2").locator("th a").click()
    page.locator("h1", has_text="Item 3").wait_for()
    page.locator("#neighbours", has_text="2 of 4").wait_for()
    page.click("#neighbours [rel=next]")
    page.locator("h1", has_text="Item 2").wait_for()
    page.click("#neighbours [rel=prev]")
    page.locator("h1", has_text="Item 3").wait_for()
    page.click("text=Back to the list")
    page.wait_for_url("**/admin/items?sort=newest")


@pytest.fixture
def answered(tmp_path):
    """Three responses in a form with each kind of criterion, ranked and answered by two people."""
    item = Candidate(prompt="When?", responses=("On 4 May.", "Never, as far as I know.", "Soon."))
    web = WebConfig(form=FORM)
    with serving(tmp_path, [item], QueueConfig(overlap=2), web) as site:
        rubric = {"It names a date.": True, "It is short.": False}
        answers = {
            "helpful": [4, 0, 2],
            "rubric": [rubric, None, None],
            "topics": ["food", "law"],
            "wrong": [None, [span("Never, as far as I know.", "Never")], None],
            "why": [{"response": 0, "answer": "It has a date."}],
        }
        for name in ("ann", "bob"):
            extra = {"criteria": answers, "flags": [[], ["untrue"], []]}
            label = Label(item_id=1, annotator=name, ranks=(1, 3, 2), form_version=1, extra=extra)
            site.store.submit(label)
        yield site


@pytest.mark.parametrize("options", [{}, PHONE], ids=["1280", "360"])
def test_answers_are_shown_and_corrected(answered, open_page, options):
    """The question about the best follows the ranks in the dialog; passages stay."""
    page = open_page(answered, "admin", reduced_motion="reduce", **options)
    page.get_by_role("heading", name="Answers to the form").wait_for()
    assert page.evaluate(WIDER) <= 0
    assert page.evaluate(CONTRASTS) == []
    visit(page, answered, "/admin/items/1")
    assert page.evaluate(WIDER) <= 0
    assert page.evaluate(CONTRASTS) == []
    page.locator(".given", has_text="It has a date.").first.wait_for()
    page.locator("button[data-action=correct]").first.click()
    why = page.locator("#correction .question[data-name=why]")
    assert why.nth(0).locator("textarea").input_value() == "It has a date."
    assert not why.nth(2).is_visible()
    helpful = page.locator("#correction .question[data-name=helpful]")
    assert helpful.nth(0).locator("input:checked").get_attribute("value") == "4"
    for index, rank in enumerate(("2", "3", "1")):
        page.locator(".rank-input").nth(index).fill(rank)
    assert why.nth(2).is_visible()
    assert not why.nth(0).is_visible()
    why.nth(2).locator("textarea").fill("Shorter.")
    helpful.nth(2).locator("input[value='3']").check()
    page.locator(".flag-input[value=untrue]").nth(1).uncheck()
    page.locator(".overall-input").nth(2).select_option("6")
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(DOUBLE_IDS) == []
    assert page.evaluate(WIDER) <= 0
    page.fill("#reason", "first and last were swapped")
    page.click("#reason-form button.primary")
    page.locator("table", has_text="first and last were swapped").first.wait_for()
    label = answered.store.labels()[-1]
    assert (label.annotator, label.ranks) == ("ann", [2, 3, 1])
    assert label.extra["overall"] == [None, None, 6]
    assert "flags" not in label.extra
    answers = label.extra["criteria"]
    assert answers["helpful"] == [4, 0, 3]
    assert answers["why"] == [{"response": 2, "answer": "Shorter."}]
    assert answers["topics"] == ["food", "law"]
    assert answers["wrong"][1][0]["text"] == "Never"


def test_person_is_paused_and_the_table_renews_itself(campaign, open_page):
    page = visit(open_page(campaign, "admin"), campaign, "/admin/people")
    page.click("button[data-settings=ann]")
    page.check("#settings-paused")
    page.fill("#settings-tags", "de, maths")
    page.fill("#settings-cap", "10")
    page.click("#settings-form button.primary")
    page.locator("tr", has_text="de, maths").wait_for()
    assert campaign.queue.obstacle("ann") == "paused"
    page.click("button[data-settings=bob]")
    page.keyboard.press("Escape")
    page.evaluate("() => { document.querySelector('#live').firstElementChild.dataset.old = '1'; }")
    page.wait_for_selector("#live [data-old]", state="detached")
    assert page.evaluate("document.activeElement.dataset.settings") == "bob"
    page.locator("tr", has_text="de, maths").wait_for()


def test_question_is_answered_on_the_page_and_read_by_the_annotator(campaign, open_page):
    page = visit(open_page(campaign, "admin"), campaign, "/admin/guideline")
    page.fill(".answer-form textarea", "Yes, give both the same rank.")
    page.check(".answer-form input")
    page.click(".answer-form button.primary")
    page.locator("h1", has_text="version 3").wait_for()
    leaving = "() => dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leaving) is True
    page.fill("#guideline-text", "# Be fair\n\nRead it twice.")
    assert page.evaluate(leaving) is False  # the browser asks first
    page.click("#guideline-form button.primary")
    page.locator(".diff .removed", has_text="Are ties allowed?").wait_for()
    page.click("details.preview summary")
    page.locator("details.preview h1", has_text="Be fair").wait_for()
    ann = open_page(campaign, "ann")
    ann.locator("#guideline[open]", has_text="Read it twice").wait_for()
    press(ann, "Escape")
    ann.locator("#open-questions.fresh").wait_for()
    press(ann, "q")
    ann.locator("#question-list", has_text="give both the same rank").wait_for()
    ann.fill("#question-text", "And three?")
    ann.click("#send-question")
    ann.locator("#question-list", has_text="And three?").wait_for()
    assert ann.locator("#open-questions.fresh").count() == 0


@pytest.mark.parametrize("options", [{}, PHONE], ids=["1280", "360"])
def test_adjudicator_decides_an_item(campaign, window, options):
    campaign.token("dana")
    with campaign.store.write() as connection:
        people.update_person(connection, "dana", role="adjudicator")
    page = window(reduced_motion="reduce", **options).enter(campaign.link("dana"))
    page.locator("#left", has_text="4 contested").wait_for()
    page.locator("#guideline[open]", has_text="Read everything").wait_for()
    page.click("#guideline-close")
    page.click("#send")
    page.locator("#problem", has_text="A, B, C, D").wait_for()
    page.fill("#comment", "Blind.")
    for index in range(4):
        page.locator(f"input[name=rank-{index}][value='{index + 1}']").check(force=True)
    page.click("#send")
    page.locator("#labels", has_text="annotator 2").wait_for()
    assert page.input_value("#comment") == "Blind."
    for check in (CONTRASTS, NAMELESS, DOUBLE_IDS):
        assert page.evaluate(check) == []
    assert page.evaluate(WIDER) <= 0
    page.fill("#comment", "Clear.")
    page.click("#send")
    page.locator("#left", has_text="3 contested").wait_for()
    [decision] = [one for one in campaign.store.labels() if one.purpose == "adjudication"]
    assert (decision.annotator, decision.extra["comment"]) == ("dana", "Clear.")


def test_adjudicator_ranks_by_key_and_asks(campaign, window):
    campaign.token("dana")
    with campaign.store.write() as connection:
        people.update_person(connection, "dana", role="adjudicator")
    page = window().enter(campaign.link("dana"))
    press(page, "Escape")  # the guideline, which the button opens again
    page.click("#open-guideline")
    page.locator("#guideline[open]").wait_for()
    press(page, "Escape", "4", "9", "3", "ArrowRight", "1", "ArrowLeft", "ArrowLeft", "2")
    page.focus("input[name=rank-1]:checked")
    press(page, "ArrowRight")  # the next rank, as in any group of radio buttons
    assert page.is_checked("input[name=rank-1][value='4']")
    press(page, "3")  # B has the focus
    assert page.is_checked("input[name=rank-1][value='3']")
    page.wait_for_timeout(1000)  # Enter right after an item appears does nothing
    press(page, "Enter")
    page.locator("#labels", has_text="annotator 2").wait_for()
    press(page, "Enter")
    [blind] = [one for one in campaign.store.labels() if one.purpose == "adjudication"]
    assert [blind.ranks[i] for i in blind.order_shown] == [4, 3, 2, 1]
    page.fill("#comment", "Clear.")
    page.wait_for_timeout(1000)
    press(page, "Control+Enter")
    page.locator("#left", has_text="3 contested").wait_for()
    assert campaign.store.labels()[-1].extra["comment"] == "Clear."  # not by the early Enter
    page.click("#open-questions")
    page.fill("#question-text", "Are ties allowed?")
    page.click("#send-question")
    page.locator("#question-list", has_text="Are ties allowed?").wait_for()


def test_feedback_of_the_qualification_round(tmp_path, open_page):
    """A strict preference is wrong for the tie, so the only round is failed."""
    config = QueueConfig(qualification=2, pass_mark=1.0, tries=1)
    with serving(tmp_path, candidates(1), config) as site:
        gold = [Candidate(prompt=f"g{i}", responses=("x", "y")) for i in range(2)]
        site.store.add_gold(gold, [(1, 2), (1, 1)])
        page = open_page(site, "ann")
        for _ in range(2):
            assert page.locator("#qualification").is_visible()
            press(page, "1", "Enter")
            page.locator("#feedback[open]", has_text="Expected:").wait_for()
            press(page, "Escape")
        page.locator("#empty-title", has_text="You did not qualify").wait_for()
        page.locator("#progress-text", has_text="2 done · 0 left").wait_for()


def test_annotator_changes_a_label_after_the_model_s_ranks(tmp_path, open_page):
    config = QueueConfig(pre_label_share=1.0)
    with serving(tmp_path, candidates(2), config) as site:
        set_pre_labels(site.store, "rm", {1: (4.0, 3.0, 2.0, 1.0), 2: (1.0, 2.0, 3.0, 4.0)})
        order = site.queue.next("ann").order_shown
        page = open_page(site, "ann")
        press(page, *(str(4 - index) for index in order), "Enter")
        page.locator("#second-look[open]", has_text="response 0.0").wait_for()
        page.click("#second-look button[value=change]")
        page.locator("#status", has_text="Undone").wait_for()
        for position, index in enumerate(order):
            page.locator(f"input[name=tier-{position}][value='{index + 1}']").check(force=True)
        press(page, "Enter")
        page.locator("#conversation", has_text="prompt 1").wait_for()
        [label] = site.store.labels()
        assert label.ranks == [1, 2, 3, 4]
        assert label.extra["pre_label"]["first_ranks"] == [4, 3, 2, 1]


def test_no_payload_runs_on_any_page(hostile, open_page):  # noqa: F811
    page = open_page(hostile, "admin")
    for path in [*PAGES, "/items/2", "/items/3"]:
        visit(page, hostile, f"/admin{path}")
        assert page.evaluate("() => window.hacked") is None
    assert page.locator("a[href^='javascript']").count() == 0
