"""report.html of a made-up run: everything in it, nothing executable, nothing fetched."""

import json
import math
import re
import shutil
from html.parser import HTMLParser

import pytest

from rlhf.errors import CheckpointError
from rlhf.report.charts import MAX_POINTS, Bar, Series, forest_plot, line_chart, smoothed, thinned
from rlhf.report.read import read_lines, read_run
from rlhf.report.verdict import believable, better, text
from rlhf.report.write import REPORT, render, write_report
from tests.report.made_up_run import evaluation, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs")


@pytest.fixture
def page(run):
    return write_report(run).read_text()


def test_the_page_says_what_happened(page):
    assert "ppo wins 74% [70%, 78%] against sft by the gold score on 200 held-out prompts" in page
    assert "The reward model&#39;s check says pass" in page
    assert "grounded" in page
    assert "rlhf launch recipes/align.py --config" in page
    assert "runs-again" in page  # the folder itself holds a run
    assert "3 of 200 prompts also stand in the training data" in page


def test_model_text_is_escaped(page):
    """Only what the template itself wrote may be markup."""
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "user: Name three birds." in page


def test_thoughts_are_folded_and_escaped(run):
    said = {"ppo": {"text": "A dog.", "thought": "A <b>pet</b>.", "scores": {"gold": 6.25}}}
    row = json.dumps({"prompt": "Pet?", "answers": said}) + "\n"
    (run / "evaluation" / "samples" / "best.jsonl").write_text(row)
    # What a run keeps of its first rows is no exchange.
    (run / "sft" / "samples").mkdir(exist_ok=True)
    (run / "sft" / "samples" / "rows.jsonl").write_text('{"ids": [1], "text": "no exchange"}\n')
    page = write_report(run).read_text()
    folded = (
        '<details class="thought"><summary>thought</summary>A &lt;b&gt;pet&lt;/b&gt;.</details>'
    )
    assert folded + "A dog." in page
    assert page.count('class="thought"') == 1
    assert "no exchange" not in page


class _Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_asks_nothing_of_anybody(page):
    """No tag that fetches or runs, no style that imports; the policy forbids it besides."""
    tags = _Tags(page).found
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "link", "iframe", "a", "object"})
    names = {name for _, attributes in tags for name in attributes}
    assert names.isdisjoint({"src", "href", "style", "xlink:href"})
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_page_is_small_enough_to_mail(page):
    assert len(page) < 5_000_000


def test_a_single_stage_has_a_report_too(run):
    page = write_report(run / "sft").read_text()
    assert "held-out loss went from 3.2 to" in page
    assert "rlhf launch recipes/sft.py" in page


def test_a_run_cut_short_still_has_a_report(run):
    """A crash in the middle of a line, an empty manifest, samples of another shape."""
    with (run / "ppo" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 100, "sco')
    (run / "sft" / "manifest.json").write_text("")
    (run / "evaluation" / "samples" / "best.jsonl").write_text('{"odd": 1}\n[2]\n')
    (run / "evaluation" / "evaluation.json").unlink()
    assert len(read_lines(run / "ppo" / "metrics.jsonl")) == 100
    assert (run / REPORT) == write_report(run)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_a_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=name):
        write_report(tmp_path / name)


@pytest.mark.parametrize(("gold", "tone"), [(0.74, "green"), (0.51, "amber"), (0.3, "red")])
def test_the_first_light_is_the_win_rate(gold, tone):
    assert better(evaluation(gold=gold)["results"], "ppo").tone == tone


GATE = {"verdict": "pass", "reasons": [], "accuracy": {"value": 1.0, "low": 1.0, "high": 1.0}}


@pytest.mark.parametrize(
    ("gold", "proxy", "gamed"), [(0.45, 0.95, True), (0.52, 0.95, True), (0.52, 0.58, False)]
)
def test_a_win_by_the_proxy_alone_is_a_red_light(gold, proxy, gamed):
    """Intervals are ±0.04: 0.52 and 0.58 overlap, which is too little said to call it gamed."""
    light = believable(evaluation(gold=gold, proxy=proxy)["results"], "ppo", GATE)
    assert (light.tone == "red") is gamed
    assert ("gamed" in light.text) is gamed


def _by_rewards(proxy, other=None):
    """Win rates by the reward model trained on, and maybe by another one."""
    sources = {"trained_on": proxy} | ({"other": other} if other else {})
    return [
        {"metric": "win_rate", "model": "ppo", "baseline": "sft", "judge": "reward_model",
         "judge_source": source, "value": value, "low": value - 0.04, "high": value + 0.04, "n": 9}
        for source, value in sources.items()
    ]  # fmt: skip


