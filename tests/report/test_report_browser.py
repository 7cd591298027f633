"""report.html in Chromium: on a phone, without scripts, and printed."""

import pytest

from rlhf.report.write import write_report
from tests.browsing import PATIENCE, chromium
from tests.report.made_up_run import write_run

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.mark.parametrize("scripts", [True, False])
def test_page_fits_a_phone_and_prints(run, browser, scripts):
    """One request, no console message, no horizontal overflow, and it prints."""
    requests, messages, path = [], [], write_report(run)
    viewport = {"width": 390, "height": 800}
    context = browser.new_context(viewport=viewport, java_script_enabled=scripts)
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(path.as_uri(), timeout=PATIENCE)
    assert requests == [path.as_uri()]
    assert messages == []
    assert page.locator("h1").inner_text() == "runs"
    box = page.locator("main").bounding_box()
    assert box["x"] >= 0
    assert box["width"] <= 390
    assert len(page.pdf(format="A4")) > 20_000
    context.close()


def test_print_is_white_and_unfolded(run, browser):
    """Printed from a dark screen: white, details open, unchanged keys hidden, no chart cut."""
    path = write_report(run)
    context = browser.new_context(
        viewport={"width": 688, "height": 1017}, color_scheme="dark", java_script_enabled=False
    )  # A4 without its margins
    page = context.new_page()
    page.goto(path.as_uri(), timeout=PATIENCE)
    folded = page.locator("details:not([open]) article").first
    assert folded.bounding_box() is None or not folded.is_visible()
    page.emulate_media(media="print")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    assert folded.is_visible()
    assert not page.locator("tr.same").first.is_visible()
    for chart in page.locator("svg").all():
        box = chart.bounding_box()
        assert box["height"] < 1017
        assert box["x"] + box["width"] <= 688
    context.close()
