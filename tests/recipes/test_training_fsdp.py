"""Training on rows with sharded weights (FSDP2): two CPU processes equal one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.recipes.ppo_runs import TWO_PROCESSES, launch
from tests.tiny_models import make_model
from tests.training.test_model_keys import DEMONSTRATIONS, RANKINGS

FSDP = os.environ | {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
COMPARED = {"loss", "eval_loss", "grad_norm", "eval_accuracy", "eval_end_probability"}
RECIPES = (
    "sft",
    "reward_model",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("dpo", "kto")),
)
# Recipe -> the name of its rows.
ROWS = {"sft": "sft"} | dict.fromkeys(("reward_model", "dpo", "kto"), "reward_model")
RM_KEYS = ["--annotator_weights", "model"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fsdp")
    make_model(folder / "llama")
    make_model(folder / "gemma", "gemma")  # tied embeddings
    rankings = [row | {"annotator": "AB"[number % 2]} for number, row in enumerate(RANKINGS)]
    # Held-out rows of one length: SFT's mean over batches is then the mean over tokens.
    held_out = {"sft": DEMONSTRATIONS[:1] * 4, "reward_model": RANKINGS[:4]}
    train = {"sft": DEMONSTRATIONS, "reward_model": rankings}
    for name, rows in train.items():
        for end, some in (("", rows), ("-held-out", held_out[name])):
            lines = [json.dumps(row) + "\n" for row in some]
            (folder / f"{name}{end}.jsonl").write_text("".join(lines))
    return folder


def command(recipe, inputs, output, *extra, processes=1, steps=4):
    """The command line of a short run with a global batch of 4 rows."""
    options = {
        "model_name_or_path": inputs / "llama",
        "train_data": inputs / f"{ROWS[recipe]}.jsonl",
        "eval_data": inputs / f"{ROWS[recipe]}-held-out.jsonl",
        "output_dir": inputs / f"{recipe}-{output}",
        "per_device_train_batch_size": 2 // processes,
        "gradient_accumulation_steps": 2,
        "max_steps": steps,
        "learning_rate": 1e-3,
        "save_steps": 2,
        "save_total_limit": 9,
        "eval_steps": 2,
        "logging_steps": 1,
        "num_samples": 1,
        "bf16": "false",
        "cpu_threads": 1,
    }
    if recipe == "sft":
        options["packing"] = "false"
    words = {f"--{key}": str(value) for key, value in options.items() if f"--{key}" not in extra}
    return [f"recipes/{recipe}.py", *(word for pair in words.items() for word in pair), *extra]


def sharded(recipe, inputs, output, root, *extra, steps=4):
    words = command(recipe, inputs, output, *extra, processes=2, steps=steps)
    printed = launch([*TWO_PROCESSES, *words], root, env=FSDP)
    assert "in 2 shards" in printed
    return inputs / f"{recipe}-{output}"


def whole(recipe, inputs, output, root, *extra, steps=4):
    launch(command(recipe, inputs, output, *extra, steps=steps), root)
    return inputs / f"{recipe}-{output}"


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def assert_same(first, second, atol):
    """Equal final weights and metrics, up to the order of floating-point sums."""
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=atol, rtol=0, msg=name)
    lines = zip(lines_of(first), lines_of(second), strict=True)
    compared = 0
    for a, b in lines:
        for name in COMPARED & a.keys():
            assert a[name] == pytest.approx(b[name], abs=atol), name
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize("recipe", RECIPES)
def test_sharded_run_equals_one_process_and_resumes_exactly(inputs, root, recipe):
    """The checkpoint of step 2 is resumed on two processes, and the files are those of one."""
    extra = RM_KEYS if recipe == "reward_model" else []
    two = sharded(recipe, inputs, "two", root, *extra)
    assert_same(whole(recipe, inputs, "one", root, *extra), two, atol=1e-4)
    is_reward_model = recipe == "reward_model"
    kind = AutoModelForSequenceClassification if is_reward_model else AutoModelForCausalLM
    model = kind.from_pretrained(two)
    assert "FSDP" not in model.config.architectures[0]
    weights = load_file(two / "model.safetensors")
    resume = ("--resume_from_checkpoint", str(two / "checkpoint-2"))
    (two / "checkpoint-4").rename(two / "later")
    sharded(recipe, inputs, "two", root, *extra, *resume)
    again = load_file(two / "model.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_resume_switches_between_sharded_and_whole(inputs, root, recipe):
    """Steps 1 and 2 in one way, 3 and 4 in the other: the files are the same."""
    one = whole(recipe, inputs, "steady", root)
    for name, first, second in (("to-whole", sharded, whole), ("to-shards", whole, sharded)):
        folder = first(recipe, inputs, name, root)
        (folder / "checkpoint-4").rename(folder / "later")
        resume = ("--resume_from_checkpoint", str(folder / "checkpoint-2"))
        assert_same(one, second(recipe, inputs, name, root, *resume), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "extra",
    [("--gradient_checkpointing", "true"), ("--bf16", "true"), ("--model_name_or_path", "gemma")],
    ids=lambda extra: extra[0],
)
def test_other_keys_give_the_same_results(inputs, root, recipe, extra):
    name, value = extra
    words = (name, str(inputs / value) if value == "gemma" else value)
    one = whole(recipe, inputs, f"one{name}", root, *words)
    two = sharded(recipe, inputs, f"two{name}", root, *words)
    assert_same(one, two, atol=5e-3 if name == "--bf16" else 1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("extra", "env", "code", "value"),
    [
        (("--use_peft", "true"), FSDP, "unsupported", "use_peft"),
        (("--early_stopping_patience", "1"), FSDP, "key-conflict", "early_stopping_patience"),
        (("--optim", "adamw_bf16"), FSDP, "unsupported", "optim=adamw_bf16"),
        ((), FSDP | {"FSDP_VERSION": "1"}, "bad-launch", "fsdp_version=1"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_sharded_stops_the_run(inputs, root, recipe, extra, env, code, value):
    process = subprocess.run(
        [sys.executable, *command(recipe, inputs, "rejected", *extra)],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 2, process.stderr
    assert f"[{code}]" in process.stderr
    assert value in process.stderr
    assert not (inputs / f"{recipe}-rejected").exists()
