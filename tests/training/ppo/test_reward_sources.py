"""Several sources of a reward in PPO: their metrics, their standardised sum, and early checks."""

import dataclasses
import math

import pytest
import torch

import rlhf
from rlhf.ops.rewards import normalized_sum
from rlhf.rewards.counts import RewardCounts, SourceCounts
from rlhf.training.common.metrics import read_metrics
from rlhf.training.ppo.reward_metrics import correlation, count_metrics, source_metrics
from rlhf.training.ppo.score import scores_to_train_on
from rlhf.types import PromptRow, Scores
from tests.errors import raises
from tests.training.ppo.tiny_ppo import make_folder, scored_of, settings, trainer

pytestmark = pytest.mark.usefixtures("one_thread")

FUNCTIONS = """
async def consonants(prompts, completions):
    return [10.0 * sum(c in "bcdfg" for c in text) for text in completions]

async def sometimes(prompts, completions, number):
    return [None if number[0] == 3 else 1.0]
"""
ROWS = [
    PromptRow(prompt=f"Where is the ball {i}?", columns={"number": i, "answer": "x"})
    for i in range(10)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("sources"))
    (folder / "functions.py").write_text(FUNCTIONS)
    return folder


def scores_of(**breakdown):
    values = {name: torch.tensor(each) for name, each in breakdown.items()}
    total = sum(values.values())
    return Scores(scores=total, breakdown=values, failures=[""] * len(total))


def test_literal_source_metrics():
    """a = 0, 2, 4 and b = 1, 1, 4: centred -2, 0, 2 and -1, -1, 2; r = 6 / √(8 * 6)."""
    metrics = source_metrics(scores_of(a=[0.0, 2.0, 4.0], b=[1.0, 1.0, 4.0], c=[3.0, 3.0, 3.0]))
    assert metrics == pytest.approx(
        {
            "score_std/a": math.sqrt(8 / 3),
            "score_std/b": math.sqrt(2),
            "score_std/c": 0.0,
            "score_correlation/a,b": 6 / math.sqrt(48),
        }
    )
    assert source_metrics(scores_of(a=[0.0, 1.0])) == {}


def test_correlation_needs_a_spread():
    one = torch.tensor([0.1, 0.1, 0.1]).double()
    assert correlation(one, torch.tensor([1.0, 2.0, 3.0]).double()) is None
    line = torch.tensor([1.0, 2.0, 3.0]).double()
    assert correlation(line, -5 * line) == pytest.approx(-1.0)


def test_counts_of_all_sources_are_added_and_shares_are_by_source():
    counts = RewardCounts()
    counts.of("a/x").calls, counts.of("a/x").retries = 5, 2
    counts.of("a/x").responses, counts.of("a/x").unusable = 8, 2
    counts.of("y").cached, counts.of("y").timeouts, counts.of("y").responses = 3, 1, 8
    taken = counts.take()
    calls = {"reward_calls": 5, "reward_retries": 2, "reward_timeouts": 1, "reward_cached": 3}
    assert count_metrics(taken, skips=False) == calls
    shares = {"reward_unusable/x": 0.25, "reward_unusable/y": 0.0}
    assert count_metrics(taken, skips=True) == calls | shares
    assert counts.take() == {}
    assert count_metrics({"y": SourceCounts(responses=8)}, skips=False) == {}


def test_run_logs_its_sources(folder, tmp_path):
    reward = [f"{folder}/reward.py:vowels", f"{folder}/functions.py:consonants"]
    trainer(folder, tmp_path, reward=reward, max_steps=2).train()
    for line in read_metrics(tmp_path):
        assert line["reward_calls"] == 8  # one for each response of the iteration
        assert line["reward_cached"] == line["reward_retries"] == 0
        assert {"score/reward.py:vowels", "score_std/functions.py:consonants"} <= line.keys()
        assert -1 <= line.get("score_correlation/reward.py:vowels,functions.py:consonants", 0) <= 1


def test_repeated_run_is_answered_by_the_cache(folder, tmp_path):
    """The same seed samples the same responses: no second call, and the same weights."""
    keys = {"reward": [f"{folder}/functions.py:consonants"], "max_steps": 2,
            "reward_cache": str(tmp_path / "scores.sqlite")}  # fmt: skip
    lines = []
    for name in ("one", "two"):
        trainer(folder, tmp_path / name, **keys).train()
        lines.append(read_metrics(tmp_path / name))
    assert [line["reward_calls"] for line in lines[1]] == [0, 0]
    assert [line["reward_cached"] for line in lines[1]] == [8, 8]
    for one, two in zip(*lines, strict=True):
        assert one["score"] == two["score"]
        assert one["policy_loss"] == two["policy_loss"]


