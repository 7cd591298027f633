"""recipes/accelerate/two-nodes.yaml: two launchers on this machine (loopback, gloo).

Two GPUs become two processes, and the address of the first machine a local one; the other settings
stay.
"""

import json
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
from safetensors.torch import load_file

from tests.recipes.ppo_runs import assert_same_results
from tests.recipes.two_nodes import HOST, clean_environment, start_nodes, wait_for
from tests.recipes.two_steps import make_data, recipe_args
from tests.tiny_models import make_model

SECONDS_TO_END = 60
STAGES = ("sft", "reward_model", "ppo")


def jobs_of(root, data, base, folder, *, inputs, rows):
    """The three stages with `rows` rows per process, for run_stages.py.

    Reward model and PPO start from the models in `inputs`.
    """
    shared = {"learning_rate": 1e-3, "logging_steps": 1}
    batch = shared | {"per_device_train_batch_size": rows}
    sft, judge = inputs / "sft", inputs / "reward_model"
    stages = [
        ("sft", recipe_args("sft", data, base, folder / "sft", packing=False, **batch)),
        ("reward_model", recipe_args("reward_model", data, sft, folder / "reward_model", **batch)),
        ("ppo", recipe_args("ppo", data, sft, folder / "ppo", reward=judge, **shared)),
    ]
    folder.mkdir()
    path = folder / "jobs.json"
    path.write_text(json.dumps([[f"{root}/recipes/{name}.py", words] for name, words in stages]))
    return ["tests/recipes/run_stages.py", str(path)]


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """The three stages on one process, and on two nodes with one process each."""
    folder = tmp_path_factory.mktemp("two_nodes")
    data, base = make_data(folder), make_model(folder / "base")
    inputs = folder / "one"
    one = jobs_of(root, data, base, inputs, inputs=inputs, rows=2)
    done = subprocess.run(
        [sys.executable, *one], cwd=root, env=clean_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    two = jobs_of(root, data, base, folder / "two", inputs=inputs, rows=1)
    nodes = start_nodes(root, folder, two)
    for node in nodes:
        assert node.launcher.wait(600) == 0, node.text[-4000:]
    return folder


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("stage", STAGES)
def test_two_nodes_equal_one_process(runs, stage):
    one, two = runs / "one" / stage, runs / "two" / stage
    if stage == "ppo":
        assert_same_results(one, two, atol=3e-5)
        return
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    weights = load_file(two / "model.safetensors")
    for name, tensor in load_file(one / "model.safetensors").items():
        assert (tensor - weights[name]).abs().max() < 3e-5, name


def endless_run(root, folder):
    """SFT on two nodes after its first steps; the run folder and the nodes."""
    data, base, run = make_data(folder), make_model(folder / "base"), folder / "run"
    extra = {"max_steps": 99999, "save_steps": 99999, "logging_steps": 1, "num_samples": 0}
    nodes = start_nodes(
        root, folder, ["recipes/sft.py", *recipe_args("sft", data, base, run, **extra)]
    )
    metrics = run / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 3, 240)
    return run, nodes


def wait_for_the_end(node, workers):
    """Wait for a launcher and all workers; the launcher's status."""
    try:
        status = node.launcher.wait(SECONDS_TO_END)
        _, alive = psutil.wait_procs(workers, timeout=SECONDS_TO_END)
        assert not alive, node.text[-3000:]
    finally:
        for process in workers:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        node.launcher.kill()
    return status


in_suite = pytest.param(1)
slow = pytest.param(0, marks=pytest.mark.slow)


@pytest.mark.parametrize("rank", [in_suite, slow])
def test_killed_launcher_ends_both_nodes_after_a_checkpoint(root, tmp_path, rank):
    run, nodes = endless_run(root, tmp_path)
    workers = [worker for node in nodes for worker in node.workers()]
    nodes[rank].launcher.kill()
    nodes[rank].launcher.wait()
    assert wait_for_the_end(nodes[1 - rank], workers) != 0
    for node in nodes:
        assert f"stopped by the loss of the launcher of node {rank}, {HOST}" in node.text
    assert len(list(run.glob("checkpoint-*"))) == 1


@pytest.mark.parametrize("rank", [in_suite, slow])
def test_lost_node_ends_the_other_which_names_it(root, tmp_path, rank):
    """Launcher and worker are killed at once, as when a machine stops."""
    _, nodes = endless_run(root, tmp_path)
    workers, lost = [worker for node in nodes for worker in node.workers()], nodes[rank].workers()
    nodes[rank].launcher.kill()
    for worker in lost:
        worker.kill()
    nodes[rank].launcher.wait()
    assert wait_for_the_end(nodes[1 - rank], workers) != 0
    # The launcher of node 0 connects all processes; without it nobody knows the others' hosts.
    name = f"rank 1 (node 1, {HOST})" if rank else "the launcher of node 0 (127.0.0.1)"
    assert f"{name} is gone" in nodes[1 - rank].text
    assert "[process-lost]" in nodes[1 - rank].text
