"""The report's parts by value: plateaus, word diffs, heat, maps, settings, labels, frontier."""

import json
import math
import threading

import numpy as np
import pytest

from rlhf.report.diagnostics import reward_model_view
from rlhf.report.frontier import frontier_view
from rlhf.report.interval import interval_text
from rlhf.report.labels import label_view
from rlhf.report.metrics import table
from rlhf.report.plateau import plateau
from rlhf.report.prompt_map import principal_plane, prompt_map
from rlhf.report.settings import parse_settings
from rlhf.report.token_map import heat_maps, shade
from rlhf.report.verdict import reward_light
from rlhf.report.words import ADDED, REMOVED, SAME, DiffPart, word_diff
from rlhf.report.write import REPORT, watch, write_report
from rlhf.runtime.config import as_yaml_with_defaults, parse_config
from rlhf.runtime.run_folder import RunConfig
from tests.report.made_up_run import write_run

STEPS = [float(i) for i in range(100)]


def test_plateau_begins_where_the_loss_is_flat():
    """exp(-t/10) falls to 2% of its height at t = 39; the mean over 11 points smears that."""
    curve = plateau(STEPS, [1 + math.exp(-t / 10) for t in STEPS], held_out=True)
    assert 35 <= curve.step <= 45
    assert "would not help" in curve.summary


def test_falling_loss_has_no_plateau():
    curve = plateau(STEPS, [3 - t / 100 for t in STEPS], held_out=True)
    assert curve.step is None
    assert "more steps would help" in curve.summary


def test_rising_held_out_loss_is_reported():
    """1 + (t - 40)² / 1600 is lowest at 40 and ends at 3.2."""
    curve = plateau(STEPS, [1 + (t - 40) ** 2 / 1600 for t in STEPS], held_out=True)
    assert curve.step == pytest.approx(40, abs=3)
    assert "rises after" in curve.summary


def test_plateau_is_robust_to_noise():
    rng = np.random.default_rng(0)
    losses = [1 + math.exp(-t / 10) + 0.02 * rng.normal() for t in STEPS]
    assert 15 <= plateau(STEPS, losses, held_out=False).step <= 60


def test_plateau_of_constant_and_short_losses():
    assert "never fell" in plateau(STEPS, [1.0] * 100, held_out=False).summary
    assert plateau(STEPS[:5], [1.0] * 5, held_out=False) is None


def test_word_diff_of_two_sentences():
    assert word_diff("Bob likes tea.", "Bob likes honey, Sue.") == [
        DiffPart(kind=SAME, text="Bob likes "),
        DiffPart(kind=REMOVED, text="tea."),
        DiffPart(kind=ADDED, text="honey, Sue."),
    ]


@pytest.mark.parametrize(("one", "other"), [("a b c", "a x c d"), ("", "new"), ("gone", "")])
def test_diff_parts_join_to_both_texts(one, other):
    parts = word_diff(one, other)
    before = " ".join(p.text.strip() for p in parts if p.kind != ADDED).split()
    assert before == one.split()
    assert "".join(p.text for p in parts if p.kind != REMOVED) == other


def test_long_texts_are_not_compared():
    assert word_diff("a " * 1000, "b " * 1000) == []


def test_shades_are_symmetric():
    assert [shade(v, 2.0) for v in (-2.0, -0.1, 0.0, 1.0, 9.0)] == ["hm4", "h0", "h0", "h2", "h4"]
    assert shade(float("nan"), 1.0) == "h0"


def test_heat_map_has_a_row_per_value_and_tooltips():
    row = {"prompt": "p", "kind": "best", "score": 1.5, "tokens": ["a", "<b>"],
           "logprobs": [-1.0, -3.0], "kl": [0.0, 2.0], "advantages": [-1.0, 1.0]}  # fmt: skip
    [heat] = heat_maps([row, {"tokens": ["x"]}, {"tokens": ["x"], "kl": [1, 2]}])
    rows = {name: [token.shade for token in tokens] for name, tokens in heat.rows}
    assert rows["advantage"] == ["hm4", "h4"]
    assert rows["KL from the reference"] == ["h0", "h4"]
    assert rows["log-probability"] == ["h4", "hm4"]  # from their mean
    assert heat.rows[0][1][1].tip == "advantage 1; KL from the reference 2; log-probability -3"


def test_principal_plane_has_most_variance():
    """Points along (3, 4): the first coordinate is their length, the second 0."""
    plane = principal_plane(np.array([[-3.0, -4.0], [0.0, 0.0], [3.0, 4.0]]))
    assert plane[:, 0].tolist() == pytest.approx([-5.0, 0.0, 5.0])
    assert np.abs(plane[:, 1]).max() < 1e-9


def test_prompt_map_ignores_broken_files(tmp_path):
    path = tmp_path / "embeddings.npz"
    points = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float16)
    np.savez(path, embeddings=points, scores=np.arange(5.0), prompts=np.array(["<i>"] * 5))
    chart = prompt_map(path)
    assert chart.count("<circle") == 5
    assert "<i>" not in chart
    path.write_bytes(path.read_bytes()[:100])
    assert prompt_map(path) == ""
    assert prompt_map(tmp_path / "nowhere.npz") == ""


def test_changed_settings_have_their_default(tmp_path):
    run = RunConfig(output_dir="x", seed=7, report_to=[])
    settings = parse_settings(as_yaml_with_defaults(run))
    assert [(s.key, s.value, s.default) for s in settings if s.default] == [("seed", "7", "0")]
    assert ("output_dir", "x", "") in [(s.key, s.value, s.default) for s in settings]


