"""The engine on a tiny random policy: exactness against itself, and the faults of others."""

import copy
import dataclasses
import math

import pytest
import torch

from rlhf.models.cpu_kernels.norm import FastRMSNorm
from rlhf.training.common.checkpoint import verify_checkpoint
from rlhf.training.common.metrics import read_metrics
from rlhf.training.ppo.rollout import prompts_for_step
from rlhf.types import PromptRow
from tests.errors import raises
from tests.training.ppo.tiny_ppo import ROWS, experience_of, make_folder, trainer, update, weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("ppo"))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_first_ratio_is_one_and_first_kl_zero(folder, tmp_path, temperature):
    """Policy is reference: ratio 1, clip fraction 0, KL below 1e-5 nats per token (fp32).

    A temperature that rollout, reference or update forgot would show in either.
    """
    one = trainer(folder, tmp_path, max_steps=1, temperature=temperature)
    one.train()
    (line,) = read_metrics(tmp_path)
    assert line["first_ratio"] == pytest.approx(1.0, abs=1e-4)
    assert line["first_clip_fraction"] == 0.0
    assert abs(line["kl_per_token"]) < 1e-5
    assert line["kl_k3_per_token"] < 1e-5
    assert line["kl"] == pytest.approx(line["kl_per_token"] * line["response_length"], abs=1e-6)


def test_every_metric_is_logged(folder, tmp_path):
    trainer(folder, tmp_path, max_steps=1).train()
    (line,) = read_metrics(tmp_path)
    wanted = """score score_std kl kl_k3 kl_per_token kl_k3_per_token entropy kl_coef
        response_length eos_rate ratio approx_kl clip_fraction value_clip_fraction
        explained_variance policy_loss value_loss grad_norm value_grad_norm learning_rate
        samples_per_second tokens_per_second seconds_rollout seconds_score seconds_update
        peak_memory_mb step episode time"""
    assert set(wanted.split()) <= line.keys()
    assert all(value is not None for value in line.values())


def test_learning_rates_decay_linearly_and_adam_epsilon(folder, tmp_path):
    """Three iterations at 1e-3: 1e-3, 2/3e-3, 1/3e-3; the critic's own rate falls alike."""
    one = trainer(folder, tmp_path, value_learning_rate=3e-3)
    one.train()
    rates = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert rates == pytest.approx([1e-3, 2e-3 / 3, 1e-3 / 3])
    (group,) = one.updater.critic.optimizer.param_groups
    assert (group["lr"], group["eps"], group["weight_decay"]) == (pytest.approx(1e-3), 1e-5, 0.0)


def test_reference_does_not_change(folder, tmp_path):
    one = trainer(folder, tmp_path, learning_rate=1e-2)
    with one.models.reference() as reference:
        before = copy.deepcopy(reference.state_dict())
    one.train()
    with one.models.reference() as reference:
        assert all(torch.equal(x, before[name]) for name, x in reference.state_dict().items())
        assert not any(parameter.requires_grad for parameter in reference.parameters())


def test_microbatches_change_neither_weights_nor_metrics(folder, tmp_path):
    """One microbatch a minibatch against one a row, over two iterations."""
    whole = trainer(folder, tmp_path / "a", max_steps=2)
    split = trainer(folder, tmp_path / "b", max_steps=2, max_tokens_per_microbatch=1)
    whole.train()
    split.train()
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(split)[name], atol=2e-5, rtol=0, msg=name)
    for a, b in zip(read_metrics(tmp_path / "a"), read_metrics(tmp_path / "b"), strict=True):
        for name in ("score", "kl", "ratio", "policy_loss", "value_loss", "grad_norm"):
            assert a[name] == pytest.approx(b[name], abs=1e-4), name


def test_optimizer_steps_do_not_depend_on_microbatches(folder, tmp_path):
    """3 iterations x 2 epochs x 2 minibatches = 12 steps."""
    one = trainer(folder, tmp_path, max_tokens_per_microbatch=1)
    one.train()
    for optimizer in (one.updater.policy.optimizer, one.updater.critic.optimizer):
        assert {int(state["step"]) for state in optimizer.state.values()} == {12}


