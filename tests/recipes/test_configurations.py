"""SFT, reward model and PPO over a covering array of configurations: two steps of each, then what
plain transformers loads.

Any two values of any two factors occur together in some row: a checkpoint's dtype, files and ties,
LoRA or all weights in each stage, bf16, gradient checkpointing, PPO's modes and advantages, kinds
of rewards, one process or two.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.recipes.covering import Row, covering_rows
from tests.recipes.two_steps import make_data, recipe_args
from tests.tiny_models import make_model

FACTORS = {
    "dtype": ["float32", "bfloat16", "float16"],
    "family": ["qwen2", "gemma"],  # untied and tied embeddings
    "files": ["one", "sharded"],
    "sft": ["full", "lora"],
    "reward_model": ["full", "lora", "heads"],
    "reward": ["model", "function", "both", "ensemble"],
    "bf16": ["false", "true"],
    "gradient_checkpointing": ["false", "true"],
    "mode": ["separate", "shared_trunk", "lora"],
    "advantage": ["gae", "rloo", "grpo", "reinforce++", "remax"],
    "processes": ["1", "2"],
}
FUNCTION = (
    "def length(prompts, completions, **columns):\n    return [len(c) / 9 for c in completions]"
)


def allowed(row: Row) -> bool:
    """Whether the configuration accepts the row."""
    critic = row["advantage"] == "gae"
    return not (
        (row["mode"] == "shared_trunk" and not critic)
        or (row["mode"] == "lora" and critic and row["gradient_checkpointing"] == "true")
        # An ensemble needs two members: the heads of one model.
        or (row["reward"] == "ensemble" and row["reward_model"] != "heads")
    )


ROWS = covering_rows(FACTORS, allowed)


def test_every_allowed_pair_of_values_occurs():
    """Counted independently, over all allowed configurations."""
    occurring = {pair for row in ROWS for pair in itertools.combinations(sorted(row.items()), 2)}
    for values in itertools.product(*FACTORS.values()):
        row = dict(zip(FACTORS, values, strict=True))
        if allowed(row):
            assert occurring.issuperset(itertools.combinations(sorted(row.items()), 2))
    assert all(map(allowed, ROWS))
    assert len(ROWS) < 30


def base_of(row: Row, folder: Path) -> Path:
    """The checkpoint from which the row starts."""
    plain = make_model(folder / "plain", row["family"])
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=getattr(torch, row["dtype"]))
    size = "20KB" if row["files"] == "sharded" else "1GB"
    model.save_pretrained(folder / "base", max_shard_size=size)
    AutoTokenizer.from_pretrained(plain).save_pretrained(folder / "base")
    assert (len(list((folder / "base").glob("*.safetensors"))) > 1) == (row["files"] == "sharded")
    return folder / "base"


def launch(root: Path, row: Row, recipe: str, arguments: list[str]) -> None:
    command = [sys.executable, f"recipes/{recipe}.py"]
    if row["processes"] == "2":
        command = [sys.executable, "-m", "rlhf.runtime.agent", "--num_processes=2", command[-1]]
    done = subprocess.run(
        [*command, *arguments], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def changed(folder: Path, base: Path) -> bool:
    """Whether plain transformers loads the model, with other logits than those of the base."""
    load = AutoModelForCausalLM.from_pretrained
    model, before = load(folder, dtype=torch.float32), load(base, dtype=torch.float32)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        logits, old = model(ids).logits, before(ids).logits
    assert logits.isfinite().all()
    return not torch.equal(logits, old)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_stages_train_and_load_with_plain_transformers(root: Path, tmp_path: Path, row: Row):
    base, data = base_of(row, tmp_path), make_data(tmp_path)
    shared = {
        "bf16": row["bf16"],
        "gradient_checkpointing": row["gradient_checkpointing"],
        "learning_rate": 1e-3,
    }
    sft, judge, ppo = tmp_path / "sft", tmp_path / "reward_model", tmp_path / "ppo"
    adapters = {"use_peft": row["sft"] == "lora"}
    launch(root, row, "sft", recipe_args("sft", data, base, sft, **shared, **adapters))
    assert changed(sft, base)

    keys = {"use_peft": row["reward_model"] == "lora"}
    keys |= {"num_heads": 2} if row["reward_model"] == "heads" else {}
    launch(
        root, row, "reward_model", recipe_args("reward_model", data, sft, judge, **shared, **keys)
    )
    model = AutoModelForSequenceClassification.from_pretrained(judge, num_labels=1)
    assert model.score.weight.isfinite().all()

    (tmp_path / "reward.py").write_text(FUNCTION)
    function = f"{tmp_path}/reward.py:length"
    rewards = {"function": [function], "both": [str(judge), f"-0.5*{function}"]}
    arguments = recipe_args(
        "ppo",
        data,
        sft,
        ppo,
        **shared,
        mode=row["mode"],
        advantage=row["advantage"],
        num_generations=1 if row["advantage"] == "gae" else 2,
        max_prompt_length=96,
    )
    arguments += ["--reward", *rewards.get(row["reward"], [str(judge)])]
    if row["reward"] == "ensemble":
        arguments += ["--reward_aggregation=worst"]
    launch(root, row, "ppo", arguments)
    assert changed(ppo, sft)
    lines = [json.loads(line) for line in (ppo / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
