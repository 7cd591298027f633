"""Command lines and the statuses of commands."""

import signal
import subprocess
import sys
import time

import pytest

from rlhf.errors import ConfigError
from rlhf.pipeline.commands import as_words, run_module
from rlhf.pipeline.config import AlignConfig, key_values

NEEDED = {
    "model_name_or_path": "model",
    "demonstrations": "d.jsonl",
    "ppo_prompts": "p.jsonl",
    "heldout_prompts": "h.jsonl",
}


def test_lists_become_several_values_and_none_nothing():
    keys = {"seed": 3, "reward": ["a", "b"], "gold": None, "skip": False}
    assert as_words(keys) == ["--seed=3", "--reward", "a", "b", "--skip=False"]


def test_the_status_of_a_module_is_given_back():
    """`python -m this` is 0; a module that is not there is 1."""
    assert run_module("this", []) == 0
    assert run_module("no_such_module_of_ours", []) == 1


def test_sigterm_ends_the_command_first(tmp_path):
    """The chain's own process gets SIGTERM: its command is gone before it is."""
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
    # Its command held the pipe open, too: at its end nothing holds it.
    chain.stdout.read()
    chain.stdout.close()


def test_key_values_are_read_as_yaml_reads_them():
    words = ["kl_coef=0.1", "packing=false", "reward=[a, b]", "eval_data=x=y"]
    assert key_values("ppo_keys", words) == {
        "kl_coef": 0.1,
        "packing": False,
        "reward": ["a", "b"],
        "eval_data": "x=y",
    }


@pytest.mark.parametrize("words", [["kl_coef"], ["=1"], ["a=1", "a=2"]])
def test_other_words_are_refused(words):
    with pytest.raises(ConfigError, match="ppo_keys"):
        key_values("ppo_keys", words)


def test_simulated_labels_need_their_annotators():
    with pytest.raises(ConfigError, match="needs ranking_prompts"):
        AlignConfig(**NEEDED)
    AlignConfig(**NEEDED, labels="rankings.jsonl")


def test_labels_of_people_need_prompts_and_somebody_who_ranks():
    with pytest.raises(ConfigError, match="web needs ranking_prompts"):
        AlignConfig(**NEEDED, labels="web")
    with pytest.raises(ConfigError, match="label_names"):
        AlignConfig(**NEEDED, labels="web", ranking_prompts="r.jsonl", label_names=[])
    AlignConfig(**NEEDED, labels="web", ranking_prompts="r.jsonl")
