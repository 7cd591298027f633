"""The split of the labels, the gate, and which evaluations are done."""

import json
from dataclasses import replace

import pytest

from rlhf.evaluation.core.records import write_records
from rlhf.pipeline.compare.evaluation import Job, is_done
from rlhf.pipeline.compare.labels import label_stage, pass_gate
from rlhf.pipeline.compare.measure import earlier_records, scored
from rlhf.pipeline.runner import run_stage
from rlhf.rewards.reward import load_reward
from rlhf.runtime.run_folder import RunConfig
from rlhf.types import PromptRow
from tests.errors import raises
from tests.pipeline.compare.points import KEYS, config_of
from tests.pipeline.compare.test_points import record

METHODS = {"ppo": {"sweep": {"kl_coef": [0.1]}}}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_labels_are_split_by_prompt_once_for_all_methods(tmp_path, monkeypatch):
    """A quarter of four prompts is held out, with both of its rankings; pairs become rankings."""
    rows = [{"prompt": p, "chosen": f"good {i}", "rejected": "bad"} for p in "abcd" for i in (1, 2)]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setitem(KEYS, "labels", str(path))
    config = config_of(METHODS, label_eval_fraction=0.25)
    stage = label_stage(RunConfig(output_dir=str(tmp_path / "out")), config)
    logged = []
    assert run_stage(stage, logged.append)
    train = read(stage.folder / "rankings_train.jsonl")
    held_out = read(stage.folder / "rankings_heldout.jsonl")
    assert (len(train), len(held_out)) == (6, 2)
    assert len({row["prompt"] for row in held_out}) == 1
    assert not {row["prompt"] for row in held_out} & {row["prompt"] for row in train}
    assert held_out[0]["ranks"] == [1, 2]
    assert not run_stage(stage, logged.append)


def test_failed_gate_stops_unless_it_is_skipped(tmp_path):
    (tmp_path / "gate.json").write_text('{"verdict": "fail", "reasons": ["accuracy 0.5"]}')
    with raises("gate-failed", "accuracy 0.5", "--skip_gate"):
        pass_gate(tmp_path, skip=False)
    pass_gate(tmp_path, skip=True)


@pytest.fixture
def job(tmp_path):
    return Job(
        name="ppo",
        model="m",
        folder=str(tmp_path),
        num_generations=1,
        measures_kl=True,
        sampling={"seed": 0},
        judging={"judge": "a"},
    )


def test_evaluation_is_done_with_the_same_model_and_judge(job, tmp_path):
    """Another judge reads the earlier responses again; another seed samples new ones."""
    assert not is_done(job)
    assert earlier_records(job) is None
    write_records(tmp_path, [PromptRow(prompt="Hi")], [record("a", 1.0)])
    inputs = {"sampling": {"seed": 0}, "judging": {"judge": "a"}}
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    assert is_done(job)
    other_judge = replace(job, judging={"judge": "b"})
    assert not is_done(other_judge)
    [again] = earlier_records(other_judge)
    assert (again.text, again.scores) == ("a", {})
    assert earlier_records(replace(job, sampling={"seed": 1})) is None


def test_equal_responses_to_a_prompt_are_scored_once():
    calls = []

    def count(prompts, completions):
        calls.extend(completions)
        return [float(len(calls)) for _ in completions]

    records = [replace(record(text, 0.0), scores={}) for text in ("a", "b", "a")]
    records = scored(records, [PromptRow(prompt="Hi")], load_reward(count), "judge")
    assert calls == ["a", "b"]
    assert [each.scores["judge"] for each in records] == [2.0, 2.0, 2.0]