def test_the_first_reward_model_is_the_proxy_and_no_judge_of_itself():
    """Alone it is amber; a second one is believed before it, and finds the game."""
    alone = better(_by_rewards(0.9), "ppo")
    assert (alone.tone, "ask a judge" in alone.text) == ("amber", True)
    both = _by_rewards(0.9, 0.7)
    assert better(both, "ppo").tone == "green"
    assert "70%" in better(both, "ppo").text
    assert "gamed" in believable(_by_rewards(0.9, 0.4), "ppo", GATE).text


def test_verdicts_that_could_not_be_read_are_said_beside_the_win_rate():
    win = {"metric": "win_rate", "model": "ppo", "baseline": "sft", "judge": "llm",
           "value": 0.5, "low": 0.5, "high": 0.5, "n": 50}  # fmt: skip
    unread = {**win, "metric": "judge_unparsable", "value": 0.9, "baseline": None}
    assert "90% could not be read" in better([win, unread], "ppo").text
    assert "read" not in better([win, {**unread, "value": 0.05}], "ppo").text


def test_the_third_light_needs_no_judge():
    """Where nobody judged no figure names the baseline; evaluation.json does."""
    results = [r for r in evaluation(distinct=0.1)["results"] if r["judge"] is None]
    assert text(results, "ppo") is None
    assert text(results, "ppo", "sft").tone == "red"


def test_people_are_no_baseline_and_the_ranking_is_drawn(run):
    path = run / "evaluation" / "evaluation.json"
    content = json.loads(path.read_text())
    figure = {**content["results"][0], "baseline": None, "judge": "human"}
    content["results"] += [
        {**figure, "metric": "judge_gold", "model": "people", "value": 0.875},
        {**figure, "metric": "win_rate", "model": "empty", "baseline": "sft", "judge": "gold"},
        {**figure, "metric": "axis", "axis": "courtesy", "model": "empty", "value": 0.123},
        {**figure, "metric": "bradley_terry", "model": "ppo", "judge": "gold", "value": 1.5},
        {**figure, "metric": "bradley_terry", "model": "empty", "judge": "gold", "value": -1.5},
    ]
    content["models"] = {"sft": "a", "ppo": "b"}
    content["tax"] = {"int8_share": {"sft": 0.625, "<b>": 1.0}}
    path.write_text(json.dumps(content))
    page = write_report(run).read_text()
    beaten = page[page.index("What it takes to beat") : page.index("Those who judged")]
    assert "people" not in beaten
    assert "0.123" in beaten
    assert "0.875" in page[page.index("Those who judged") :]
    assert "Bradley-Terry ranking (gold)" in page
    assert "int8 means 62% of sft&#39;s, 100% of &lt;b&gt;" in page.replace("'s", "&#39;s")


def test_a_figure_without_a_value_yet_breaks_nothing(run):
    """NaN is what a figure has that is not known yet: of all points, or of the last."""
    with (run / "ppo" / "metrics.jsonl").open("w") as file:
        for step in range(20):
            loss = 1 / (step + 1) if step < 19 else float("nan")
            file.write(
                json.dumps({"step": step, "explained_variance": math.nan, "loss": loss}) + "\n"
            )
    for folder in (run, run / "ppo"):
        page = write_report(folder).read_text()
        assert "explained variance" not in page
        assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert "loss went from 1 to 0.0526" in page  # 1/19, the last that there is


@pytest.mark.parametrize("results", [{"arc": 0.5}, [1, {"metric": "win_rate", "model": "ppo"}], 3])
def test_results_of_another_shape_are_passed_over(run, results):
    """Another tool's evaluation.json, or one that a hand has been at."""
    path = run / "evaluation" / "evaluation.json"
    path.write_text(json.dumps({"results": results, "models": {"ppo": "x"}}))
    assert "What was run" in write_report(run).read_text()


def test_a_run_that_no_recipe_made_names_no_command(run):
    (run / "config.yaml").unlink()
    assert "Again:" not in write_report(run).read_text()


@pytest.mark.parametrize(("distinct", "tone"), [(0.30, "green"), (0.2, "amber"), (0.15, "red")])
def test_the_third_light_turns_red_where_diversity_halves(distinct, tone):
    """distinct-2 of the baseline is 0.31."""
    assert text(evaluation(distinct=distinct)["results"], "ppo").tone == tone


def test_a_long_curve_is_thinned_and_keeps_its_end():
    xs = [float(i) for i in range(10_000)]
    kept = thinned(Series(name="loss", xs=xs, ys=xs))
    assert len(kept.xs) <= MAX_POINTS
    assert kept.xs[-1] == 9_999.0


