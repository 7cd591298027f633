"""The screenshots in docs/images/, with made-up items and labels.

python -m tests.labels.screenshots docs/images
"""

import random
import sys
import tempfile
from pathlib import Path

from rlhf.labels.form_config import load_form
from rlhf.labels.records import Candidate, Label
from rlhf.labels.review import decisions
from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.config import WebConfig
from tests.browsing import Window, chromium, press
from tests.labels.page import PHONE
from tests.labels.web_server import Site, serving

PROMPT = "How do I keep basil alive on a windowsill?"
RESPONSES = (
    "Put it where it gets **six hours of sun**, water when the top centimetre is dry, and pinch "
    "off the tips so that it branches.",
    "Basil is a plant.",
    "1. A pot with a hole.\n2. Water from below, in the morning.\n3. Turn it once a week.\n\n"
    "Harvest from the top: never more than a third at once.",
    "Water it `every hour`.",
)


def ranking(browser, folder: Path) -> None:
    """Four responses, three of them ranked."""
    item = Candidate(prompt=PROMPT, responses=RESPONSES)
    more = [Candidate(prompt=f"{PROMPT} {i}", responses=RESPONSES) for i in range(40)]
    with tempfile.TemporaryDirectory() as place, serving(Path(place), [item, *more]) as site:
        page = Window(browser, [], viewport={"width": 1280, "height": 860}).enter(site.link("ann"))
        press(page, "1", "3", "3")
        page.wait_for_timeout(300)  # colour transitions
        page.screenshot(path=folder / "ranking.png")


def phone(browser, folder: Path) -> None:
    """Two responses on a screen of 360 pixels."""
    item = Candidate(prompt=PROMPT, responses=RESPONSES[1:3])
    with tempfile.TemporaryDirectory() as place, serving(Path(place), [item]) as site:
        page = Window(browser, [], viewport=PHONE["viewport"], device_scale_factor=2).enter(
            site.link("ann")
        )
        press(page, "2")
        page.wait_for_timeout(300)
        page.screenshot(path=folder / "phone.png")


def form(browser, folder: Path) -> None:
    """The five ratings of HelpSteer, three of them given."""
    item = Candidate(prompt=PROMPT, responses=(RESPONSES[0], RESPONSES[2]))
    web = WebConfig(form=load_form("helpsteer"))
    with tempfile.TemporaryDirectory() as place, serving(Path(place), [item], web=web) as site:
        page = Window(browser, [], viewport={"width": 1280, "height": 980}).enter(site.link("ann"))
        press(page, "2", "m", "4", "3", "4")
        page.wait_for_timeout(300)
        page.screenshot(path=folder / "form.png")


def stats(browser, folder: Path) -> None:
    """Three careful annotators and one with a strong position bias."""
    items = [Candidate(prompt=f"p{i}", responses=RESPONSES[:3]) for i in range(60)]
    config = QueueConfig(overlap=4)
    with tempfile.TemporaryDirectory() as place, serving(Path(place), items, config) as site:
        draw = random.Random(3)
        for number in range(1, 61):
            for name in ("Ada", "Ben", "Cleo", "Dan"):
                submit(site, number, name, draw)
        page = Window(browser, []).enter(site.link("admin"), ".metrics")
        page.screenshot(path=folder / "stats.png")


def item(browser, folder: Path) -> None:
    """The page of an item with four labels."""
    candidate = Candidate(prompt=PROMPT, responses=RESPONSES[:3], models=("sft", "sft", "ppo"))
    with tempfile.TemporaryDirectory() as place, serving(Path(place), [candidate]) as site:
        for name, ranks, extra in (
            ("Ada", (1, 3, 2), {}),
            ("Ben", (2, 3, 1), {"comment": "The steps are easier to follow."}),
            ("Cleo", (1, 3, 2), {"flags": [[], ["off-topic"], []]}),
            ("Dan", (3, 2, 1), {"comment": "?"}),
        ):
            label = Label(item_id=1, annotator=name, ranks=ranks, seconds=31.0, extra=extra)
            event = site.store.submit(label)
        decisions.correct(site.store, event, [2, 3, 1], "Dan read the scale the wrong way round")
        page = Window(browser, [], viewport={"width": 1280, "height": 1000}).enter(
            site.link("admin"), ".metrics"
        )
        page.goto(f"{site.address}/admin/items/1")
        page.wait_for_selector("body[data-ready]")
        page.screenshot(path=folder / "item.png")


def submit(site: Site, item: int, name: str, draw: random.Random) -> None:
    """Submit a label: the first response is best, then the third, then the second, with noise."""
    order = draw.sample(range(3), 3)
    scores = [2.0 + draw.gauss(0, 1), draw.gauss(0, 1), 1.5 + draw.gauss(0, 1)]
    if name == "Dan":
        scores = [-float(order.index(i)) for i in range(3)]
    ranks = [1 + sum(other > score for other in scores) for score in scores]
    seconds = draw.uniform(2, 4) if name == "Dan" else draw.uniform(15, 50)
    site.store.submit(
        Label(item_id=item, annotator=name, ranks=ranks, order_shown=order, seconds=seconds)
    )


def main() -> None:
    folder = Path(sys.argv[1])
    with chromium() as browser:
        for draw_one in (ranking, phone, form, stats, item):
            draw_one(browser, folder)


if __name__ == "__main__":
    main()
