"""recipes/accelerate/zero3.yaml: SFT with DeepSpeed on two CPU processes, or without the package.

DeepSpeed is no dependency of the tests. Where it is installed they run it on a CPU, which it
supports with DS_ACCELERATOR=cpu.
"""

import importlib.util
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.ppo_runs import launch
from tests.recipes.test_training_fsdp import assert_same, command, lines_of, whole
from tests.recipes.test_training_fsdp import inputs as inputs_of_fsdp
from tests.recipes.two_nodes import clean_environment

HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
inputs = inputs_of_fsdp  # the fixture
needs_deepspeed = pytest.mark.skipif(not HAS_DEEPSPEED, reason="pip install deepspeed")


@pytest.mark.skipif(HAS_DEEPSPEED, reason="has DeepSpeed")
def test_launch_without_deepspeed_names_the_package(root):
    """Before any process starts, with the status of a user's mistake."""
    command = [sys.executable, "-m", "rlhf.cli", "launch"]
    options = ["--config_file", "recipes/accelerate/zero3.yaml", "--num_processes", "2"]
    done = subprocess.run(
        [*command, *options, "recipes/sft.py"],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "[missing-package]" in done.stderr
    assert "pip3 install deepspeed" in done.stderr
    assert "Traceback" not in done.stderr


def zero3(inputs, output, root, *extra, status=0):
    """SFT on two processes with DeepSpeed ZeRO-3."""
    launcher = ["-m", "rlhf.cli", "launch", "--config_file", "recipes/accelerate/zero3.yaml"]
    words = command("sft", inputs, output, *extra, processes=2)
    environment = clean_environment() | {"DS_ACCELERATOR": "cpu"}
    launch([*launcher, "--num_processes", "2", *words], root, status, env=environment)
    return inputs / f"sft-{output}"


@needs_deepspeed
def test_zero3_equals_one_process_and_resumes_exactly(inputs, root):
    """The checkpoint of step 2 is resumed, and the files are those of one process."""
    two = zero3(inputs, "zero3", root)
    assert_same(whole("sft", inputs, "one", root), two, atol=1e-4)
    weights = load_file(two / "model.safetensors")
    (two / "checkpoint-4").rename(two / "later")
    zero3(inputs, "zero3", root, "--resume_from_checkpoint", str(two / "checkpoint-2"))
    again = load_file(two / "model.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


@needs_deepspeed
def test_zero3_trains_adapters(inputs, root):
    """Frozen weights are gathered too: the samples after training need them.

    The processes draw other first adapters than one process does, so losses agree to 0.01.
    """
    lora = ("--use_peft", "true", "--lora_r", "4")
    two = zero3(inputs, "zero3-lora", root, *lora)
    one = whole("sft", inputs, "one-lora", root, *lora)
    losses = [
        [line["eval_loss"] for line in lines_of(folder) if "eval_loss" in line]
        for folder in (one, two)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    adapter = load_file(two / "adapter_model.safetensors")
    assert all(part.abs().max() > 1e-3 for name, part in adapter.items() if "lora_B" in name)
    assert len((two / "samples" / "random.jsonl").read_text().splitlines()) == 1


@needs_deepspeed
def test_bf16_on_a_cpu_is_rejected(inputs, root):
    """transformers' trainer refuses it; the model of a GPU would be in bf16 itself."""
    zero3(inputs, "zero3-bf16", root, "--bf16", "true", status=2)
