"""The report's parts by value: plateaus, word diffs, heat, maps, settings, labels, frontier."""

import json
import math
import threading

import numpy as np
import pytest

from rlhf.report.frontier import frontier_view
from rlhf.report.labels import label_view
from rlhf.report.plateau import plateau
from rlhf.report.prompt_map import principal_plane, prompt_map
from rlhf.report.settings import changed, settings
from rlhf.report.token_map import heat_maps, shade
from rlhf.report.verdict import believable
from rlhf.report.words import GONE, NEW, SAME, Piece, word_diff
from rlhf.report.write import REPORT, watch, write_report
from rlhf.runtime.config import as_yaml_with_defaults, parse_config
from rlhf.runtime.run_folder import RunConfig
from tests.report.made_up_run import write_run

STEPS = [float(i) for i in range(100)]


def test_a_loss_that_falls_and_then_lies_flat_has_its_plateau_where_it_does():
    """exp(-t/10) falls to 2% of its height at t = 39; the mean over 11 points smears that."""
    said = plateau(STEPS, [1 + math.exp(-t / 10) for t in STEPS], held_out=True)
    assert 35 <= said.step <= 45
    assert "would not pay" in said.says


def test_a_loss_that_still_falls_has_none():
    said = plateau(STEPS, [3 - t / 100 for t in STEPS], held_out=True)
    assert said.step is None
    assert "more steps would pay" in said.says


def test_a_held_out_loss_that_rises_again_is_said_to():
    """1 + (t - 40)² / 1600 is lowest at 40 and ends at 3.2."""
    said = plateau(STEPS, [1 + (t - 40) ** 2 / 1600 for t in STEPS], held_out=True)
    assert said.step == pytest.approx(40, abs=3)
    assert "rises after" in said.says


def test_noise_of_a_twentieth_moves_the_plateau_little():
    rng = np.random.default_rng(0)
    losses = [1 + math.exp(-t / 10) + 0.02 * rng.normal() for t in STEPS]
    assert 15 <= plateau(STEPS, losses, held_out=False).step <= 60


def test_a_loss_that_never_falls_and_a_few_points():
    assert "never fell" in plateau(STEPS, [1.0] * 100, held_out=False).says
    assert plateau(STEPS[:5], [1.0] * 5, held_out=False) is None


def test_word_diff_by_hand():
    assert word_diff("Bob likes tea.", "Bob likes honey, Sue.") == [
        Piece(kind=SAME, text="Bob likes "),
        Piece(kind=GONE, text="tea."),
        Piece(kind=NEW, text="honey, Sue."),
    ]


@pytest.mark.parametrize(("one", "other"), [("a b c", "a x c d"), ("", "new"), ("gone", "")])
def test_the_pieces_make_both_texts_again(one, other):
    pieces = word_diff(one, other)
    before = " ".join(p.text.strip() for p in pieces if p.kind != NEW).split()
    assert before == one.split()
    assert "".join(p.text for p in pieces if p.kind != GONE) == other


def test_texts_too_long_to_compare_are_not():
    assert word_diff("a " * 1000, "b " * 1000) == []


def test_shades_grow_to_both_sides():
    assert [shade(v, 2.0) for v in (-2.0, -0.1, 0.0, 1.0, 9.0)] == ["hm4", "h0", "h0", "h2", "h4"]
    assert shade(float("nan"), 1.0) == "h0"


def test_heat_has_a_row_a_measure_and_all_numbers_on_hover():
    row = {"prompt": "p", "kind": "best", "score": 1.5, "tokens": ["a", "<b>"],
           "logprobs": [-1.0, -3.0], "kl": [0.0, 2.0], "advantages": [-1.0, 1.0]}  # fmt: skip
    [heat] = heat_maps([row, {"tokens": ["x"]}, {"tokens": ["x"], "kl": [1, 2]}])
    rows = {name: [token.shade for token in tokens] for name, tokens in heat.rows}
    assert rows["advantage"] == ["hm4", "h4"]
    assert rows["KL to the reference"] == ["h0", "h4"]
    assert rows["log-probability"] == ["h4", "hm4"]  # from their mean
    assert heat.rows[0][1][1].tip == "advantage 1; KL to the reference 2; log-probability -3"


def test_the_plane_is_that_of_most_variance():
    """Points along (3, 4): the first coordinate is their length, the second 0."""
    plane = principal_plane(np.array([[-3.0, -4.0], [0.0, 0.0], [3.0, 4.0]]))
    assert plane[:, 0].tolist() == pytest.approx([-5.0, 0.0, 5.0])
    assert np.abs(plane[:, 1]).max() < 1e-9


def test_a_map_is_drawn_and_a_broken_file_is_passed_over(tmp_path):
    path = tmp_path / "embeddings.npz"
    points = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float16)
    np.savez(path, embeddings=points, scores=np.arange(5.0), prompts=np.array(["<i>"] * 5))
    drawn = prompt_map(path)
    assert drawn.count("<circle") == 5
    assert "<i>" not in drawn
    path.write_bytes(path.read_bytes()[:100])
    assert prompt_map(path) == ""
    assert prompt_map(tmp_path / "nowhere.npz") == ""


