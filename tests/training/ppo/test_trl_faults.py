"""Known faults of TRL 1.12's PPOTrainer, the last one it had: each would fail a test here."""

import copy
import dataclasses

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.training.common.metrics import read_metrics
from rlhf.training.ppo.experience import final_scores
from rlhf.training.ppo.gather import select_rows
from rlhf.training.ppo.metrics import rollout_metrics
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import (
    experience_from,
    experience_of,
    make_folder,
    scored_of,
    trainer,
    update,
    weights,
)

MANY_ENDS = tuple(range(100, 140))  # of 340: about half of the responses end by themselves


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("faults"))


def answered(one):
    """Judged responses, some of which end with one of MANY_ENDS."""
    chat = dataclasses.replace(one.setup.chat, eos_token_ids=MANY_ENDS)
    one.sampler.setup = dataclasses.replace(one.setup, chat=chat)
    rollouts = one.sampler.roll_out(one.models.policy, one.sampler.next_prompts(1), 1)
    one.sampler.setup = one.setup
    assert rollouts.ended_with_eos.any()
    assert not rollouts.ended_with_eos.all()
    return one.sampler.score(rollouts, 1)


def test_one_optimizer_step_per_minibatch(folder, tmp_path):
    """TRL steps once per accumulated batch: num_mini_batches=2 of 8 rows, one row at a time, are
    2 steps an epoch here; there the count of steps falls with the accumulation."""
    one = trainer(folder, tmp_path, max_steps=1, num_ppo_epochs=3, max_tokens_per_microbatch=1)
    steps = []
    one.updater.policy.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    update(one, experience_of(one))
    assert len(steps) == 3 * 2


def test_logged_means_are_over_computed_tokens(folder, tmp_path):
    """With a tiny learning rate each ratio is 1, and so is the mean that is logged,
    whatever the accumulation; TRL divides by slots that nothing was written to: 0.25."""
    one = trainer(folder, tmp_path, learning_rate=1e-7, max_tokens_per_microbatch=1)
    metrics = update(one, experience_of(one))
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-4)


def test_whitening_uses_the_rows_of_all_ranks(folder, tmp_path):
    """Two halves whitened apart would each have mean 0."""
    one = trainer(folder, tmp_path)
    scored = scored_of(one)
    scores = dataclasses.replace(scored.scores, scores=scored.scores.scores + torch.arange(8.0))
    scored = dataclasses.replace(scored, scores=scores)
    experience = experience_from(one, scored)
    mask, half = experience.rollouts.response_mask, torch.arange(4)
    assert experience.advantages[mask].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert experience.advantages[half][mask[half]].mean().item() < -0.1
    apart = experience_from(one, select_rows(scored, half))
    assert apart.advantages[mask[half]].mean().item() == pytest.approx(0.0, abs=1e-6)


def test_eos_counts_where_pad_is_eos(folder, tmp_path):
    """TRL's mask is ids != pad: a response that ends with the pad token loses that token.

    Pad becomes the token that the first finished response ends with, and nothing else changes: not
    the mask, and not where the score lands.
    """
    one = trainer(folder, tmp_path, kl_coef=0.0)
    mask = answered(one).rollouts.response_mask
    one.setup.chat.tokenizer.pad_token_id = int(first_end(answered(one).rollouts))
    scored = answered(one)
    ids = scored.rollouts.response_ids
    assert torch.equal(scored.rollouts.response_mask, mask)
    assert not torch.equal(ids != one.setup.chat.pad_token_id, mask)  # what TRL would have
    scores = dataclasses.replace(scored.scores, scores=torch.arange(1.0, 9.0))
    rewards = experience_from(one, dataclasses.replace(scored, scores=scores)).rewards
    row = int(scored.rollouts.ended_with_eos.nonzero()[0, 0])
    assert ids[row, int(rewards[row].nonzero()[0, 0])] == one.setup.chat.pad_token_id
    assert rewards.sum(1).tolist() == list(range(1, 9))


def first_end(rollouts):
    """The token that the first response that ended by itself ends with."""
    row = rollouts.ended_with_eos.nonzero()[0, 0]
    return rollouts.response_ids[row, rollouts.response_mask[row].sum() - 1]


def test_nothing_follows_the_first_end_token(folder, tmp_path):
    rollouts = answered(trainer(folder, tmp_path)).rollouts
    lengths = rollouts.response_mask.sum(1)
    last = rollouts.response_ids[torch.arange(8), lengths - 1]
    assert torch.equal(torch.isin(last, torch.tensor(MANY_ENDS)), rollouts.ended_with_eos)
    inside = rollouts.response_mask & (
        torch.arange(rollouts.response_mask.shape[1]) < lengths[:, None] - 1
    )
    assert not torch.isin(rollouts.response_ids[inside], torch.tensor(MANY_ENDS)).any()


def test_score_is_on_the_end_token(folder, tmp_path):
    one = trainer(folder, tmp_path, kl_coef=0.0)
    scored = answered(one)
    scores = dataclasses.replace(scored.scores, scores=torch.arange(1.0, 9.0))
    rewards = experience_from(one, dataclasses.replace(scored, scores=scores)).rewards
    lengths = scored.rollouts.response_mask.sum(1)
    expected = torch.zeros_like(rewards)
    expected[torch.arange(8), lengths - 1] = torch.arange(1.0, 9.0)
    assert torch.equal(rewards, expected)


