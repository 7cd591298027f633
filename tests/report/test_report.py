"""report.html of a made-up run: complete, without executable content or requests."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from rlhf.report.page import render
from rlhf.report.read import read_lines, read_run
from rlhf.report.write import REPORT, write_report
from tests.errors import raises
from tests.report.made_up_run import write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run that no test changes."""
    return write_report(write_run(tmp_path_factory.mktemp("page") / "runs")).read_text()


def test_page_has_the_results(page):
    assert "ppo wins 74% [70%, 78%] against sft by the gold scorer on 200 held-out prompts" in page
    assert "Gate of the reward model: pass (accuracy 0.78 [0.74, 0.82]" in page
    assert "grounded" in page
    assert "rlhf align --config" in page
    assert "runs-again" in page  # the folder itself has a run
    assert "3 of 200 prompts also occur in the training data" in page


def test_contents_lead_to_every_section(page):
    nav = re.search('<nav class="contents".*?</nav>', page)[0]
    links = re.findall('<a href="#(s[0-9]+)">(.*?)</a>', nav)
    assert links == re.findall('<h2 id="(s[0-9]+)">(.*?)</h2>', page)
    assert [title for _, title in links][:1] == ["Held-out prompts"]
    assert links[-1][1] == "Run"
    assert "<!-- contents -->" not in page


def test_model_text_is_escaped(page):
    """Only the template may write markup."""
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "user: Name three birds." in page


def test_thoughts_are_folded_and_escaped(run):
    responses = {"ppo": {"text": "A dog.", "thought": "A <b>pet</b>.", "scores": {"gold": 6.25}}}
    row = json.dumps({"prompt": "Pet?", "answers": responses}) + "\n"
    (run / "evaluation" / "samples" / "best.jsonl").write_text(row)
    # The first rows of a run are not exchanges.
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
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_page_has_no_scripts_or_requests(page):
    """No tag that fetches or runs and no style that imports; the policy forbids both, too.

    Links lead to sections of the page itself.
    """
    tags = _Tags(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "link", "iframe", "object"})
    names = {name for _, attributes in tags for name in attributes}
    assert names.isdisjoint({"src", "style", "xlink:href"})
    links = [(tag, attributes["href"]) for tag, attributes in tags if "href" in attributes]
    assert all(tag == "a" and target.startswith("#s") for tag, target in links)
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_page_is_below_5_mb(page):
    assert len(page) < 5_000_000


def test_report_of_a_single_stage(run):
    page = write_report(run / "sft").read_text()
    assert "held-out loss went from 3.2 to" in page
    assert "rlhf sft --config" in page


def test_report_of_an_interrupted_run(run):
    """A crash in the middle of a line, an empty manifest, samples of another form."""
    with (run / "ppo" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 100, "sco')
    (run / "sft" / "manifest.json").write_text("")
    (run / "evaluation" / "samples" / "best.jsonl").write_text('{"odd": 1}\n[2]\n')
    (run / "evaluation" / "evaluation.json").unlink()
    assert len(read_lines(run / "ppo" / "metrics.jsonl")) == 100
    assert (run / REPORT) == write_report(run)


def test_line_separator_in_a_text_does_not_end_its_line(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "a\u2028b"}\n{"text": "c"}\n')
    texts = [row["text"] for row in read_lines(tmp_path / "answers.jsonl")]
    assert texts == ["a\u2028b", "c"]
    assert read_lines(tmp_path / "missing.jsonl") == []


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_folder_without_a_run_is_rejected(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with raises("missing-file", name):
        write_report(tmp_path / name)


def test_human_judges_are_not_listed_as_baseline(run):
    path = run / "evaluation" / "evaluation.json"
    content = json.loads(path.read_text())
    result = {**content["results"][0], "baseline": None, "judge": "human"}
    content["results"] += [
        {**result, "metric": "judge_gold", "model": "people", "value": 0.875},
        {**result, "metric": "win_rate", "model": "empty", "baseline": "sft", "judge": "gold"},
        {**result, "metric": "axis", "axis": "courtesy", "model": "empty", "value": 0.123},
        {**result, "metric": "bradley_terry", "model": "ppo", "judge": "gold", "value": 1.5},
        {
            **result,
            "metric": "bradley_terry",
            "model": "empty",
            "judge": "gold",
            "value": -1.5,
            "low": None,
            "high": None,
        },
    ]
    content["models"] = {"sft": "a", "ppo": "b"}
    content["tax"] = {"int8_share": {"sft": 0.625, "<b>": 1.0}}
    path.write_text(json.dumps(content))
    page = write_report(run).read_text()
    baselines = page[page.index("Baselines") : page.index("Human judges")]
    assert "people" not in baselines
    assert "0.123" in baselines
    assert "0.875" in page[page.index("Human judges") :]
    assert "Bradley-Terry ranking (gold)" in page
    assert "empty, no interval" in page
    assert "in int8: 62% of sft, 100% of &lt;b&gt;" in page


def test_nan_metrics_are_left_out(run):
    """A metric without a value yet is NaN: at all steps, or at the last one."""
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
    assert "loss went from 1 to 0.0526" in page  # 1/19, the last finite value


@pytest.mark.parametrize("results", [{"arc": 0.5}, [1, {"metric": "win_rate", "model": "ppo"}], 3])
def test_results_of_another_form_are_ignored(run, results):
    """An evaluation.json of another tool, or one edited by hand."""
    path = run / "evaluation" / "evaluation.json"
    path.write_text(json.dumps({"results": results, "models": {"ppo": "x"}}))
    assert ">Run</h2>" in write_report(run).read_text()


def test_run_without_config_has_no_command(run):
    (run / "config.yaml").unlink()
    assert "Repeat this run" not in write_report(run).read_text()


def test_reward_model_evaluation_has_its_own_section(tmp_path):
    """Its evaluation.json has no win rates, but a section and a light of its own."""
    folder = tmp_path / "run" / "reward_model"
    folder.mkdir(parents=True)
    result = {"metric": "accuracy", "model": "reward_model", "value": 0.7, "low": 0.6,
              "high": 0.8, "n": 50, "baseline": None, "judge": None}  # fmt: skip
    bins = [{"confidence": x, "accuracy": x, "low": x, "high": x, "pairs": 9} for x in (0.6, 0.9)]
    points = [{"n": n, "kl_bound": n / 9, "reward": n, "people": 0.5} for n in (1, 2)]
    content = {
        "kind": "reward_model",
        "results": [result, {**result, "subset": "annotator <b>Ann</b>", "value": 0.4}],
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
        assert ">Reward model</h2>" in page
        assert "annotator &lt;b&gt;Ann&lt;/b&gt;" in page
        assert "<b>Ann" not in page
        assert "calibration" in page
        assert "best of N: reward" in page
        assert "Gate of the reward model: warn (too few &lt;prompts&gt;)" in page