def test_resumed_run_equals_uninterrupted_run(folder, tmp_path):
    whole = trainer(folder, tmp_path / "a", target_kl=0.01)
    whole.train()
    resumed = trainer(folder, tmp_path / "b", tmp_path / "a" / "checkpoint-2", target_kl=0.01)
    resumed.train()
    assert resumed.progress == whole.progress
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"kl_coef": 0.5}, "kl_coef 0.05"),
        ({"loss_type": "sequence-mean"}, "loss_type token-mean"),
        ({"clip_range_high": 0.3}, "clip_range_high None"),
        ({"temperature": 0.9}, "temperature 1.0"),
        ({"rows": [*ROWS[:-1], PromptRow(prompt="Another?")]}, "train_data of sha256"),
    ],
)
def test_checkpoint_of_another_run_does_not_resume(folder, tmp_path, changes, name):
    trainer(folder, tmp_path / "a", max_steps=1).train()
    with raises("other-run", name):
        trainer(folder, tmp_path / "b", tmp_path / "a" / "checkpoint-1", max_steps=2, **changes)


def test_gradient_is_of_the_masked_token_mean(folder, tmp_path):
    """The critic's first gradient against a plain loop over the rows, one by one."""
    one = trainer(folder, tmp_path, num_minibatches=1, num_ppo_epochs=1, max_grad_norm=1e9)
    experience = experience_of(one)
    batch = experience.rollouts.batch
    critic = copy.deepcopy(one.models.critic).requires_grad_(True)
    metrics = update(one, experience)
    total = torch.zeros(())
    for row, length in enumerate(experience.rollouts.response_mask.sum(1).tolist()):
        prompt = batch.input_ids[row][batch.attention_mask[row]]
        ids = torch.cat([prompt, experience.rollouts.response_ids[row, :length]])[None]
        hidden = critic.trunk(input_ids=ids).last_hidden_state[0, len(prompt) - 1 : -1]
        total = (
            total + (critic.head(hidden)[:, 0] - experience.returns[row, :length]).square().sum()
        )
    loss = 0.1 * total / 2 / experience.rollouts.response_mask.sum()
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in critic.parameters()])
    assert metrics["value_grad_norm"] == pytest.approx(norm.item(), rel=1e-3)


def test_advantages_are_whitened_and_returns_are_not(folder, tmp_path):
    one = trainer(folder, tmp_path)
    experience = experience_of(one)
    mask = experience.rollouts.response_mask
    assert experience.advantages[mask].mean().item() == pytest.approx(0, abs=1e-6)
    assert experience.advantages[mask].std().item() == pytest.approx(1, abs=1e-5)
    # gamma 1: the first return of lambda-weighted sums is near the row's rewards, unscaled.
    assert experience.returns[mask].std() != pytest.approx(1, abs=1e-3)
    assert torch.all(experience.returns[~mask] == 0)


def test_each_epoch_takes_every_prompt_once(folder, tmp_path):
    """10 prompts, 4 an iteration: five iterations are two epochs, the second in another order."""
    one = trainer(folder, tmp_path)
    seen = [row.prompt for n in range(5) for row in prompts_for_step(ROWS, n, count=4, seed=0)]
    first, second = seen[:10], seen[10:]
    assert sorted(first) == sorted(second) == sorted(row.prompt for row in ROWS)
    assert first != second
    for n in range(5):  # iteration n + 1 answers those, two answers each
        batch = one.sampler.next_prompts(n + 1)
        assert sorted(batch.prompts) == sorted(2 * seen[4 * n : 4 * n + 4])


def test_noise_depends_on_seed_and_iteration(folder, tmp_path):
    """The same prompts are answered alike in one iteration of one seed, and otherwise not."""
    one, other = trainer(folder, tmp_path), trainer(folder, tmp_path, seed=1)
    batch = one.sampler.next_prompts(1)

    def ids(of, iteration):
        return of.sampler.roll_out(of.models.policy, batch, iteration).response_ids.tolist()

    assert ids(one, 1) == ids(one, 1)
    assert ids(one, 1) != ids(one, 2)
    assert ids(one, 1) != ids(other, 1)


def test_critic_warmup_does_not_move_the_policy(folder, tmp_path):
    one = trainer(folder, tmp_path, critic_warmup_steps=1)
    before = copy.deepcopy(weights(one))
    update(one, experience_of(one))
    moved = {name for name, tensor in weights(one).items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith("critic.") for name in moved)


def test_policy_critic_and_reference_share_norm_kernels(folder, tmp_path):
    """Another norm in the reference would give other log-probs at step 0, where KL is 0."""
    models = trainer(folder, tmp_path).models
    with models.reference() as reference:
        for model in (models.policy, models.critic, reference):
            assert sum(isinstance(part, FastRMSNorm) for part in model.modules()) == 4


