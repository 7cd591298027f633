"""recipes/accelerate/zero3.yaml: a launch without DeepSpeed."""

import importlib.util
import subprocess
import sys

import pytest

from tests.recipes.two_nodes import clean_environment


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="has DeepSpeed")
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