def test_eos_penalty_knows_every_end_token(folder, tmp_path):
    """TRL looks for eos_token_id, which a chat response does not end with."""
    one = trainer(folder, tmp_path, missing_eos_penalty=7.0)
    scored = answered(one)
    lost = scored.scores.scores - final_scores(scored, one.config)
    assert torch.equal(lost == 0, scored.rollouts.ended_with_eos)
    assert torch.all(lost[~scored.rollouts.ended_with_eos] == 7.0)


def test_padding_changes_no_metric(folder, tmp_path):
    """Four columns of NaN behind every response change no ratio, approx KL, entropy or length."""
    one = trainer(folder, tmp_path, num_ppo_epochs=1)
    scored = answered(one)
    wide = _padded(scored)
    assert rollout_metrics(wide) == pytest.approx(rollout_metrics(scored), abs=1e-6)
    twin = trainer(folder, tmp_path, num_ppo_epochs=1)
    first = update(one, experience_from(one, scored))
    second = update(twin, experience_from(twin, wide))
    assert second == pytest.approx(first, abs=1e-6)


def _padded(scored):
    """`scored` with four more columns, NaN wherever a number can be."""

    def wider(tensor, value):
        return torch.nn.functional.pad(tensor, (0, 4), value=value)

    nan, rollouts = float("nan"), scored.rollouts
    return dataclasses.replace(
        scored,
        rollouts=dataclasses.replace(
            rollouts,
            response_ids=wider(rollouts.response_ids, 0),
            response_mask=wider(rollouts.response_mask, False),
            action_mask=wider(rollouts.action_mask, False),
            logprobs=wider(rollouts.logprobs, nan),
            importance_weights=wider(rollouts.importance_weights, nan),
            entropies=wider(rollouts.entropies, nan),
        ),
        ref_logprobs=wider(scored.ref_logprobs, nan),
        values=wider(scored.values, nan),
    )


def test_bf16_key_sets_the_compute_dtype(folder, tmp_path):
    for wanted, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        one = trainer(folder, tmp_path, bf16=wanted)
        seen = set()
        layer = one.models.policy.model.layers[0].mlp.down_proj
        layer.register_forward_hook(lambda _, __, output, seen=seen: seen.add(output.dtype))
        update(one, experience_of(one))
        assert seen == {dtype}


def test_gradient_checkpointing_changes_no_weight(folder, tmp_path):
    calls, results = {}, {}
    for wanted in (False, True):
        one = trainer(folder, tmp_path, gradient_checkpointing=wanted, num_ppo_epochs=1)
        experience, count = experience_of(one), []
        # Before, not after: recomputing stops at the last tensor that the backward pass needs.
        one.models.policy.model.layers[0].mlp.register_forward_pre_hook(
            lambda *_, count=count: count.append(1)
        )
        update(one, experience)
        calls[wanted], results[wanted] = len(count), copy.deepcopy(weights(one))
    assert calls[True] == 2 * calls[False]
    for name, tensor in results[False].items():
        torch.testing.assert_close(results[True][name], tensor, atol=1e-6, rtol=0)


def test_gradients_are_clipped_before_the_step(folder, tmp_path):
    one = trainer(folder, tmp_path, max_grad_norm=1e-3)
    norms = []
    for optimizer in (one.updater.policy.optimizer, one.updater.critic.optimizer):
        optimizer.register_step_pre_hook(
            lambda taken, *_: norms.append(
                torch.nn.utils.get_total_norm([p.grad for p in taken.param_groups[0]["params"]])
            )
        )
    metrics = update(one, experience_of(one))
    assert metrics["grad_norm"] > 1e-3  # before clipping
    assert max(norms) <= 1e-3 * 1.001


def test_adaptive_kl_coef_survives_a_resume(folder, tmp_path):
    """Far above a target of 1e-6 the coefficient grows by 1 + 0.2 * 8 / 100 an iteration, and a
    resumed run goes on from there."""
    options = {"target_kl": 1e-6, "kl_horizon": 100, "kl_coef": 0.1, "learning_rate": 1e-2}
    whole = trainer(folder, tmp_path / "a", **options)
    whole.train()
    resumed = trainer(folder, tmp_path / "b", tmp_path / "a/checkpoint-2", **options)
    assert resumed.progress.step == 2
    resumed.train()
    assert resumed.progress.kl_coef == whole.progress.kl_coef != 0.1
    third, second = (line["kl_coef"] for line in read_metrics(tmp_path / "a")[:0:-1])
    assert max(third / second, second / third) == pytest.approx(1.016, abs=1e-3)


def test_reward_model_uses_its_own_tokenizer_and_template(folder, tmp_path):
    """A Qwen2-shaped reward model scores a Llama-shaped policy's texts, not its token ids."""
    base = make_model(tmp_path / "base", "qwen2")
    chat = load_tokenizer(str(base))
    save_reward_model(tmp_path / "reward", new_reward_model(base, seed=1), chat, 0.0, 1.0)
    one = trainer(folder, tmp_path / "run", reward=[str(tmp_path / "reward")])
    assert one.setup.chat.tokenizer.get_vocab() != chat.tokenizer.get_vocab()
    assert one.setup.chat.tokenizer.chat_template != chat.tokenizer.chat_template
    scored = scored_of(one)
    rollouts = scored.rollouts
    plain = RewardModel(tmp_path / "reward").score(rollouts.batch.prompts, rollouts.texts)
    torch.testing.assert_close(scored.scores.scores, torch.tensor(plain), atol=1e-5, rtol=0)
