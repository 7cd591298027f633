"""The pipeline on a tiny random model: complete, skipped, changed, interrupted, rejected."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import yaml

from rlhf.evaluation.core.config import NULL_BASELINES
from rlhf.evaluation.core.results import Result, read_results, write_results
from rlhf.labels.store import LabelStore
from rlhf.pipeline.config import key_values
from rlhf.pipeline.fingerprint import settings_of
from rlhf.recipes.align import summarize
from tests.browsing import Window, chromium, done, press
from tests.tiny_models import make_model

THINGS = "ball box cat dog bird sea tree house sun moon car boat".split()
STAGES = ("sft", "labels", "reward_model", "ppo", "evaluation")
GOLD = """
def score(prompts, completions, **columns):
    return [float(sum(c in "aeiou" for c in text)) for text in completions]

def axes(prompt, completion):
    return {"short": float(len(completion) < 20), "asked": None if "ball" in prompt else 1.0}
"""
PPO_KEYS = (
    "rollout_batch_size=4",
    "num_minibatches=2",
    "num_ppo_epochs=1",
    "max_completion_length=8",
    "num_eval_prompts=2",
)
ANNOTATORS = "annotators:\n  - name: a\n    noise: 0.5\n  - name: b\n    noise: 1.0\n"


def test_summary_compares_equal_metrics(tmp_path, capsys):
    """SFT has no win rate against itself; both models have one against the lookup."""
    wins = {("sft", "lookup"): 0.84, ("ppo", "sft"): 0.78, ("ppo", "lookup"): 0.99}
    (tmp_path / "evaluation").mkdir()
    write_results(
        tmp_path / "evaluation",
        [
            Result(
                metric="win_rate",
                model=model,
                baseline=baseline,
                judge="gold",
                value=value,
                low=value - 0.01,
                high=value + 0.01,
                n=100,
            )
            for (model, baseline), value in wins.items()
        ],
    )
    summarize(tmp_path, tmp_path / "report.html", "votes.sqlite")
    lines = capsys.readouterr().out.splitlines()
    (against_sft,) = (line for line in lines if "against sft" in line)
    (against_lookup,) = (line for line in lines if "against lookup" in line)
    assert "–" in against_sft
    assert "0.78 [0.77,0.79]" in against_sft
    assert "0.84 [0.83,0.85]" in against_lookup
    assert "0.99 [0.98,1.00]" in against_lookup


def _rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The keys of a pipeline with two steps per stage."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "gold.py").write_text(GOLD)
    (folder / "annotators.yaml").write_text(ANNOTATORS)
    demonstrations = [
        {"prompt": f"Where is the {t}?", "completion": f"In the {t}."} for t in THINGS
    ]
    held_out = [{"prompt": f"See the {t}?", "category": t[0]} for t in THINGS]
    steps = ["max_steps=2", "save_steps=1"]
    return {
        "model_name_or_path": str(make_model(folder / "model")),
        "demonstrations": _rows(folder / "demonstrations.jsonl", demonstrations),
        "ranking_prompts": _rows(folder / "rank.jsonl", [{"prompt": f"Name {t}."} for t in THINGS]),
        "ppo_prompts": _rows(folder / "ppo.jsonl", [{"prompt": f"Tell of {t}."} for t in THINGS]),
        "heldout_prompts": _rows(folder / "heldout.jsonl", held_out),
        "annotators": str(folder / "annotators.yaml"),
        "gold": f"{folder}/gold.py:score",
        "axes": f"{folder}/gold.py:axes",
        "num_responses": 3,
        "sample_max_new_tokens": 8,
        "skip_gate": True,
        "cpu_threads": 1,
        "sft_keys": [*steps, "sample_max_new_tokens=8"],
        "reward_model_keys": steps,
        "ppo_keys": [*steps, *PPO_KEYS],
        "evaluate_keys": ["num_generations=2", "max_completion_length=8", "bootstrap_samples=100"],
    }


def _command(root, folder, config, *words):
    """The command of align.py with the keys as a YAML file."""
    file = folder / "align.yaml"
    file.write_text(yaml.safe_dump(config))
    return [sys.executable, str(root / "recipes" / "align.py"), f"--config={file}", *words]


def _run(root, folder, config, *words, status=0):
    done = subprocess.run(
        _command(root, folder, config, *words), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_complete_pipeline_is_skipped_and_changed_stages_run(root, tmp_path, config):
    """All stages, then none, then PPO and the stages after it when a PPO key changed."""
    folder = tmp_path / "run"
    config = {**config, "output_dir": str(folder)}
    output = _run(root, tmp_path, config)
    results = read_results(folder / "evaluation")
    assert {r.model for r in results} == {"base", "sft", "ppo", *NULL_BASELINES}
    assert {"win_rate", "kl", "length", "score", "axis"} <= {r.metric for r in results}
    assert {r.judge for r in results if r.metric == "win_rate"} == {"gold", "reward_model"}
    assert "rlhf chat" in output
    weights = {(folder / name / "model.safetensors").read_bytes() for name in ("sft", "ppo")}
    assert len(weights) == 2  # the policy was trained
    page = (folder / "report.html").read_text()
    assert "Curves: ppo" in page

    output = _run(root, tmp_path, config)
    assert output.count("complete, inputs unchanged") == len(STAGES)

    changed = {**config, "ppo_keys": [*config["ppo_keys"], "kl_coef=0.5"]}
    output = _run(root, tmp_path, changed)
    assert output.count("complete, inputs unchanged") == 3
    assert "ppo: inputs changed (kl_coef" in output
    assert (folder / "ppo.old-1" / "model.safetensors").is_file()
    assert (folder / "evaluation.old-1" / "evaluation.json").is_file()


@pytest.mark.slow
@pytest.mark.browser
def test_annotators_in_browsers_rank_for_the_pipeline(root, tmp_path, config):
    """Two annotators rank responses of the SFT model in Chromium, by keyboard, until the quota is
    met; the reward model is trained on their labels, and the pipeline continues to its end."""
    folder = tmp_path / "run"
    guideline = tmp_path / "guideline.md"
    guideline.write_text("Rank the *shorter* answer first.")
    people = {"labels": "web", "label_names": ["Ann", "Bob"], "label_overlap": 2, "label_port": 0}
    people |= {"label_quota": 10, "guideline": str(guideline), "output_dir": str(folder)}
    with (
        chromium() as browser,
        (tmp_path / "output.txt").open("w") as output,
        subprocess.Popen(_command(root, tmp_path, {**config, **people}), stdout=output) as chain,
    ):
        try:
            pages = [enter(browser, link_of(name, tmp_path, chain)) for name in ("Ann", "Bob")]
            for number in range(1, 6):
                for page in pages:
                    press(page, "3", "2", "1", "Enter")
                    if number < 5:
                        done(page, number)
            assert chain.wait(900) == 0, (tmp_path / "output.txt").read_text()
        finally:
            chain.terminate()
    with LabelStore(folder / "labels" / "labels.sqlite") as store:
        labels = store.labels()
        assert store.newest_guideline() == (1, guideline.read_text())
    assert sorted(label.annotator for label in labels) == ["Ann"] * 5 + ["Bob"] * 5
    # Empty responses are not shown; for two responses, the last key means that A is much better.
    ranks_shown = [[label.ranks[i] for i in label.order_shown] for label in labels]
    assert [3, 2, 1] in ranks_shown
    assert all(ranks in ([3, 2, 1], [1, 2]) for ranks in ranks_shown)
    assert all(label.guideline_version == 1 and label.seconds > 0 for label in labels)
    files = [folder / "labels" / f"rankings_{part}.jsonl" for part in ("train", "heldout")]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert Counter(row["annotator"] for row in rows) == {"Ann": 5, "Bob": 5}
    manifest = json.loads((folder / "reward_model" / "manifest.json").read_text())
    assert str(files[0]) in json.dumps(manifest)
    assert (folder / "reward_model" / "model.safetensors").is_file()
    assert read_results(folder / "evaluation")


def link_of(name, tmp_path, chain):
    """The link that the pipeline printed for an annotator."""
    while True:
        assert chain.poll() is None, (tmp_path / "output.txt").read_text()
        match = re.search(rf"annotator {name}: (\S+)\n", (tmp_path / "output.txt").read_text())
        if match:
            return match[1]
        time.sleep(0.2)


def enter(browser, link):
    """The page of an annotator after the guideline was closed."""
    page = Window(browser, []).enter(link)
    page.locator("#guideline[open] em", has_text="shorter").wait_for()
    press(page, "Escape")
    return page


@pytest.mark.slow
def test_interrupted_pipeline_resumes(root, tmp_path, config):
    """SIGTERM while the reward model trains: status 75, then the same command completes."""
    folder = tmp_path / "run"
    config = {**config, "output_dir": str(folder)}
    chain = subprocess.Popen(_command(root, tmp_path, config), stdout=subprocess.DEVNULL)
    while not (folder / "reward_model" / "config.yaml").exists():
        assert chain.poll() is None
        time.sleep(0.2)
    chain.send_signal(signal.SIGTERM)
    assert chain.wait(120) == 75
    output = _run(root, tmp_path, config)
    assert output.count("complete, inputs unchanged") == 2
    assert "reward_model: resumes" in output
    assert not list(folder.glob("*.old-*"))
    assert read_results(folder / "evaluation")


def test_short_demo_trains_the_policy(root, monkeypatch):
    """Its two iterations are after the warm-up of the critic."""
    monkeypatch.chdir(root)
    short = yaml.safe_load((root / "recipes/pocket/align-short.yaml").read_text())
    settings = settings_of(short["ppo_config"], key_values("ppo_keys", short["ppo_keys"]))
    assert settings["critic_warmup_steps"] < settings["max_steps"]


def test_bad_row_of_the_last_stage_raises_before_the_first(root, tmp_path, config):
    held_out = _rows(tmp_path / "heldout.jsonl", [{"prompt": "a"}, {"question": "b"}])
    broken = {**config, "heldout_prompts": held_out, "output_dir": str(tmp_path / "run")}
    output = _run(root, tmp_path, broken, status=2)
    assert "heldout.jsonl:2" in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_gate_stops_a_reward_model_with_too_few_prompts(root, tmp_path, config):
    """12 ranked prompts leave 2 held-out ones, which are too few. The labels are a file."""
    rankings = [
        {"prompt": f"Name {t}.", "chosen": f"{i % 2} {t}", "rejected": f"{(i + 1) % 2} {t}"}
        for i, t in enumerate(THINGS)
    ]
    own = {**config, "labels": _rows(tmp_path / "rankings.jsonl", rankings), "skip_gate": False}
    output = _run(root, tmp_path, {**own, "output_dir": str(tmp_path / "run")}, status=1)
    assert "the reward model did not pass" in output
    assert "--skip_gate" in output
    assert not (tmp_path / "run" / "ppo").exists()
    assert not (tmp_path / "run" / "labels" / "labels.sqlite").exists()
