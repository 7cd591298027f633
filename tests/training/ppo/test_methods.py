"""What single methods add: greedy baselines, dynamic sampling, an entropy bonus, loss types."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from rlhf.models.sequences import sequences_of
from rlhf.training.common.metrics import read_metrics
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.dynamic_sampling import equal_groups
from rlhf.training.ppo.experience import final_scores
from rlhf.training.ppo.zero_advantages import only_advantages_train, without_zero_advantages
from tests.training.ppo.tiny_ppo import (
    ROWS,
    experience_of,
    make_folder,
    scored_of,
    trainer,
    update,
    weights,
)

GROUPS = {"advantage": "rloo", "dynamic_sampling": 2}
HALF = """
def half(prompts, completions):
    return [
        float(len(completion) % 7) if int(prompt.split("ball ")[1][:-1]) % 2 else 1.0
        for prompt, completion in zip(prompts, completions)
    ]
"""  # responses to prompts with an even number all get 1


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("methods"))
    (folder / "half.py").write_text(HALF)
    return folder


def numbers(scored):
    """The number in each row's prompt."""
    return [int(p.split("ball ")[1][:-1]) for p in scored.rollouts.batch.prompts]


def test_greedy_scores_are_those_of_the_likeliest_responses(folder, tmp_path):
    """Vowels of the response at temperature 0, over 4, for both responses to a prompt."""
    one = trainer(folder, tmp_path, advantage="remax")
    batch = one.sampler.next_prompts(1)
    policy = one.models.policy
    greedy = one.sampler.roll_out_greedily(policy, batch, 1)
    scored = one.sampler.score(one.sampler.roll_out(policy, batch, 1), 1, greedy=greedy)
    assert len(greedy.texts) == 4
    likeliest = one.generate(greedy.batch.prompts, temperature=0)
    expected = dict(zip(greedy.batch.prompts, likeliest, strict=True))
    for prompt, score in zip(
        scored.rollouts.batch.prompts, scored.greedy_scores.tolist(), strict=True
    ):
        assert score == sum(c in "aeiou" for c in expected[prompt]) / 4


def test_greedy_responses_count_as_episodes(folder, tmp_path):
    """Two iterations of 8 responses and 4 greedy ones."""
    trainer(folder, tmp_path, advantage="remax", max_steps=2).train()
    assert [line["episode"] for line in read_metrics(tmp_path)] == [12, 24]


def test_prompt_without_a_greedy_score_is_skipped(folder, tmp_path):
    """The reward fails where a response is the likeliest one to its prompt."""
    one = trainer(folder, tmp_path, advantage="remax", on_reward_error="skip")
    batch = one.sampler.next_prompts(1)
    policy = one.models.policy
    greedy = one.sampler.roll_out_greedily(policy, batch, 1)
    lost = greedy.batch.prompts[0]
    reward, calls = one.reward, []

    def score(prompts, texts, columns):
        scores = reward.score(prompts, texts, columns)
        calls.append(len(texts))
        if len(texts) == 4:
            scores.scores[0] = float("nan")
            return dataclasses.replace(scores, failures=["no score", "", "", ""])
        return scores

    one.sampler.reward = SimpleNamespace(score=score, on_error="skip")
    rollouts = one.sampler.roll_out(policy, batch, 1)
    scored = one.sampler.score(rollouts, 1, greedy=greedy, most_skipped=0.5)
    assert calls == [8, 4]
    assert len(scored.greedy_scores) == 6
    assert lost not in scored.rollouts.batch.prompts


@pytest.mark.parametrize("attempts", [1, 3])
def test_equal_groups_are_replaced_by_others(folder, tmp_path, attempts):
    """Groups of even prompts give way, as far as the draws bring odd ones with spread."""
    one = trainer(
        folder,
        tmp_path,
        reward=[f"{folder}/half.py:half"],
        advantage="rloo",
        dynamic_sampling=attempts,
        rollout_batch_size=16,
        num_generations=4,
    )
    before = scored_of(one)
    after, drawn = one.sampler.replace_equal_groups(before, 1)
    count = [len(equal_groups(scored, one.config)) for scored in (before, after)]
    assert count[0] > count[1]
    assert drawn >= count[0]
    assert len(after.rollouts.texts) == 16
    ids = after.rollouts.batch.group_ids
    assert sorted(torch.bincount(ids)[torch.bincount(ids) > 0].tolist()) == [4, 4, 4, 4]
    spread = ~torch.isin(ids, equal_groups(after, one.config))
    assert all(number % 2 for number, kept in zip(numbers(after), spread, strict=True) if kept)
    assert len(after.rollouts.batch.row_ids.unique()) == 16
    again, _ = one.sampler.replace_equal_groups(before, 1)
    assert torch.equal(again.rollouts.response_ids, after.rollouts.response_ids)


def test_groups_with_spread_are_not_touched(folder, tmp_path):
    one = trainer(folder, tmp_path, rows=ROWS[1::2], reward=[f"{folder}/half.py:half"], **GROUPS)
    scored = scored_of(one)
    if len(equal_groups(scored, one.config)) == 0:
        assert one.sampler.replace_equal_groups(scored, 1) == (scored, 0)


def test_what_cannot_be_replaced_stays_and_is_counted(folder, tmp_path):
    """Every prompt is even: four groups are drawn in each of two attempts, in vain."""
    reward = [f"{folder}/half.py:half"]
    trainer(folder, tmp_path, rows=ROWS[::2], reward=reward, max_steps=1, **GROUPS).train()
    (line,) = read_metrics(tmp_path)
    assert line["equal_groups"] == line["equal_groups_left"] == 1.0
    assert (line["extra_responses"], line["episode"]) == (16, 24)


