"""The page for people who do not see it as others do: names, focus, contrast, size of targets."""

import pytest

from rlhf.labels.records import Candidate
from tests.browsing import press
from tests.labels.web_server import pairs_and_more, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PAIR = Candidate(prompt="Which?", responses=("**first**", "second"))
# WCAG 2.2's relative luminance and contrast of every text that can be seen: 4.5 is wanted (1.4.3).
CONTRASTS = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => alpha * top[i] + (1 - alpha) * below[i]);
  };
  const ground = (node) => {
    if (node === null) return [255, 255, 255];
    const color = parse(getComputedStyle(node).backgroundColor);
    return (color[3] ?? 1) === 1 ? color : over(color, ground(node.parentElement));
  };
  const opacity = (node) =>
    node === null ? 1 : Number(getComputedStyle(node).opacity) * opacity(node.parentElement);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility({ opacityProperty: true })) continue;
    if (node.closest(".hidden, .jump, :disabled")) continue;
    const below = ground(node);
    const ink = over([...parse(getComputedStyle(node).color).slice(0, 3), opacity(node)], below);
    const [one, other] = [light(ink), light(below)].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) found.push([walk.currentNode.data.trim(), node.className, contrast]);
  }
  return found;
}"""
# What stands on the page and can be used, without a name that a screen reader could say.
NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, a, [role], section")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.getAttribute("aria-label") || node.labels?.length
      || node.getAttribute("role") === "status" || node.textContent.trim()))
  .map((node) => node.outerHTML)"""
DOUBLE_IDS = """() => [...document.querySelectorAll("[id]")].map((node) => node.id)
  .filter((id, index, all) => all.indexOf(id) !== index)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("count", [2, 4])
def test_text_stands_out_and_everything_has_a_name(tmp_path, open_page, scheme, count):
    with serving(tmp_path, [PAIR] if count == 2 else pairs_and_more(1)) as site:
        site.store.add_guideline("# Be kind\n\n`code` and [a link](https://example.org)")
        # Without motion: a colour on its way from one to another is neither.
        how = {"color_scheme": scheme, "reduced_motion": "reduce"}
        page = open_page(site, "ann", **how)
        assert page.evaluate(CONTRASTS) == []
        for key, name in (("?", "keys"), ("s", "skipping")):
            press(page, "Escape", key)
            page.locator(f"#{name}[open]").wait_for()
            assert page.evaluate(CONTRASTS) == [], name
            assert page.evaluate(NAMELESS) == [], name
        press(page, "Escape", "1", "c", "Escape", "w", "Escape", "f", "Space")
        if count > 2:
            press(page, "Enter")  # a problem is said, in its colour
        assert page.evaluate(CONTRASTS) == []
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(DOUBLE_IDS) == []
        assert page.evaluate("() => document.documentElement.lang") == "en"
        admin = open_page(site, "admin", **how)
        assert admin.evaluate(CONTRASTS) == []
        assert admin.evaluate(NAMELESS) == []


def test_a_screen_reader_is_told_what_there_is(tmp_path, open_page):
    """Chromium's own accessibility tree of the page with two answers."""
    with serving(tmp_path, [PAIR]) as site:
        page = open_page(site, "ann")
        tree = page.locator("body").aria_snapshot()
        for part in (
            'progressbar "Share of items done"',
            'navigation "Help and actions"',
            'heading "Rank the answers" [level=1]',
            'region "Conversation"',
            'region "Answers"',
            'article "Answer A"',
            'article "Answer B"',
            'group "Which is better, and how much"',
            'radio "A is much better"',
            'radio "equally good"',
            'radio "B is slightly better"',
            'checkbox "both bad b"',
            'checkbox "A: unsafe"',
            'radio "B: 7 of 7"',
        ):
            assert part in tree, tree
        page.get_by_role("radio", name="B is clearly better").check()
        page.locator("#spoken", has_text="B is clearly better").wait_for(state="attached")


def test_tab_reaches_everything_and_shows_where_it_is(tmp_path, open_page):
    """From the first to the last control by Tab alone, each with an outline that can be seen."""
    with serving(tmp_path, pairs_and_more(1, answers=3)) as site:
        page = open_page(site, "ann")
        page.evaluate("() => document.activeElement.blur()")
        seen = set()
        for _ in range(60):
            press(page, "Tab")
            name, outline = page.evaluate(
                """() => {
                    const node = document.activeElement;
                    const drawn = node.type === "radio" || node.type === "checkbox"
                        ? node.nextElementSibling ?? node : node;
                    return [node.id || node.name || node.tagName,
                        getComputedStyle(drawn).outlineStyle + getComputedStyle(drawn).boxShadow];
                }"""
            )
            assert name == "BODY" or outline != "nonenone", name
            seen.add(name)
        wanted = {"undo", "open-keys", "tier-0", "flag-0", "overall-0", "tier-2", "skip", "submit"}
        assert wanted <= seen


def test_what_a_finger_touches_is_large_enough(tmp_path, open_page):
    """24 pixels each way (WCAG 2.2, 2.5.8), on a phone, for two answers and for eight."""
    small = {"width": 360, "height": 740}
    items = [PAIR, *pairs_and_more(1, answers=8)]
    with serving(tmp_path, items) as site:
        page = open_page(site, "ann", viewport=small, has_touch=True, is_mobile=True)
        for number in range(2):
            sizes = page.evaluate(
                """() => [...document.querySelectorAll("button, main label, .dock label")]
                    .filter((node) => node.checkVisibility() && !node.closest(".hidden"))
                    .map((node) => [node.getBoundingClientRect(), node.outerHTML])
                    .filter(([box]) => box.width < 24 || box.height < 24)
                    .map(([box, html]) => [box.width, box.height, html])"""
            )
            assert sizes == []
            dock = page.locator("#dock").bounding_box()["height"]
            assert dock < small["height"] / 4  # the rest is for reading
            if number == 0:
                page.locator("input[name=scale][value='-2']").tap()
                page.locator("#submit").tap()
                page.locator("#talk", has_text="prompt 0").wait_for()
