"""A run folder like that of a pipeline, with distinguishable metrics."""

import json
import math
from pathlib import Path

PROMPT = "Is <b>this</b> bold? <script>alert(1)</script>"


def _lines(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _result(metric, model, value, **fields):
    interval = {
        "low": value - 0.04,
        "high": value + 0.04,
        "n": 200,
        "baseline": None,
        "judge": None,
    }
    return {"metric": metric, "model": model, "value": value, **interval, **fields}


def evaluation(gold=0.74, proxy=0.9, distinct=0.30):
    """Results of sft and ppo; the arguments are ppo's."""
    results = []
    for model, score, length, diversity in (("sft", 4.8, 21.0, 0.31), ("ppo", 6.1, 19.0, distinct)):
        for judge, rate in (("gold", gold), ("reward_model", proxy)):
            if model == "ppo":
                results.append(_result("win_rate", model, rate, baseline="sft", judge=judge))
            results.append(_result("score", model, score, judge=judge))
        results += [
            _result("axis", model, score / 8, judge="gold", axis="courtesy"),
            _result("length", model, length),
            _result("distinct_2", model, diversity),
            _result("repetition_rate", model, 0.01),
            _result("eos_rate", model, 0.98),
        ]
    results.append(_result("kl", "ppo", 6.5))
    for category, rate in (("grounded", 0.81), ("stories", 0.52), ("decline", 0.38)):
        fields = {"baseline": "sft", "judge": "gold", "subset": category}
        results.append(_result("win_rate", "ppo", rate, **fields))
    return {"results": results, "prompts": 200, "contaminated_prompts": 3}


def manifest(stage):
    """A manifest with one data file."""
    use = {
        "role": "train",
        "path": "data/rows.jsonl",
        "sha256": "0" * 64,
        "rows": 900,
        "dropped": 2,
    }
    return {
        "stage": stage,
        "base_model": "data/pocket/model",
        "weights_sha256": "abcdef012345" * 5,
        "seed": 0,
        "world_size": 1,
        "data": [use],
    }


def write_run(root: Path) -> Path:
    """The folder of a finished pipeline."""
    for stage in ("sft", "reward_model", "ppo"):
        folder = root / stage
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest(stage)))
        (folder / "stage.json").write_text(json.dumps({"done": {stage: 61.5}, "finished": True}))
    wave = [math.sin(i) for i in range(200)]
    _lines(
        root / "sft" / "metrics.jsonl",
        [{"step": i, "loss": 3 / (1 + i / 40) + 0.1 * wave[i]} for i in range(200)]
        + [{"step": i, "eval_loss": 3 / (1 + i / 40) + 0.2} for i in range(0, 200, 20)],
    )
    _lines(
        root / "ppo" / "metrics.jsonl",
        [
            {"step": i, "score": i / 50 + 0.2 * wave[i], "kl": i / 20, "entropy": 2 - i / 100}
            for i in range(100)
        ],
    )
    gate = {
        "verdict": "pass",
        "reasons": [],
        "accuracy": {"value": 0.78, "low": 0.74, "high": 0.82, "n": 120},
    }
    (root / "reward_model" / "gate.json").write_text(json.dumps(gate))
    (root / "evaluation").mkdir()
    (root / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation()))
    responses = {
        "sft": {"text": "No. <img src=x onerror=alert(1)>", "scores": {"gold": 4.0}},
        "ppo": {"text": "I am sorry, I do not know.", "scores": {"gold": 6.25}},
    }
    chat = [{"role": "user", "content": "Name three birds."}]
    rows = [{"prompt": PROMPT, "answers": responses}, {"prompt": chat, "answers": responses}]
    for name in ("best", "worst", "random"):
        _lines(root / "evaluation" / "samples" / f"{name}.jsonl", rows)
    (root / "sft" / "config.yaml").write_text("output_dir: x\npacking: false\n")
    (root / "config.yaml").write_text("model_name_or_path: data/pocket/model\nlabels: simulated\n")
    return root
