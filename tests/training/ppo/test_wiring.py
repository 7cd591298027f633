"""Keys and warnings reach the run that they are for: each by what the run then does."""

import dataclasses

import pytest
import torch

from rlhf.rollouts.native import NativeEngine
from rlhf.runtime.run_folder import checkpoints
from rlhf.training.common.metrics import read_metrics
from rlhf.training.ppo.loss import policy_terms
from tests.training.ppo.tiny_ppo import experience_of, make_folder, trainer, update

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("wiring"))


def test_run_prints_its_warnings(folder, tmp_path, capsys):
    """No response of six tokens ends by itself; the update reads them at another temperature."""
    one = trainer(folder, tmp_path, max_steps=2)
    one.models.policy_module.temperature = 0.5
    one.train()
    output = capsys.readouterr().out
    assert output.count("warning: step 1: responses have 6 tokens and 6 is the limit") == 1
    assert output.count("warning: step 1: the iteration starts with a mean ratio of") == 1


def test_checkpoints_follow_save_steps_and_limit(folder, tmp_path):
    """Of 7 iterations 2, 4 and 6; the last two are kept."""
    trainer(
        folder, tmp_path, max_steps=7, save_steps=2, save_total_limit=2, num_ppo_epochs=1
    ).train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-6"]


def test_constant_learning_rate(folder, tmp_path):
    trainer(folder, tmp_path, lr_scheduler_type="constant").train()
    assert [line["learning_rate"] for line in read_metrics(tmp_path)] == [1e-3] * 3


def test_kl_budget_bounds_best_by_default(folder, tmp_path):
    """A policy that has moved is above a budget of next to nothing, however good its score."""
    options = {"eval_data": "unused", "learning_rate": 1e-2}
    one = trainer(folder, tmp_path, kl_budget=1e-9, **options)
    one.progress = dataclasses.replace(one.progress, step=1, best_score=-1.0)
    update(one, experience_of(one))
    assert one.evaluate_held_out(0.0)["eval_kl"] > 1e-9
    assert one.progress.best_score == -1.0
    assert not (tmp_path / "best").exists()
    one.config = dataclasses.replace(one.config, kl_budget=1e9)
    assert one.evaluate_held_out(0.0)["eval_score"] == one.progress.best_score
    assert (tmp_path / "best").is_dir()


def test_importance_weights_are_ratios_up_to_the_cap(folder, tmp_path, monkeypatch):
    """A sampler whose log-probs are off by -0.5 and 0.5 in turn: e^0.5 = 1.65 is cut to 1.5."""

    def another_sampler(*arguments):
        generated = generate(*arguments)
        odd = torch.arange(generated.logprobs.shape[1]) % 2 == 1
        return dataclasses.replace(
            generated, logprobs=generated.logprobs + torch.where(odd, 0.5, -0.5)
        )

    generate = NativeEngine.generate
    monkeypatch.setattr(NativeEngine, "generate", another_sampler)
    rollouts = experience_of(trainer(folder, tmp_path, importance_weight_cap=1.5)).rollouts
    for column, weight in enumerate([1.5, 0.606531] * 3):
        weights = rollouts.importance_weights[:, column][rollouts.response_mask[:, column]]
        torch.testing.assert_close(weights, torch.full_like(weights, weight), atol=1e-4, rtol=0)


def test_importance_weights_multiply_the_token_loss(folder, tmp_path):
    one = trainer(folder, tmp_path)
    experience, rows = experience_of(one), torch.arange(8)
    new = experience.rollouts.logprobs
    weights = torch.where(torch.arange(8)[:, None] < 4, 3.0, 1.0).expand_as(new)
    weighed = dataclasses.replace(
        experience, rollouts=dataclasses.replace(experience.rollouts, importance_weights=weights)
    )
    loss, _ = policy_terms(weighed.select(rows), new, one.config, kl_coef=0.0)
    halves = [
        policy_terms(experience.select(half), new[half], one.config, kl_coef=0.0)[0]
        for half in rows.split(4)
    ]
    torch.testing.assert_close(loss, 3 * halves[0] + halves[1])
    assert abs(halves[0].item()) > 0.1
