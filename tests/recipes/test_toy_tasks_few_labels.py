"""The drawn worlds, the exact efficiency of rewards, and learners on stacked networks."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from recipes.seed_results import read_numbers
from recipes.toy_tasks import few_labels
from recipes.toy_tasks.drawn import bench as benches
from recipes.toy_tasks.drawn import linear, linear_experiments, pool, world
from recipes.toy_tasks.drawn.bench import make_bench, train_sft
from recipes.toy_tasks.drawn.experiments import Experiment, run
from recipes.toy_tasks.drawn.labels_by_policy import best_policy, two_of
from recipes.toy_tasks.drawn.network import (
    Rows,
    end_states,
    implicit_rewards,
    language_loss,
    new_networks,
    rewards,
    rows_of,
    states,
    summed_rewards,
)
from recipes.toy_tasks.drawn.training import (
    Training,
    chosen,
    ranking_losses,
    read_rewards,
    train_on_rankings,
)
from recipes.toy_tasks.exact.best import Reference, best_gold, gold_of_reference, tilted
from rlhf.ops.ranking import plackett_luce_loss, ranking_loss

END = world.END


def response(*symbols):
    """A response [LONGEST] of these symbols."""
    return [*symbols, *[END] * (world.LONGEST - len(symbols))]


def test_features_by_hand():
    """After the prompt 0 1 the response 1 0 1 has the neighbours 1-1, 1-0 and 0-1; its length 3 is
    2.5 below the middle of 3 and 8."""
    [x] = world.features(np.array([[0, 1]]), np.array([response(1, 0, 1)]))
    parts = dict(zip(world.SIZES, np.split(x, np.cumsum(list(world.SIZES.values()))), strict=False))
    assert parts["counts"].tolist() == [1, 2, 0, 0, 0, 0, 0, 0]
    order = parts["order"].reshape(8, 8)
    assert {(1, 1), (1, 0), (0, 1)} == set(zip(*np.nonzero(order), strict=True))
    assert order.sum() == 3
    assert np.nonzero(parts["together"])[0].tolist() == [0]  # the pair of 0 and 1
    assert np.nonzero(parts["prompt"])[0].tolist() == [0, 1]
    assert parts["length"].tolist() == [-2.5, 6.25]


def test_gold_of_new_responses_has_unit_variance_and_the_drawn_shares():
    drawn = world.world_of(3)
    rng = np.random.default_rng(0)
    prompts, responses = world.draw_candidates(drawn, 200, 100, rng)
    scores = world.gold(drawn, prompts.repeat(100, axis=0), responses.reshape(-1, 8))
    assert scores.reshape(200, 100).var(axis=1).mean() == pytest.approx(1.0, abs=0.1)
    x = world.features(prompts.repeat(100, axis=0), responses.reshape(-1, 8)).reshape(200, 100, -1)
    x = x - x.mean(axis=1, keepdims=True)
    variances = [
        (x[..., mask] @ drawn.weights[mask]).var()
        for mask in (part == world.PART_OF for part in range(5))
    ]
    # The parts are correlated, so their variances add up to 1 only in the ratios of the shares.
    np.testing.assert_allclose(variances / np.sum(variances), drawn.shares, atol=0.05)


def test_labels_have_bradley_terry_noise():
    """The better of two wins with probability σ(difference): the number of such labels differs from
    the sum of these by at most 4 standard deviations."""
    drawn = world.world_of(1)
    labels = world.draw_labels(drawn, 4000, choices=2, part=0)
    best, worst = (world.gold(drawn, labels.prompts, labels.responses[:, i]) for i in (0, 1))
    p = 1 / (1 + np.exp(-np.abs(best - worst)))
    assert abs((best > worst).sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    again = world.draw_labels(drawn, 4000, choices=2, part=0)
    np.testing.assert_array_equal(labels.responses, again.responses)


@pytest.fixture(scope="module")
def enumerated():
    """A chain of three symbols and four steps as a Reference, and its 81 responses as a Pool."""
    rng = np.random.default_rng(3)
    steps = rng.dirichlet(np.ones(3), size=(4, 3))
    gains = np.array([1.0, -0.5, 0.2])
    responses = np.array(list(itertools.product(range(3), repeat=4)))
    before = np.concatenate([np.zeros((3, 81, 1), int), np.tile(responses, (3, 1, 1))], axis=2)
    before[:, :, 0] = np.arange(3)[:, None]
    logprobs = np.zeros((3, 81))
    for t in range(4):
        logprobs += np.log(steps[t][before[:, :, t], before[:, :, t + 1]])
    reference = Reference(steps=steps, start=np.full(3, 1 / 3), gains=gains)
    whole = pool.Pool(
        prompts=np.arange(3)[:, None],
        responses=np.tile(responses, (3, 1, 1)),
        gold=np.tile(gains[responses].sum(axis=1), (3, 1)),
        logprobs=logprobs,
    )
    return reference, whole


def test_best_policy_of_a_whole_pool_is_that_of_the_recursion(enumerated):
    reference, whole = enumerated
    policy, kl = pool.tilt(whole, whole.gold, 0.5)
    assert ((policy * whole.gold).sum(axis=1).mean(), kl) == pytest.approx(tilted(reference, 0.5))
    assert pool.gold_at(whole, whole.gold, 0.3) == pytest.approx(best_gold(reference, 0.3))
    start = (np.exp(whole.logprobs) * whole.gold).sum(axis=1).mean()
    assert start == pytest.approx(gold_of_reference(reference))


def test_efficiency_by_value(enumerated):
    """Scale and offset of a reward do not matter; its negative loses what it could gain or more."""
    _, whole = enumerated
    assert pool.efficiency(whole, 5 * whole.gold - 2, 0.3) == pytest.approx(1.0)
    assert pool.efficiency(whole, -whole.gold, 0.3) < -0.5
    noise = np.random.default_rng(0).normal(size=whole.gold.shape)
    assert abs(pool.efficiency(whole, noise, 0.3)) < 0.5
    assert pool.efficiency(whole, 0 * whole.gold, 0.3) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("choices", [2, 3])
def test_derivatives_of_plackett_luce_by_finite_differences(choices):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(5, choices, 4)), rng.normal(size=4)
    gradient, hessian = linear.derivatives(x, weights)
    for i, step in enumerate(1e-5 * np.eye(4)):
        change = linear.loss_of(x, weights + step) - linear.loss_of(x, weights - step)
        assert gradient[i] == pytest.approx(5 * change / 2e-5, rel=1e-4, abs=1e-6)
        changes = (
            linear.derivatives(x, weights + step)[0] - linear.derivatives(x, weights - step)[0]
        )
        np.testing.assert_allclose(hessian[i], changes / 2e-5, rtol=1e-4, atol=1e-6)


def test_bayes_learner_comes_close_to_the_gold_and_more_labels_help():
    drawn = world.world_of(2)
    whole = pool.draw_pool(drawn, num_prompts=4, size=128)
    found = []
    for count in (50, 2000):
        model = linear.bayes(drawn, world.draw_labels(drawn, count, choices=2, part=0))
        found.append(pool.efficiency(whole, model.rewards(whole.prompts, whole.responses), 2.0))
    assert 0 < found[0] < found[1] < 1
    assert found[1] > 0.85


def test_chosen_pairs_differ_in_what_is_least_known():
    """Two features, of which the second has 100 times the variance: the pair that differs in it."""
    model = linear.Linear(
        features=lambda prompts, responses: responses[:, :2].astype(float),
        weights=np.zeros(2),
        covariance=np.diag([0.01, 1.0]),
    )
    responses = np.array([[[0, 0], [1, 0]], [[0, 0], [0, 1]], [[1, 1], [1, 1]]])
    assert linear.chosen_pairs(model, np.zeros((3, 2), int), responses, 1) == [1]


def test_two_of_a_policy_are_different_and_likely():
    responses = np.arange(4)[None, :, None].repeat(500, axis=0)
    policy = np.tile([0.49, 0.49, 0.02, 0.0], (500, 1))
    pairs = two_of(policy, responses, np.random.default_rng(0))[:, :, 0]
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert np.isin(pairs, (0, 1)).all(axis=1).mean() > 0.9
    best = best_policy(np.zeros((2, 2)), np.zeros((2, 16, 8)), np.eye(16)[:2] * 3)
    assert best[:, :2].diagonal().min() > 0.5


@pytest.mark.parametrize("loss_type", ["bradley_terry", "plackett_luce"])
def test_losses_of_rankings_are_those_of_the_package(loss_type):
    scores = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    ranks, groups = torch.tensor([1, 2, 3] * 2), torch.arange(2).repeat_interleave(3)
    if loss_type == "plackett_luce":
        expected = plackett_luce_loss(scores.flatten(), ranks, groups)
    else:
        expected = ranking_loss(scores.flatten(), ranks, groups, label_smoothing=0.1)
    keys = Training(loss_type=loss_type, label_smoothing=0.1)
    torch.testing.assert_close(ranking_losses(scores, keys), expected)


def test_stacked_networks_are_those_of_one():
    params = new_networks(3, seed=0)
    rows = rows_of(
        np.array([[[0, 1], [2, 3]]] * 3), np.array([[response(1, 0, 1), response(5, 6)]] * 3)
    )
    assert rows.ids[0, 0].tolist() == [0, 1, 9, 1, 0, 1, 8, 8, 8, 8, 8, 8]
    assert rows.ends[0].tolist() == [6, 5]
    whole = states(params, rows.ids)
    one = {name: weight[1:2] for name, weight in params.items()}
    torch.testing.assert_close(whole[1:2], states(one, rows.ids[1:2]))
    assert not torch.allclose(whole[0], whole[1])
    assert rewards(params, rows).tolist() == [[0.0, 0.0]] * 3  # the head is 0 at first
    at_end = torch.stack([whole[:, 0, 6], whole[:, 1, 5]], dim=1)
    torch.testing.assert_close(end_states(params, rows), at_end)


def test_rewards_of_tokens_and_of_log_probs_by_hand():
    """A head of ones sums the states of the response and of its end, tokens 3 to 6 of 12. The
    implicit reward is the difference of two language losses, times their 4 tokens and beta."""
    rows = rows_of(np.array([[[0, 1]]]), np.array([[response(1, 0, 1)]]))
    one, other = new_networks(1, seed=0), new_networks(1, seed=1)
    one["head"] = torch.ones_like(one["head"])
    expected = states(one, rows.ids)[0, 0, 3:7].sum()
    torch.testing.assert_close(summed_rewards(one, rows)[0, 0], expected)
    reward = implicit_rewards(other, beta=0.5)(one, rows)[0, 0]
    losses = language_loss(other, rows) - language_loss(one, rows)
    torch.testing.assert_close(reward, 0.5 * 4 * losses[0])


def test_a_network_does_not_depend_on_the_others():
    """The first of two networks learns the same whatever the second one reads, and learns."""
    drawn = world.world_of(0)
    sets = [world.draw_labels(drawn, 60, choices=2, part=part) for part in range(3)]

    def rows(*parts):
        prompts = np.stack([sets[part].prompts for part in parts])[:, :, None].repeat(2, axis=2)
        return rows_of(prompts, np.stack([sets[part].responses for part in parts]))

    keys = Training(epochs=2.0, responses_per_step=16)
    start = new_networks(2, seed=0)
    one, other = (
        train_on_rankings(start, rows(*p), rows(*p), keys, seed=3) for p in ((0, 1), (0, 2))
    )
    torch.testing.assert_close(one[-1].weights["head"][0], other[-1].weights["head"][0])
    assert not torch.equal(one[-1].weights["head"][1], other[-1].weights["head"][1])
    assert one[-1].loss[0] < np.log(2)
    assert start["head"].abs().max() == 0
    assert one[-1].epoch == 2.0
    assert len(one) == 4
    assert not torch.equal(one[-1].average["head"], one[-1].weights["head"])
    flat = Rows(ids=rows(0, 1).ids.flatten(1, 2), ends=rows(0, 1).ends.flatten(1, 2))
    scores = read_rewards(one[-1].weights, flat).view(2, 60, 2)
    losses = ranking_losses(scores, replace(keys, label_smoothing=0.0)).mean(dim=1)
    torch.testing.assert_close(losses, one[-1].loss)


def test_weights_are_chosen_by_network():
    snapshots = [{"a": torch.tensor([[0.0], [10.0]])}, {"a": torch.tensor([[1.0], [11.0]])}]
    assert chosen(snapshots, torch.tensor([1, 0]))["a"].tolist() == [[1.0], [10.0]]


@pytest.fixture(scope="module")
def bench():
    """Two worlds with small pools and SFT models that are hardly trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benches, "NUM_PROMPTS", 2)
        patch.setattr(benches, "POOL_SIZE", 64)
        yield make_bench([0, 1], train_sft([0, 1], count=128, epochs=1))