def test_settings_show_what_was_changed_beside_the_default(tmp_path):
    run = RunConfig(output_dir="x", seed=7, report_to=[])
    every = settings(as_yaml_with_defaults(run))
    assert [(s.key, s.value, s.default) for s in changed(every)] == [("seed", "7", "0")]
    assert ("output_dir", "x", "") in [(s.key, s.value, s.default) for s in every]


def test_a_config_with_defaults_beside_it_reads_back_as_it_was(tmp_path):
    run = RunConfig(output_dir="a # default b", seed=3, push_to_hub="x\ny: 'z'")
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml_with_defaults(run))
    assert parse_config(RunConfig, description=None, argv=["--config", str(path)]) == (run,)


def test_the_page_names_the_step_that_best_holds(tmp_path):
    run = write_run(tmp_path / "runs")
    file = run / "ppo" / "best" / "best.json"
    file.parent.mkdir()
    file.write_text(
        json.dumps({"step": 40, "eval_score": 1.25, "eval_kl": 3.5, "eval_eos_rate": 1})
    )
    said = "best/ holds step 40: eval_score 1.250 at 3.50 nats from the start."
    assert write_report(run).read_text().count(said) == 1
    file.write_text('{"step": 40')
    assert "best/ holds" not in write_report(run).read_text()


def test_labels_are_counted_and_what_nobody_measured_is_left_out():
    share = {"value": 0.75, "n": 40}
    none = {"value": 0.0, "n": 0}
    unasked = dict.fromkeys(("gold_items", "self_agreement", "longer", "ties"), none)
    ann = {"name": "<Ann>", "labels": 12, "agreement": share, "first_shown": share, **unasked}
    stats = {
        "labels": 12,
        "labelled_items": 10,
        "agreement": share,
        "alpha": none,
        "annotators": [ann],
        "concerns": [{"annotator": "Ann", "reason": "hasty"}],
    }
    view = label_view(stats)
    assert list(view.header) == ["", "labels", "agrees with others", "first shown wins"]
    assert view.rows == [["<Ann>", "12", "0.75", "0.75"]]
    assert view.concerns == ["Ann: hasty"]
    assert label_view({}) is None


def _frontier(**more):
    def estimate(value):
        return {"value": value, "low": value, "high": value, "n": 9}

    points = [
        {"name": f"step {i}", "step": i, "kl": estimate(i * i), "proxy": estimate(i),
         "held_out": estimate(-i)}
        for i in range(4)
    ]  # fmt: skip
    fit = {"form": "d(α-βd)", "judge": "held_out", "alpha": 1.0, "beta": 2.0, "r2": 0.9}
    return {"points": points, "fits": [fit], "says": "Over-optimised: take step 1.", **more}


def test_the_frontier_is_drawn_with_its_fits():
    view = frontier_view({"frontier": _frontier(), "results": []})
    assert len(view.charts) == 2
    assert view.fits == ["held-out judge: d(α-βd) with α 1, β 2, R² 0.90"]
    proxy, held_out = (lines for _, _, lines in view.charts)
    assert (proxy, held_out) == (["proxy"], ["held-out judge", "d(α-βd)"])
    # d = 1 … 3 and held_out = -d² from 0: the fit runs from 0 + 1 (1 - 2) to 0 + 3 (1 - 6).
    assert "<title>d(α-βd): -1 to -15</title>" in view.charts[1][1]
    assert frontier_view({"results": []}) is None


def test_over_optimisation_and_a_better_lookup_turn_the_second_light_red():
    gate = {"verdict": "pass", "reasons": [], "accuracy": None}
    light = believable([], "ppo", gate, _frontier(over_optimized=True))
    assert (light.tone, light.text) == ("red", "Over-optimised: take step 1.")
    win = {"metric": "win_rate", "model": "ppo", "baseline": "lookup", "judge": "gold",
           "value": 0.3, "low": 0.2, "high": 0.4, "n": 50}  # fmt: skip
    assert "A lookup in the training data is better" in believable([win], "ppo", gate).text


def test_watching_draws_again_when_the_folder_grows_and_ends_clean(tmp_path):
    """An empty folder is waited for; the last page no longer asks to be loaded again."""
    folder, said, looks = tmp_path / "run", [], []
    folder.mkdir()

    def sleep(seconds):
        looks.append((folder / REPORT).read_text() if (folder / REPORT).exists() else "")
        if len(looks) == 1:
            write_run(folder)
        elif len(looks) == 3:
            with (folder / "ppo" / "metrics.jsonl").open("a") as file:
                file.write('{"step": 100, "score": 2')  # half a line: the run is writing
        elif len(looks) == 5:
            raise KeyboardInterrupt

    watch(folder, seconds=2.0, say=said.append, sleep=sleep)
    assert "holds no run yet" in said[1]
    assert len([line for line in said if REPORT in line]) == 2  # drawn twice in five looks
    assert 'http-equiv="refresh" content="2"' in looks[1]
    assert 'http-equiv="refresh"' not in (folder / REPORT).read_text()


def test_a_folder_that_is_written_while_it_is_read_gives_a_report(tmp_path):
    """A writer appends lines and replaces files as fast as it can meanwhile."""
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
