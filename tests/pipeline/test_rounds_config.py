"""Keys of rounds: what each round runs with, and combinations that cannot run."""

import pytest

from rlhf.manifest import write_atomically
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.rounds import (
    align_folder,
    complete_rounds,
    round_seed,
    round_stages,
    stage_name,
)
from rlhf.pipeline.rounds_config import RoundsConfig, round_config, settled_rounds
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.runtime.run_folder import RunConfig
from tests.errors import raises
from tests.pipeline.keys import KEYS


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"rounds": 0}, "bad-value", "rounds=0"),
        ({"prompts_per_round": 0}, "bad-value", "prompts_per_round=0"),
        ({"round_patience": -1}, "bad-value", "round_patience=-1"),
        ({"round_decay": 0.0}, "bad-value", "round_decay=0.0"),
        ({"round_decay": 1.5}, "bad-value", "round_decay=1.5"),
        ({"prompts_per_round": 5, "active_floor": 1.5}, "bad-value", "active_floor=1.5"),
        ({"active_floor": 0.5}, "key-conflict", "prompts_per_round"),
        ({"start_from": "first"}, "bad-value", "start_from"),
        ({"round_keys": ["labels=web"]}, "bad-value", "'labels'"),
        ({"round_keys": ["1.labels=web"]}, "bad-value", "'1.labels'"),
        ({"round_keys": ["2.labels"]}, "bad-value", "round_keys"),
        ({"round_keys": ["2.sft_keys=[max_steps=1]"]}, "unknown-key", "sft_keys"),
        ({"round_keys": ["2.gold=a", "2.gold=b"]}, "repeated-key", "2.gold"),
    ],
)
def test_key_that_cannot_be_used_raises(keys, code, name):
    with raises(code, name):
        RoundsConfig(**keys)


def test_changes_hold_from_their_round_on():
    rounds = RoundsConfig(
        rounds=4, round_keys=["3.num_responses=6", "2.gold=new.py:f", "2.ppo_keys=[kl_coef=0.2]"]
    )
    configs = [round_config(AlignConfig(**KEYS), rounds, number) for number in (1, 2, 3, 4)]
    assert [each.num_responses for each in configs] == [4, 4, 6, 6]
    assert [each.gold for each in configs] == ["g.py:f", "new.py:f", "new.py:f", "new.py:f"]
    assert configs[1].ppo_keys == ["kl_coef=0.2"]
    assert configs[0] == AlignConfig(**KEYS)


def test_value_of_another_type_raises():
    rounds = RoundsConfig(round_keys=["2.num_responses=many"])
    with raises("bad-value", "num_responses", "many"):
        round_config(AlignConfig(**KEYS), rounds, 2)
    with raises("missing-key", "annotators"):
        round_config(
            AlignConfig(**{**KEYS, "annotators": None}, labels="web"),
            RoundsConfig(round_keys=["2.labels=simulated"]),
            2,
        )


def test_file_of_labels_serves_one_round():
    """Round 2 has a file of its own; round 3 has only votes, as has round 2 without a file."""
    config = AlignConfig(**{**KEYS, "labels": "first.jsonl"})
    rounds = RoundsConfig(round_keys=["2.labels=second.jsonl"])
    labels = [round_config(config, rounds, number).labels for number in (1, 2, 3)]
    assert labels == ["first.jsonl", "second.jsonl", "votes"]
    assert round_config(config, RoundsConfig(), 2).labels == "votes"
    assert round_config(AlignConfig(**KEYS), RoundsConfig(), 2).labels == "simulated"


def finish(folder, finished="true"):
    """The record of a stage."""
    text = f'{{"finished": {finished}, "done": {{}}, "inputs": {{}}}}'
    write_atomically(folder / "stage.json", text)


def test_continue_adds_a_round_to_the_complete_ones(tmp_path):
    """Round 1 is complete and round 2 is not: it is resumed, and there is no third one."""
    run, rounds = RunConfig(output_dir=str(tmp_path)), RoundsConfig(continue_rounds=True)
    with raises("no-checkpoint", tmp_path):
        settled_rounds(run, rounds)
    finish(tmp_path / "evaluation")
    assert complete_rounds(tmp_path) == 1
    assert settled_rounds(run, rounds).rounds == 2
    finish(tmp_path / "round-2" / "evaluation", "false")
    assert settled_rounds(run, rounds).rounds == 2
    finish(tmp_path / "round-2" / "evaluation")
    assert settled_rounds(run, rounds).rounds == 3
    assert settled_rounds(run, RoundsConfig(rounds=2)).rounds == 2
    assert round_stages(tmp_path) == [tmp_path / "round-2" / "evaluation"]


def test_continue_does_not_delete_and_upload_needs_one_round(tmp_path):
    finish(tmp_path / "evaluation")
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    with raises("key-conflict", "--overwrite"):
        settled_rounds(run, RoundsConfig(continue_rounds=True))
    upload = RunConfig(output_dir=str(tmp_path), push_to_hub="me/model")
    with raises("key-conflict", "me/model"):
        settled_rounds(upload, RoundsConfig(rounds=2))
    assert settled_rounds(upload, RoundsConfig()) == RoundsConfig()


def test_first_round_has_the_folders_names_and_seed_of_a_single_one(tmp_path):
    assert align_folder(tmp_path, 1) == tmp_path
    assert align_folder(tmp_path, 2) == tmp_path / "round-2"
    assert [round_seed(7, number) for number in (1, 2, 3)] == [7, 1007, 2007]
    assert [stage_name("ppo", number) for number in (1, 2)] == ["ppo", "round 2: ppo"]


def test_continue_is_the_short_form_of_its_key(tmp_path):
    (config,) = parse_config(RoundsConfig, description=None, argv=["--continue"])
    assert config == RoundsConfig(continue_rounds=True)
    assert parse_config(RoundsConfig, description=None, argv=["--continue=false"]) == (
        RoundsConfig(),
    )
    file = tmp_path / "rounds.yaml"
    file.write_text(as_yaml(RoundsConfig(rounds=3, round_keys=["2.gold=a.py:f"])))
    assert parse_config(RoundsConfig, description=None, argv=[f"--config={file}"]) == (
        RoundsConfig(rounds=3, round_keys=["2.gold=a.py:f"]),
    )
    with raises("repeated-key", "continue_rounds"):
        parse_config(RoundsConfig, description=None, argv=["--continue", "--continue_rounds"])