@pytest.mark.parametrize(
    "keys",
    [
        {"reads": "log-probs"},
        {"reads": "all states", "from_sft": False, "choices": 4},
        {"second_half": "active"},
        {"second_half": "on policy"},
    ],
)
def test_experiment_has_all_learners(bench, keys):
    training = Training(epochs=1.0, responses_per_step=24)
    experiment = Experiment(pairs=40, members=2, keys=training, epochs=(1,), **keys)
    found, metrics = run(experiment, bench)
    assert set(found) == {
        *("last", "best", "best average", "after 1 epochs", "last, weights averaged"),
        *("last, mean of 2", "last, mean minus deviation of 2"),
        *("best average, mean of 2", "best average, mean minus deviation of 2"),
    }
    np.testing.assert_array_equal(found["last"], found["after 1 epochs"])
    assert all(values.shape == (2, 2, 64) for values in found.values())
    lowest, last = metrics["held-out loss"], metrics["held-out loss, last"]
    assert lowest.shape == (2,)
    assert (lowest > 0).all()
    assert (lowest <= last).all()
    assert (last < 1).all()


def test_linear_learners_in_rounds_and_on_sft_features(bench):
    drawn = bench.worlds[0]
    for draw in (linear_experiments.active_labels, linear_experiments.on_policy_labels):
        labels = draw(drawn, 50)
        assert labels.responses.shape == (50, 2, 8)
    found = {name: values for name, _, _, values in linear_experiments.at(bench, 100, 2)}
    assert set(found) == {"Bayes", "right features", "neighbours", "SFT features"}
    assert found["SFT features"].std() > 0
    assert not np.array_equal(found["neighbours"], found["right features"])


def test_finished_experiments_are_not_run_again(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        few_labels.EXPERIMENTS, "base", Experiment(pairs=20, keys=Training(epochs=1.0))
    )
    results = tmp_path / few_labels.RESULTS
    few_labels.run_one("base", bench, results)
    worlds = read_numbers(results)
    assert list(worlds) == [0, 1]
    assert few_labels.missing_worlds(results, "base", [0, 1, 2]) == [2]
    assert few_labels.missing_worlds(results, "13 epochs", [0, 1]) == [0, 1]
    table = few_labels.as_table(worlds, [0, 1]).splitlines()
    assert [row.split(" | ")[1] for row in table[2:]] == ["last", "best", "best average"]
    metric = "base | best | 20 pairs | rankings of 2: 2 nats"
    values = [metrics[metric] for metrics in worlds.values()]
    assert f"| {np.mean(values):.3f} |" in table[3]  # the median of two is their mean
    assert "base | held-out loss" in worlds[0]
    assert "base: " in capsys.readouterr().out
