"""Arguments and exit statuses of commands."""

import signal
import subprocess
import sys
import time

import pytest

from rlhf.pipeline.commands import as_arguments, run_module
from rlhf.pipeline.config import AlignConfig, key_values
from tests.errors import raises

NEEDED = {
    "model_name_or_path": "model",
    "demonstrations": "d.jsonl",
    "ppo_prompts": "p.jsonl",
    "heldout_prompts": "h.jsonl",
}


def test_lists_become_several_values_and_none_is_left_out():
    keys = {"seed": 3, "reward": ["a", "b"], "gold": None, "skip": False}
    assert as_arguments(keys) == ["--seed=3", "--reward", "a", "b", "--skip=False"]


def test_run_module_returns_the_exit_status():
    """`python -m this` is 0; a missing module is 1."""
    assert run_module("this", []) == 0
    assert run_module("no_such_module_of_ours", []) == 1


def test_sigterm_terminates_the_command_first(tmp_path):
    """The pipeline's process gets SIGTERM: its command ends before it."""
    script = (
        "from rlhf.pipeline.commands import run_module, stop_on_sigterm\n"
        "from rlhf.runtime.entrypoint import run\n"
        "def main():\n"
        "    stop_on_sigterm()\n"
        "    print('ready', flush=True)\n"
        f"    run_module('http.server', ['0', '--directory', {str(tmp_path)!r}])\n"
        "run(main)\n"
    )
    chain = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert chain.stdout is not None
    chain.stdout.readline()
    time.sleep(1.0)
    chain.send_signal(signal.SIGTERM)
    assert chain.wait(30) == 75
    # The command has the pipe open too: read() returns once both have ended.
    chain.stdout.read()
    chain.stdout.close()


def test_key_values_are_yaml():
    words = ["kl_coef=0.1", "packing=false", "reward=[a, b]", "eval_data=x=y"]
    assert key_values("ppo_keys", words) == {
        "kl_coef": 0.1,
        "packing": False,
        "reward": ["a", "b"],
        "eval_data": "x=y",
    }


@pytest.mark.parametrize(
    ("items", "code"),
    [(["kl_coef"], "bad-value"), (["=1"], "bad-value"), (["a=1", "a=2"], "repeated-key")],
)
def test_items_of_another_form_raise(items, code):
    with raises(code, "ppo_keys"):
        key_values("ppo_keys", items)


def test_simulated_labels_need_prompts_and_annotators():
    with raises("missing-key", "ranking_prompts"):
        AlignConfig(**NEEDED)
    AlignConfig(**NEEDED, labels="rankings.jsonl")


def test_web_labels_need_prompts_and_annotators():
    with raises("missing-key", "labels=web", "ranking_prompts"):
        AlignConfig(**NEEDED, labels="web")
    with raises("missing-key", "label_names"):
        AlignConfig(**NEEDED, labels="web", ranking_prompts="r.jsonl", label_names=[])
    AlignConfig(**NEEDED, labels="web", ranking_prompts="r.jsonl")
