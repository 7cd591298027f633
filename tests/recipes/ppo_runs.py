"""PPO runs launched in separate processes, for several test files."""

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
COMPARED_METRICS = set(
    "score kl response_length ratio policy_loss value_loss grad_norm ptx_loss".split()
)
TWO_PROCESSES = "-m torch.distributed.run --standalone --nproc_per_node 2".split()


def make_inputs(folder: Path) -> Path:
    """Write a policy, a reward function, prompts and pretraining texts to `folder`."""
    make_model(folder / "policy")
    (folder / "reward.py").write_text(REWARD)
    rows = [{"prompt": f"Where is the {'red ' * (i % 4)}ball {i}?", "number": i} for i in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = "".join(json.dumps({"text": f"The red ball {i} is here."}) + "\n" for i in range(9))
    (folder / "texts.jsonl").write_text(texts)
    return folder


def ppo_command(inputs: Path, output: str, *extra: str, steps: int = 3) -> list[str]:
    """The command line of a short run; options in `extra` replace the defaults."""
    options = {
        "model_name_or_path": inputs / "policy",
        "train_data": inputs / "prompts.jsonl",
        "reward": f"{inputs}/reward.py:vowels",
        "output_dir": inputs / output,
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
    defaults = {f"--{key}": str(value) for key, value in options.items()}
    arguments = [
        argument for key in defaults if key not in extra for argument in (key, defaults[key])
    ]
    return ["recipes/ppo.py", *arguments, *extra]


def launch(command: list[str], root: Path, status: int = 0, env=None) -> str:
    """Run the command, assert its exit status, and return its output."""
    process = subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, timeout=600, env=env
    )
    assert process.returncode == status, process.stdout + process.stderr
    return process.stdout + process.stderr


def weights_of(folder: Path) -> Path:
    """The file with the policy's weights, of a full model or of an adapter."""
    adapter = folder / "adapter_model.safetensors"
    return adapter if adapter.is_file() else folder / "model.safetensors"


def kill_after(command: list[str], root: Path, seconds: float) -> None:
    """Start the command and send SIGKILL after `seconds`, whatever it is doing."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def assert_same_results(first: Path, second: Path, atol: float) -> None:
    """Assert equal final weights and metrics, up to the order of floating-point sums."""
    weights, other_weights = load_file(weights_of(first)), load_file(weights_of(second))
    assert weights.keys() == other_weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, other_weights[name], atol=atol, rtol=0, msg=name)
    lines = [[json.loads(x) for x in (f / "metrics.jsonl").open()] for f in (first, second)]
    for a, b in zip(*lines, strict=True):
        for name in COMPARED_METRICS & a.keys():
            assert abs(a[name] - b[name]) < 1e-4, name


def assert_same_run(first: Path, second: Path, steps: int = 3) -> None:
    """Assert bit-identical final weights, and that each step is logged once with equal losses."""
    weights, other_weights = (
        load_file(first / "model.safetensors"),
        load_file(second / "model.safetensors"),
    )
    assert all(torch.equal(tensor, other_weights[name]) for name, tensor in weights.items())
    lines = [[json.loads(x) for x in (f / "metrics.jsonl").open()] for f in (first, second)]
    assert [line["step"] for line in lines[1]] == [line["step"] for line in lines[0]]
    assert lines[1][-1]["step"] == steps
    assert [line.get("policy_loss") for line in lines[1]] == [
        line.get("policy_loss") for line in lines[0]
    ]