def test_processes_without_a_prompt_of_their_own_sample_in_vain(folder, tmp_path):
    """One group is missing and three processes draw: the first group alone is used."""
    one = trainer(folder, tmp_path, reward=[f"{folder}/half.py:half"], **GROUPS)
    used = {}
    for ranks in (1, 3):
        batches = []
        one.sampler.score = lambda rollouts, *_, batches=batches, **__: batches.append(
            rollouts.batch
        )
        for rank in range(ranks):
            one.sampler.accelerator = SimpleNamespace(
                process_index=rank, num_processes=ranks, device=torch.device("cpu")
            )
            with pytest.raises(AttributeError):  # there are no scores of all processes here
                one.sampler._other_groups(1, 1, 1)
        rows = [batch.row_ids.tolist() for batch in batches]
        assert [len(own) for own in rows] == [2] * ranks
        used[ranks] = sorted(row for own in rows for row in own if row < (4 + 1) * 2)
    assert used[1] == used[3] == [8, 9]


def test_entropy_bonus_raises_entropy(folder, tmp_path):
    """An update by a strong bonus alone makes the next rollouts less certain."""
    entropies = {}
    for coef in (0.0, 10.0):
        one = trainer(folder, tmp_path, advantage="rloo", kl_coef=0.0, entropy_coef=coef)
        update(one, experience_of(one))
        entropies[coef] = scored_of(one, 2).rollouts.entropies.mean().item()
    assert entropies[10.0] > entropies[0.0]


@pytest.mark.parametrize("loss_type", ["token-mean", "sequence-mean", "dr_grpo", "dapo"])
def test_update_without_zero_advantages_equals_one_with_them(
    folder, tmp_path, monkeypatch, loss_type
):
    """Even prompts have equal scores: their rows are not read, and weights and loss stay the same.

    Tokens per forward pass are counted by the rows that `sequences_of` gets.
    """
    after, rows_read = [], []
    for all_rows_stay in (True, False):
        one = trainer(
            folder,
            tmp_path,
            reward=[f"{folder}/half.py:half"],
            advantage="grpo",
            kl_coef=0.0,
            loss_type=loss_type,
            num_minibatches=1,
        )
        made, read = experience_of(one), []

        def count(rows, *, packed, read=read):
            read.append(len(rows.lengths))
            return sequences_of(rows, packed=packed)

        monkeypatch.setattr("rlhf.training.ppo.update.sequences_of", count)
        if all_rows_stay:
            monkeypatch.setattr(
                "rlhf.training.ppo.update.only_advantages_train", lambda config, kl_coef: False
            )
        after.append((update(one, made), weights(one)))
        rows_read.append(sum(read))
        monkeypatch.undo()
    taught = int((made.advantages != 0).any(dim=1).sum())
    assert 0 < taught < 8
    assert rows_read == [2 * 8, 2 * taught]
    assert after[0][0]["policy_loss"] == pytest.approx(after[1][0]["policy_loss"], abs=1e-6)
    assert after[0][0]["grad_norm"] == pytest.approx(after[1][0]["grad_norm"], rel=1e-4)
    for name, tensor in after[0][1].items():
        torch.testing.assert_close(tensor, after[1][1][name], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "reads"), [({}, False), ({"kl_coef": 0.1}, True), ({"entropy_coef": 0.1}, True)]
)
def test_zero_advantages_are_read_where_the_loss_has_other_terms(changes, reads):
    config = dataclasses.replace(
        PPOConfig(advantage="grpo", kl_coef=0.0, max_steps=1, num_generations=2), **changes
    )
    assert only_advantages_train(config, config.kl_coef) is not reads


def test_a_row_for_each_rank_stays(folder, tmp_path):
    """Every prompt is even: no row teaches, two ranks read a row each."""
    reward = [f"{folder}/half.py:half"]
    one = trainer(folder, tmp_path, rows=ROWS[::2], reward=reward, advantage="grpo", kl_coef=0.0)
    minibatch = experience_of(one).select(torch.arange(8))
    assert len(without_zero_advantages(minibatch, at_least=2).lengths) == 2
    before = weights(one)
    metrics = update(one, experience_of(one))
    assert metrics["grad_norm"] == 0.0
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(one).items())


@pytest.mark.parametrize("loss_type", ["sequence-mean", "dr_grpo", "dapo"])
@pytest.mark.parametrize("mask_truncated", [False, True])
def test_microbatches_change_no_loss_type(folder, tmp_path, loss_type, mask_truncated):
    """One row at a time or all at once: the same update."""
    after = []
    for tokens in (1, 4096):
        one = trainer(
            folder,
            tmp_path,
            advantage="rloo",
            loss_type=loss_type,
            mask_truncated=mask_truncated,
            max_tokens_per_microbatch=tokens,
        )
        made = experience_of(one)
        metrics = update(one, made)
        after.append((metrics["policy_loss"], weights(one)))
    assert after[0][0] == pytest.approx(after[1][0], abs=1e-5)
    for name, tensor in after[0][1].items():
        torch.testing.assert_close(tensor, after[1][1][name], atol=2e-5, rtol=0)


def test_final_scores_of_long_responses_fall(folder, tmp_path):
    """All responses have six tokens, the longest length."""
    one = trainer(folder, tmp_path, overlong_buffer=2, overlong_penalty=0.5)
    scored = scored_of(one)
    lengths = scored.rollouts.response_mask.sum(1)
    lost = scored.scores.scores - final_scores(scored, one.config)
    torch.testing.assert_close(lost, 0.25 * (lengths - 4).clamp(min=0).float())