def test_smoothing_keeps_a_constant_and_few_points_as_they_are():
    assert smoothed([2.0] * 50) == [2.0] * 50
    assert smoothed([1.0, 5.0, 3.0]) == [1.0, 5.0, 3.0]


def test_a_constant_curve_and_one_point_can_be_drawn():
    assert "polyline" in line_chart([Series(name="kl", xs=[1.0], ys=[0.0])])
    assert line_chart([Series(name="kl", xs=[], ys=[])]) == ""


def test_a_long_forest_is_several_plots_that_a_page_can_hold():
    bars = [Bar(label=f"bar {i}", value=0.5, low=0.4, high=0.6) for i in range(20)]
    chart = forest_plot(bars)
    assert chart.count("<svg") == 2
    assert [chart.count(f">bar {i}<") for i in range(20)] == [1] * 20


def test_a_forest_between_other_ends_stands_in_its_middle():
    """0 of -2 … 2 lies halfway between 46 and 350."""
    chart = forest_plot([Bar(label="x", value=0.0, low=-2.0, high=2.0)], middle=0.0, ends=(-2, 2))
    assert 'cx="198.0"' in chart
    assert 'x1="46.0" x2="350.0"' in chart


def test_labels_of_charts_are_escaped():
    chart = forest_plot([Bar(label="<i>x</i>", value=0.5, low=0.4, high=0.6)])
    assert "<i>" not in chart


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium, which is not here")
@pytest.mark.parametrize("scripts", [True, False])
def test_chromium_draws_the_page_on_a_phone_and_on_paper(run, scripts):
    """One request, the page itself; no complaint, nothing beside the screen, and it prints."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    asked, said, page_path = [], [], write_report(run)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(
            viewport={"width": 390, "height": 800}, java_script_enabled=scripts
        )
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(page_path.as_uri(), timeout=120_000)
        assert asked == [page_path.as_uri()]
        assert said == []
        assert page.locator("h1").inner_text() == "runs"
        box = page.locator("main").bounding_box()
        assert box["x"] >= 0
        assert box["width"] <= 390
        assert len(page.pdf(format="A4")) > 20_000
        browser.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium, which is not here")
def test_paper_is_white_and_shows_what_is_folded_away(run):
    """From a dark screen: a white page, details open, unchanged keys left out, no chart cut."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = write_report(run)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(
            viewport={"width": 688, "height": 1017}, color_scheme="dark", java_script_enabled=False
        )  # A4 without its margins
        page = context.new_page()
        page.goto(path.as_uri(), timeout=120_000)
        folded = page.locator("details:not([open]) article").first
        assert folded.bounding_box() is None or not folded.is_visible()
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)"
        )
        assert folded.is_visible()
        assert not page.locator("tr.same").first.is_visible()
        for chart in page.locator("svg").all():
            box = chart.bounding_box()
            assert box["height"] < 1017
            assert box["x"] + box["width"] <= 688
        browser.close()


def test_a_reward_models_figures_are_drawn_and_are_no_evaluation_of_policies(tmp_path):
    """Its evaluation.json has no win rate: it makes a section and a light of its own."""
    folder = tmp_path / "run" / "reward_model"
    folder.mkdir(parents=True)
    figure = {"metric": "accuracy", "model": "reward_model", "value": 0.7, "low": 0.6,
              "high": 0.8, "n": 50, "baseline": None, "judge": None}  # fmt: skip
    bins = [{"confidence": x, "accuracy": x, "low": x, "high": x, "pairs": 9} for x in (0.6, 0.9)]
    points = [{"n": n, "kl_bound": n / 9, "reward": n, "people": 0.5} for n in (1, 2)]
    content = {
        "kind": "reward_model",
        "results": [figure, {**figure, "subset": "annotator <b>Ann</b>", "value": 0.4}],
        "reliability": bins,
        "best_of_n": points,
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    gate = {"verdict": "warn", "reasons": ["too few <prompts>"], "accuracy": None}
    (folder / "gate.json").write_text(json.dumps(gate))
    (folder / "manifest.json").write_text(json.dumps({"stage": "reward_model"}))
    for run in (folder, folder.parent):
        view = read_run(run)
        assert [stage.name for stage in view.stages] == ["reward_model"]
        page = render(view)
        assert "The reward model&#39;s health" in page or "The reward model's health" in page
        assert "annotator &lt;b&gt;Ann&lt;/b&gt;" in page
        assert "<b>Ann" not in page
        assert "calibration" in page
        assert "best of N: reward" in page
        assert "says warn: too few &lt;prompts&gt;" in page
