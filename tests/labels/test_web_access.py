"""Accessibility of the pages: names, focus, contrast, size of touch targets."""

import pytest

from rlhf.labels.records import Candidate
from tests.browsing import press
from tests.labels.web_server import candidates, serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PAIR = Candidate(prompt="Which?", responses=("**first**", "second"))
# Visible texts with a contrast below 4.5, by WCAG 2.2's relative luminance (1.4.3).
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
  const lowContrast = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility({ opacityProperty: true })) continue;
    if (node.closest(".hidden, .skip-link, :disabled")) continue;
    const below = ground(node);
    const ink = over([...parse(getComputedStyle(node).color).slice(0, 3), opacity(node)], below);
    const [one, other] = [light(ink), light(below)].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) lowContrast.push([walk.currentNode.data.trim(), node.className, contrast]);
  }
  return lowContrast;
}"""
# Visible controls and regions without an accessible name.
NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, a, [role], section")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.getAttribute("aria-label") || node.labels?.length
      || node.getAttribute("role") === "status" || node.textContent.trim()))
  .map((node) => node.outerHTML)"""
DOUBLE_IDS = """() => [...document.querySelectorAll("[id]")].map((node) => node.id)
  .filter((id, index, all) => all.indexOf(id) !== index)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("count", [2, 4])
def test_text_has_contrast_and_controls_have_names(tmp_path, open_page, scheme, count):
    with serving(tmp_path, [PAIR] if count == 2 else candidates(1)) as site:
        site.store.add_guideline("# Be kind\n\n`code` and [a link](https://example.org)")
        # Without motion: contrast is not measured in the middle of a colour transition.
        options = {"color_scheme": scheme, "reduced_motion": "reduce"}
        page = open_page(site, "ann", **options)
        assert page.evaluate(CONTRASTS) == []
        for key, name in (("?", "keys"), ("s", "skip-dialog")):
            press(page, "Escape", key)
            page.locator(f"#{name}[open]").wait_for()
            assert page.evaluate(CONTRASTS) == [], name
            assert page.evaluate(NAMELESS) == [], name
        press(page, "Escape", "1", "c", "Escape", "w", "Escape", "f", "Space")
        if count > 2:
            press(page, "Enter")  # shows a problem, in its own colour
        assert page.evaluate(CONTRASTS) == []
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(DOUBLE_IDS) == []
        assert page.evaluate("() => document.documentElement.lang") == "en"
        admin = open_page(site, "admin", **options)
        assert admin.evaluate(CONTRASTS) == []
        assert admin.evaluate(NAMELESS) == []


def test_accessibility_tree_has_all_regions_and_controls(tmp_path, open_page):
    """Chromium's own accessibility tree of the page with two responses."""
    with serving(tmp_path, [PAIR]) as site:
        page = open_page(site, "ann")
        tree = page.locator("body").aria_snapshot()
        for part in (
            'progressbar "Share of items done"',
            'navigation "Help and actions"',
            'heading "Rank the responses" [level=1]',
            'region "Conversation"',
            'region "Responses"',
            'article "Response A"',
            'article "Response B"',
            'group "Which response is better, and by how much"',
            'radio "A is much better"',
            'radio "equally good"',
            'radio "B is slightly better"',
            'checkbox "both bad b"',
            'checkbox "A: unsafe"',
            'radio "B: 7 of 7"',
        ):
            assert part in tree, tree
        page.get_by_role("radio", name="B is clearly better").check()
        page.locator("#announcement", has_text="B is clearly better").wait_for(state="attached")


def test_tab_reaches_every_control_with_visible_focus(tmp_path, open_page):
    """From the first to the last control with Tab alone, each with a visible outline."""
    with serving(tmp_path, candidates(1, responses=3)) as site:
        page = open_page(site, "ann")
        page.evaluate("() => document.activeElement.blur()")
        focused = set()
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
            focused.add(name)
        expected = {
            "undo",
            "open-keys",
            "tier-0",
            "flag-0",
            "overall-0",
            "tier-2",
            "skip",
            "submit",
        }
        assert expected <= focused


def test_touch_targets_are_at_least_24_pixels(tmp_path, open_page):
    """WCAG 2.2, 2.5.8, on a phone, for two responses and for eight."""
    small = {"width": 360, "height": 740}
    items = [PAIR, *candidates(1, responses=8)]
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
            assert dock < small["height"] / 4  # the rest of the screen is for reading
            if number == 0:
                page.locator("input[name=scale][value='-2']").tap()
                page.locator("#submit").tap()
                page.locator("#conversation", has_text="prompt 0").wait_for()