def test_config_with_defaults_is_parsed_back(tmp_path):
    run = RunConfig(output_dir="a # default b", seed=3, push_to_hub="x\ny: 'z'")
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml_with_defaults(run))
    assert parse_config(RunConfig, description=None, argv=["--config", str(path)]) == (run,)


def test_page_names_the_best_step(tmp_path):
    run = write_run(tmp_path / "runs")
    file = run / "ppo" / "best" / "best.json"
    file.parent.mkdir()
    file.write_text(
        json.dumps({"step": 40, "eval_score": 1.25, "eval_kl": 3.5, "eval_eos_rate": 1})
    )
    note = "best/ is step 40: eval_score 1.250 at a KL of 3.50 nats."
    assert write_report(run).read_text().count(note) == 1
    file.write_text('{"step": 40')
    assert "best/ is step" not in write_report(run).read_text()


def test_label_view_leaves_out_unmeasured_columns():
    share = {"value": 0.75, "n": 40}
    none = {"value": 0.0, "n": 0}
    unmeasured = dict.fromkeys(("gold_items", "self_agreement", "longer", "ties"), none)
    ann = {"name": "<Ann>", "labels": 12, "agreement": share, "first_shown": share, **unmeasured}
    stats = {
        "labels": 12,
        "labelled_items": 10,
        "agreement": share,
        "alpha": none,
        "annotators": [ann],
        "concerns": [{"annotator": "Ann", "reason": "hasty"}],
    }
    view = label_view(stats)
    assert list(view.header) == ["", "labels", "agreement with others", "first shown wins"]
    assert view.rows == [["<Ann>", "12", "0.75", "0.75"]]
    assert view.concerns == ["Ann: hasty"]
    assert label_view({}) is None


def _frontier(**fields):
    def estimate(value):
        return {"value": value, "low": value, "high": value, "n": 9}

    points = [
        {"name": f"step {i}", "step": i, "kl": estimate(i * i), "proxy": estimate(i),
         "held_out": estimate(-i)}
        for i in range(4)
    ]  # fmt: skip
    fit = {"form": "d(α-βd)", "judge": "held_out", "alpha": 1.0, "beta": 2.0, "r2": 0.9}
    return {"points": points, "fits": [fit], "says": "Over-optimised: take step 1.", **fields}


def test_every_figure_has_what_it_detects():
    """Of policies and of reward models; not in files of earlier versions, which lack it."""
    score = {"metric": "score", "model": "ppo", "value": 0.731, "low": 0.7, "high": 0.76, "n": 50}
    results = [score | {"mde": 0.0429}]
    text = "0.731 [0.7, 0.76], detects ± 0.043"
    assert table(results, ["ppo"]) == [("score", [text])]
    assert reward_model_view({"results": results}).metrics == [("score", text, 50)]
    assert interval_text(score) == "0.731 [0.7, 0.76]"


def test_frontier_is_drawn_with_its_fits():
    view = frontier_view({"frontier": _frontier(), "results": []})
    assert len(view.charts) == 2
    assert view.fits == ["held-out judge: d(α-βd) with α 1, β 2, R² 0.90"]
    proxy, held_out = (lines for _, _, lines in view.charts)
    assert (proxy, held_out) == (["proxy"], ["held-out judge", "d(α-βd)"])
    # d = 1 … 3 and held_out = -d² from 0: the fit goes from 0 + 1 (1 - 2) to 0 + 3 (1 - 6).
    assert "<title>d(α-βd): -1 to -15</title>" in view.charts[1][1]
    assert frontier_view({"results": []}) is None


def test_over_optimisation_and_better_lookup_are_red_lights():
    gate = {"verdict": "pass", "reasons": [], "accuracy": None}
    light = reward_light([], "ppo", gate, _frontier(over_optimized=True))
    assert (light.tone, light.text) == ("red", "Over-optimised: take step 1.")
    win = {"metric": "win_rate", "model": "ppo", "baseline": "lookup", "judge": "gold",
           "value": 0.3, "low": 0.2, "high": 0.4, "n": 50}  # fmt: skip
    assert "Worse than a lookup in the training data" in reward_light([win], "ppo", gate).text


def test_watch_writes_again_when_a_file_changes(tmp_path):
    """The folder may be empty at first; the last page no longer reloads itself."""
    folder, messages, pages = tmp_path / "run", [], []
    folder.mkdir()

    def sleep(seconds):
        pages.append((folder / REPORT).read_text() if (folder / REPORT).exists() else "")
        if len(pages) == 1:
            write_run(folder)
        elif len(pages) == 3:
            with (folder / "ppo" / "metrics.jsonl").open("a") as file:
                file.write('{"step": 100, "score": 2')  # half a line: the run is still writing
        elif len(pages) == 5:
            raise KeyboardInterrupt

    watch(folder, seconds=2.0, log=messages.append, sleep=sleep)
    assert "has no run yet" in messages[1]
    assert len([line for line in messages if REPORT in line]) == 2  # in five checks
    assert 'http-equiv="refresh" content="2"' in pages[1]
    assert 'http-equiv="refresh"' not in (folder / REPORT).read_text()


def test_report_of_a_folder_that_is_being_written(tmp_path):
    """Meanwhile a thread appends lines and replaces files as fast as it can."""
    run, stop = write_run(tmp_path / "run"), threading.Event()

    def write():
        step = 100
        while not stop.is_set():
            with (run / "ppo" / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": (step := step + 1), "score": 1.0}) + "\n")
            manifest = run / "sft" / "manifest.json"
            (run / "sft" / "new.json").write_text(manifest.read_text())
            (run / "sft" / "new.json").replace(manifest)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            assert "Held-out prompts" in write_report(run).read_text()
    finally:
        stop.set()
        writer.join()
