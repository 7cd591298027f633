"""PPO runs as people launch them, in processes of their own: what several test files need."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.tiny_models import make_model

REWARD = """
def vowels(prompts, completions, number):
    return [sum(c in "aeiou" for c in text) / 4 for text in completions]
"""
FIGURES = set("score kl response_length ratio policy_loss value_loss grad_norm ptx_loss".split())
TWO = "-m torch.distributed.run --nproc_per_node 2 --master_port 29731".split()


def make_place(folder: Path) -> Path:
    """A policy, a reward function, prompts and pretraining texts."""
    make_model(folder / "policy")
    (folder / "reward.py").write_text(REWARD)
    rows = [{"prompt": f"Where is the {'red ' * (i % 4)}ball {i}?", "number": i} for i in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = "".join(json.dumps({"text": f"The red ball {i} is here."}) + "\n" for i in range(9))
    (folder / "texts.jsonl").write_text(texts)
    return folder


def words(place: Path, output: str, *more: str, steps: int = 3) -> list[str]:
    """A short run's command line; a key in `more` goes over the usual one."""
    options = {
        "model_name_or_path": place / "policy",
        "train_data": place / "prompts.jsonl",
        "reward": f"{place}/reward.py:vowels",
        "output_dir": place / output,
        "rollout_batch_size": 8,
        "num_generations": 2,
        "num_minibatches": 2,
        "num_ppo_epochs": 2,
        "max_completion_length": 6,
        "learning_rate": 1e-3,
        "bf16": "false",
        "save_steps": 1,
        "save_total_limit": 9,
        "num_eval_prompts": 4,
        "cpu_threads": 1,
        "max_steps": steps,
    }
    usual = {f"--{key}": str(value) for key, value in options.items()}
    given = [word for key in usual if key not in more for word in (key, usual[key])]
    return ["recipes/ppo.py", *given, *more]


def launch(command: list[str], root: Path, status: int = 0, env=None) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, timeout=600, env=env
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def weights_of(folder: Path) -> Path:
    """The policy's weights: of a whole model, or of an adapter."""
    adapter = folder / "adapter_model.safetensors"
    return adapter if adapter.is_file() else folder / "model.safetensors"


def kill_after(command: list[str], root: Path, seconds: float) -> None:
    """Start the command and end it with SIGKILL, wherever it is."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def gives_the_same(one: Path, two: Path, atol: float) -> None:
    """Final weights and logged figures, up to the order in which floats were summed."""
    mine, others = load_file(weights_of(one)), load_file(weights_of(two))
    assert mine.keys() == others.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, others[name], atol=atol, rtol=0, msg=name)
    lines = [[json.loads(x) for x in (f / "metrics.jsonl").open()] for f in (one, two)]
    for a, b in zip(*lines, strict=True):
        for name in FIGURES & a.keys():
            assert abs(a[name] - b[name]) < 1e-4, name


def is_the_same_run(one: Path, two: Path, steps: int = 3) -> None:
    """Final weights bit for bit; each step logged once, with the same figures."""
    mine, others = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert all(torch.equal(tensor, others[name]) for name, tensor in mine.items())
    lines = [[json.loads(x) for x in (f / "metrics.jsonl").open()] for f in (one, two)]
    assert [line["step"] for line in lines[1]] == [line["step"] for line in lines[0]]
    assert lines[1][-1]["step"] == steps
    assert [line.get("policy_loss") for line in lines[1]] == [
        line.get("policy_loss") for line in lines[0]
    ]