def test_normalized_sum_trains_on_standardised_sources(folder, tmp_path):
    reward = [f"2*{folder}/reward.py:vowels", f"{folder}/functions.py:consonants"]
    one = trainer(folder, tmp_path, reward=reward, reward_aggregation="normalized_sum")
    scored = scored_of(one)
    values = torch.stack(list(scored.scores.breakdown.values()))
    # What metrics show is the plain sum.
    torch.testing.assert_close(scored.scores.scores, 2 * values[0] + values[1])
    trained = scores_to_train_on(scored, one.reward)
    expected = normalized_sum(values, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(trained.scores.scores, expected)
    assert trained.scores.scores.mean().abs() < 1e-6
    one.train()
    first = read_metrics(tmp_path)[0]
    assert first["score"] == pytest.approx(float(scored.scores.scores.mean()))


def test_plain_sum_trains_on_the_scores_themselves(folder, tmp_path):
    one = trainer(folder, tmp_path)
    scored = scored_of(one)
    assert scores_to_train_on(scored, one.reward) is scored


def test_skipped_responses_are_counted_by_source(folder, tmp_path):
    """One of ten prompts has none: 2 of 20 responses. The others are standardised without them."""
    keys = {"rollout_batch_size": 20, "num_minibatches": 2, "num_generations": 2, "max_steps": 1}
    keys |= {"reward_aggregation": "normalized_sum"}
    reward = [f"{folder}/reward.py:vowels", f"{folder}/functions.py:sometimes"]
    one = trainer(folder, tmp_path, rows=ROWS, reward=reward, on_reward_error="skip", **keys)
    batch = one.sampler.next_prompts(1)
    rollouts = one.sampler.roll_out(one.models.policy, batch, 1)
    scored = one.sampler.score(rollouts, 1, most_skipped=0.2)
    assert len(scored.rollouts.texts) == 18
    trained = scores_to_train_on(scored, one.reward).scores.scores
    assert float(trained.mean()) == pytest.approx(0, abs=1e-5)
    metrics = one.sampler.take_counts()
    assert metrics["reward_unusable/functions.py:sometimes"] == pytest.approx(0.1)
    assert metrics["reward_unusable/reward.py:vowels"] == 0.0


def make(folder, reward, **keys):
    config = rlhf.PPOConfig(max_steps=1, rollout_batch_size=8, max_completion_length=4)
    return rlhf.PPOTrainer(
        folder / "policy", ["Where is the ball?", "Who?"], reward, config=config,
        reward_config=rlhf.RewardConfig(**keys),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reward", "keys", "code", "names"),
    [
        ("verifier:exact_match", {}, "bad-reward", ["answer", "row 1"]),
        ("verifier:nothing", {}, "bad-reward", ["nothing"]),
        ("judge:none.yaml", {}, "missing-file", ["none.yaml"]),
        ("http://127.0.0.1:9/score", {}, "bad-reward", ["127.0.0.1:9"]),
        ("http://127.0.0.1:9/scores", {}, "bad-reward", ["/get_reward"]),
        ("verifier:code", {}, "not-allowed", ["reward_run_code"]),
        ("verifier:length?max=9", {"reward_timeout": 3.0}, "key-conflict", ["reward_timeout"]),
        ("verifier:length?max=9", {"reward_run_code": True}, "key-conflict", ["reward_run_code"]),
        ("verifier:length?max=9", {"reward_concurrency": 0}, "bad-value", ["reward_concurrency"]),
        ("verifier:length?max=9", {"reward_timeout": 0.0}, "bad-value", ["reward_timeout"]),
        ("verifier:length?max=9", {"reward_retries": -1}, "bad-value", ["reward_retries"]),
    ],
)
def test_source_that_cannot_be_used_ends_the_run_before_a_rollout(
    folder, reward, keys, code, names
):
    with raises(code, *names):
        make(folder, reward, **keys)


def test_greedy_baseline_has_no_standardised_score():
    with raises("key-conflict", "remax", "normalized_sum"):
        settings(
            output_dir="x", model_name_or_path="x", train_data="rows", reward=["x"], max_steps=1,
            advantage="remax", reward_aggregation="normalized_sum",
        )  # fmt: skip
    made = settings(
        output_dir="x", model_name_or_path="x", train_data="rows", reward=["x"], max_steps=1,
        reward_aggregation="normalized_sum",
    )  # fmt: skip
    assert dataclasses.asdict(made.reward)["reward_aggregation"] == "normalized_sum"
