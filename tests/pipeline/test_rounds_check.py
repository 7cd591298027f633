"""The inputs of all rounds are checked before the first stage, and --dry_run lists all stages."""

import json
from pathlib import Path

import pytest

from rlhf.chat.votes import ComparedResponses, Votes
from rlhf.manifest import write_atomically
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.round_labels import round_label_stage
from rlhf.pipeline.rounds_check import check_rounds, plan_rounds
from rlhf.pipeline.rounds_config import RoundsConfig, round_config
from rlhf.pipeline.stages import evaluation_stage, ppo_stage, reward_model_stage
from rlhf.runtime.run_folder import RunConfig
from tests.errors import raises
from tests.tiny_models import make_model

GOLD = "def score(prompts, completions, **columns):\n    return [0.0 for _ in prompts]\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys of a pipeline that can run."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "gold.py").write_text(GOLD)
    (folder / "annotators.yaml").write_text("annotators: [{name: a}]")
    (folder / "prompts.jsonl").write_text('{"prompt": "Hi"}\n' * 3)
    (folder / "demonstrations.jsonl").write_text('{"prompt": "Hi", "completion": "A cat."}\n' * 2)
    prompts = ("ranking_prompts", "ppo_prompts", "heldout_prompts")
    return {
        **dict.fromkeys(prompts, str(folder / "prompts.jsonl")),
        "model_name_or_path": str(make_model(folder / "model", "qwen2")),
        "demonstrations": str(folder / "demonstrations.jsonl"),
        "annotators": str(folder / "annotators.yaml"),
        "gold": f"{folder}/gold.py:score",
        "sample_max_new_tokens": 16,
        "ppo_keys": ["max_steps=1"],
    }


@pytest.fixture
def run(tmp_path):
    return RunConfig(output_dir=str(tmp_path / "run"))


@pytest.fixture
def rankings(tmp_path):
    """A file of one ranking."""
    path = tmp_path / "rankings.jsonl"
    path.write_text(json.dumps({"prompt": "Hi", "chosen": "A cat.", "rejected": "A dog."}) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("rounds", "code", "name"),
    [
        ({"round_keys": ["2.gold=nope.py:f"]}, "bad-reward", "nope.py:f"),
        ({"round_keys": ["2.annotators=nope.yaml"]}, "bad-config-file", "nope.yaml"),
        ({"round_keys": ["2.ppo_keys=[kl_coeff=0.1]"]}, "unknown-key", "kl_coeff"),
        ({"round_keys": ["2.ranking_prompts=nope.jsonl"]}, "missing-file", "nope.jsonl"),
        ({"prompts_per_round": 4}, "bad-value", "prompts_per_round=4"),
        ({"votes": "nope.sqlite"}, "missing-file", "nope.sqlite"),
    ],
)
def test_mistakes_of_a_later_round_raise_before_the_first(keys, run, rounds, code, name):
    with raises(code, name):
        check_rounds(run, AlignConfig(**keys), RoundsConfig(rounds=2, **rounds))


def test_every_round_needs_labels(keys, run, rankings):
    config = AlignConfig(**{**keys, "labels": rankings})
    with raises("missing-key", "2.labels"):
        check_rounds(run, config, RoundsConfig(rounds=2))
    rounds = RoundsConfig(rounds=2, round_keys=["2.labels=simulated"])
    assert check_rounds(run, config, rounds)[2].inputs.rows["labels"] == 3
    with raises("no-rows", "votes.sqlite"):
        check_rounds(run, config, RoundsConfig(rounds=2, round_keys=["2.labels=votes"]))


def vote(run, prompt="Hi"):
    with Votes(f"{run.output_dir}/votes.sqlite", "ann") as votes:
        pair = ComparedResponses(
            prompt=prompt, responses=["a", "b"], models=["m", "m"], blind=False
        )
        votes.vote(pair, "1")


def test_continued_round_can_have_votes_alone(keys, run, rankings):
    config, rounds = AlignConfig(**{**keys, "labels": rankings}), RoundsConfig(rounds=2)
    continued = RoundsConfig(rounds=2, continue_rounds=True)
    with raises("no-rows", "votes.sqlite"):
        check_rounds(run, config, continued)
    vote(run)
    lines = plan_rounds(config, continued, check_rounds(run, config, continued))
    assert "round 2: labels: votes of chats" in lines
    with raises("missing-key", "2.labels"):
        check_rounds(run, config, rounds)
    take_votes(run, 2)
    assert list(check_rounds(run, config, rounds)) == [1, 2]  # config.yaml of the continued run