def test_kl_budget_stops_before_the_next_update(folder, tmp_path):
    result = trainer(folder, tmp_path, kl_budget=1e-3, learning_rate=1e-2, max_steps=9).train()
    assert "passed kl_budget 0.001 before step 2" in result.stopped_early
    assert result.progress.step == 1
    learned, stopped = read_metrics(tmp_path)
    assert "policy_loss" in learned
    assert stopped["step"] == 2  # what it was stopped for stands there; nothing was learned from it
    assert stopped["kl"] > 1e-3
    assert "policy_loss" not in stopped


def test_non_finite_gradient_names_step_and_rows(folder, tmp_path):
    """One return of row 3 is NaN: that row alone is named, and nothing has moved."""
    one = trainer(folder, tmp_path, num_minibatches=1)
    experience = experience_of(one)
    broken = experience.returns.clone()
    broken[3, 0] = float("nan")
    before = copy.deepcopy(weights(one))
    with raises("non-finite", "step 1", "critic", "rows [3],"):
        update(one, dataclasses.replace(experience, returns=broken))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(one).items())


def test_failed_step_keeps_the_last_checkpoint_intact(folder, tmp_path, monkeypatch):
    one = trainer(folder, tmp_path)
    broken = one.updater.update

    def breaks_in_step_2(experience, *, step, seed, kl_coef):
        if step == 2:
            advantages = experience.advantages * float("inf")
            experience = dataclasses.replace(experience, advantages=advantages)
        return broken(experience, step=step, seed=seed, kl_coef=kl_coef)

    monkeypatch.setattr(one.updater, "update", breaks_in_step_2)
    with raises("non-finite", "step 2", "policy"):
        one.train()
    verify_checkpoint(tmp_path / "checkpoint-1")
    resumed = trainer(folder, tmp_path / "again", tmp_path / "checkpoint-1")
    assert all(tensor.isfinite().all() for tensor in weights(resumed).values())


def test_best_has_highest_held_out_score_within_the_bound(folder, tmp_path):
    """No bound: the step with the highest eval_score; a bound below every KL: the start alone."""
    options = {"eval_data": "unused", "eval_steps": 1, "learning_rate": 3e-3}
    result = trainer(folder, tmp_path / "a", **options).train()
    scores = {line["step"]: line["eval_score"] for line in read_metrics(tmp_path / "a")}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert result.progress.best_step == best
    assert result.progress.best_score == scores[best]
    assert (tmp_path / "a" / "best").is_dir() == (best > 0)
    if best > 0:
        verify_checkpoint(tmp_path / "a" / "best")
    bounded = trainer(folder, tmp_path / "b", best_kl=1e-4, **options).train()
    within = [line for line in read_metrics(tmp_path / "b") if line["eval_kl"] <= 1e-4]
    assert bounded.progress.best_score == max(line["eval_score"] for line in within)


FUSSY = """
def fussy(prompts, completions):
    if any("ball 7" in prompt for prompt in prompts):
        raise ValueError("no number 7")
    return [float(len(text)) for text in completions]
"""


def test_response_without_reward_is_skipped_and_counted(folder, tmp_path):
    """100 answers of 10 prompts: ball 7 takes ten of them, too many; one of 100 is skipped."""
    (tmp_path / "fussy.py").write_text(FUSSY)
    options = {
        "reward": [f"{tmp_path}/fussy.py:fussy"],
        "on_reward_error": "skip",
        "max_steps": 1,
        "num_generations": 1,
        "num_ppo_epochs": 1,
    }
    many = trainer(folder, tmp_path / "a", rollout_batch_size=100, **options)
    with raises("no-reward", "10 of 100", "number 7"):
        many.train()
    others = [row for row in ROWS if "ball 7" not in row.prompt]
    rows = [*others * 11, ROWS[7]]  # 100 rows: 99 others and one of ball 7
    rare = trainer(folder, tmp_path / "b", rollout_batch_size=100, rows=rows, **options)
    rare.train()
    (line,) = read_metrics(tmp_path / "b")
    assert line["rewards_skipped"] == 1
    assert math.isfinite(line["score"])


def test_held_out_rows_without_reward_are_dropped_on_both_sides(folder, tmp_path):
    (tmp_path / "fussy.py").write_text(FUSSY.replace("ball 7", "ball 1"))
    one = trainer(
        folder,
        tmp_path,
        reward=[f"{tmp_path}/fussy.py:fussy"],
        on_reward_error="skip",
        max_steps=1,
    )
    prompts = [row for row in ROWS if "ball 1" not in row.prompt]
    one.setup = dataclasses.replace(one.setup, prompts=prompts)
    result = one.train()
    for side in (result.before, result.after):
        assert side.rollouts.batch.row_ids.tolist() == [0, 2]