def take_votes(run, number):
    """The record of a label stage that has taken its votes."""
    record = {"finished": False, "done": {"votes": 0.1}, "inputs": {}}
    folder = Path(run.output_dir) / f"round-{number}" / "labels"
    write_atomically(folder / "stage.json", json.dumps(record))


def test_votes_on_long_texts_raise_before_the_round(keys, run):
    """The reward model reads up to max_length tokens; a chat has no such limit."""
    vote(run, "word " * 100)
    config = AlignConfig(**keys, reward_model_keys=["max_length=32"])
    with raises("bad-row", "votes.sqlite", "31 is the limit"):
        check_rounds(run, config, RoundsConfig(rounds=2))
    check_rounds(run, config, RoundsConfig())  # a single round takes no votes
    take_votes(run, 2)
    check_rounds(run, config, RoundsConfig(rounds=2))  # it has taken its votes


@pytest.mark.parametrize("key", ["weight_column", "probability_column"])
def test_columns_of_rankings_are_the_pipelines_own(keys, run, key):
    with raises("key-conflict", key):
        check_rounds(run, AlignConfig(**keys, reward_model_keys=[f"{key}=w"]), RoundsConfig())


def test_dry_run_lists_all_stages_of_all_rounds(keys, run):
    config = AlignConfig(**keys)
    rounds = RoundsConfig(rounds=3, prompts_per_round=2, round_keys=["3.num_responses=6"])
    lines = plan_rounds(config, rounds, check_rounds(run, config, rounds))
    assert len(lines) == 5 + 4 + 4
    assert lines[5] == (
        "round 2: labels: 4 responses to each of 3 prompts, 2 of which are ranked, and votes of "
        "chats"
    )
    assert lines[9].startswith("round 3: labels: 6 responses to each of 3 prompts")
    assert lines[8].startswith("round 2: evaluation: 4 models")
    assert lines[12].startswith("round 3: evaluation: 5 models")
    assert lines[4].startswith("evaluation: 3 models")


def test_stages_of_a_later_round_read_the_files_of_that_round(keys, run):
    root, config = run.output_dir, AlignConfig(**keys)
    decaying = RoundsConfig(rounds=3, round_decay=0.5)
    reward_model = reward_model_stage(run, config, decaying, 3)
    assert reward_model.keys["train_data"] == f"{root}/round-3/labels/rankings_train.jsonl"
    assert reward_model.keys["weight_column"] == "weight"
    assert reward_model.keys["seed"] == 2000
    assert "weight_column" not in reward_model_stage(run, config, RoundsConfig(rounds=3), 3).keys
    starts = {
        start: ppo_stage(run, config, RoundsConfig(rounds=3, start_from=start), 3).keys
        for start in ("sft", "last")
    }
    assert starts["sft"]["model_name_or_path"] == f"{root}/sft"
    assert starts["last"]["model_name_or_path"] == f"{root}/round-2/ppo"
    assert starts["sft"]["reward"] == [f"{root}/round-3/reward_model"]
    evaluation = evaluation_stage(run, config, 3)
    assert [name.partition("=")[0] for name in evaluation.keys["models"]] == [
        *("base", "sft", "round-1", "round-2", "round-3"),
    ]
    assert evaluation.keys["seed"] == 0


def test_first_round_is_the_same_with_and_without_others(keys, run):
    config, rounds = AlignConfig(**keys), RoundsConfig(rounds=3, round_decay=0.5, start_from="last")
    for stage in (reward_model_stage, ppo_stage):
        assert stage(run, config, rounds, 1) == stage(run, config)
    assert evaluation_stage(run, config, 1) == evaluation_stage(run, config)


def test_inputs_of_a_rounds_labels_change_with_what_determines_them(keys, run):
    """Votes do not count: those that come later belong to the next round."""

    def inputs(number=2, config=keys, **rounds):
        settings = RoundsConfig(rounds=3, **rounds)
        of_round = round_config(AlignConfig(**config), settings, number)
        return round_label_stage(run, of_round, settings, number).inputs

    before = inputs()
    assert inputs(3) != before
    assert inputs(round_decay=0.5) != before
    assert inputs(prompts_per_round=2) != before
    assert inputs(round_keys=["2.num_responses=6"]) != before
    assert inputs(round_keys=["3.num_responses=6"]) == before
    vote(run)
    assert inputs() == before
