"""The formulas on inputs that nobody chose: any lengths, any masks, NaN on padding."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.ops.advantages import dr_grpo, gae, grpo, rloo, without_spread
from rlhf.ops.kl import kl_k1, kl_k2, kl_k3
from rlhf.ops.masking import left_justified, length_mask, masked_mean, masked_sum
from rlhf.ops.whitening import masked_variance, whiten

calm = settings(max_examples=60, deadline=None)  # a machine may be busy
numbers = st.floats(-1e3, 1e3, width=32)
NAN = float("nan")


@st.composite
def rows(draw, *, names=1, at_least=0):
    """`names` float [B, R] tensors, NaN or infinite on padding, and their mask from lengths."""
    lengths = draw(st.lists(st.integers(at_least, 7), min_size=1, max_size=5))
    width = max(1, *lengths)
    mask = length_mask(torch.tensor(lengths), width)
    count = len(lengths) * width
    padding = draw(st.sampled_from([NAN, math.inf, -math.inf, 7.0]))
    tensors = [
        torch.tensor(draw(st.lists(numbers, min_size=count, max_size=count))).view(mask.shape)
        for _ in range(names)
    ]
    return *(torch.where(mask, tensor, padding) for tensor in tensors), mask


@calm
@given(rows())
def test_masked_sums_and_means_ignore_masked_values(case):
    values, mask = case
    chosen = values[mask].tolist()
    expected = math.fsum(chosen)
    scale = 1e-5 * (1 + math.fsum(map(abs, chosen)))
    assert abs(masked_sum(values, mask).item() - expected) <= scale
    assert abs(masked_mean(values, mask).item() - expected / max(1, len(chosen))) <= scale


@calm
@given(rows(at_least=1), st.floats(0.01, 100), st.floats(-100, 100))
def test_whitening_ignores_scale_and_shift(case, scale, shift):
    """Of a·x + b with a > 0 nothing but the order of sums is left, where x has any spread."""
    values, mask = case
    one = whiten(values, mask)
    assert torch.all(one[~mask] == 0)
    assert one.isfinite().all()
    if masked_variance(values, mask) > 1:
        assert abs(masked_mean(one, mask).item()) < 1e-3
        assert abs(masked_variance(one, mask).item() - 1) < 1e-3
        other = whiten(scale * values + shift, mask)
        # sqrt(var + 1e-8): at a scale of 0.01 the 1e-8 is 1e-4 of a variance of 1e-4.
        torch.testing.assert_close(other, one, atol=2e-2, rtol=0)


@calm
@given(rows(at_least=1))
def test_whitening_without_the_shift_keeps_the_mean(case):
    values, mask = case
    whitened = whiten(values, mask, shift_mean=False)
    difference = masked_mean(whitened, mask) - masked_mean(values, mask)
    assert abs(difference.item()) < 1e-2


def test_whitening_of_equal_values_gives_zeros():
    """Variance 0, or nearly: no noise is blown up to size 1."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    for value in (0.0, 0.1, -512.3, 999.9999):
        assert whiten(torch.full((2, 3), value), mask).abs().max() < 1e-6
    assert whiten(torch.full((1, 7), 999.9999), torch.ones(1, 7) > 0).abs().max() < 1e-6


def sum_of_deltas(rewards, values, gamma, lam):
    """Σ_k (gamma lam)^k delta_{t+k} in Python floats, for one row without padding."""
    after = [*values, 0.0][1:]
    deltas = [r + gamma * n - v for r, v, n in zip(rewards, values, after, strict=True)]
    return [
        sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:]))
        for t in range(len(deltas))
    ]


@calm
@given(rows(names=2), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_discounted_sum_of_deltas_with_any_padding(case, gamma, lam):
    rewards, values, mask = case
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    assert torch.all(advantages[~mask] == 0)
    assert torch.all(returns[~mask] == 0)
    for row, length in enumerate(mask.sum(1).tolist()):
        own = [tensor[row, :length].tolist() for tensor in (rewards, values)]
        expected = torch.tensor(sum_of_deltas(*own, gamma, lam)).reshape(length)
        torch.testing.assert_close(advantages[row, :length], expected, atol=0.05, rtol=1e-4)
        torch.testing.assert_close(
            returns[row, :length], advantages[row, :length] + values[row, :length]
        )


@calm
@given(rows(names=2, at_least=1))
def test_gae_with_gamma_and_lambda_one_is_reward_to_go_less_value(case):
    rewards, values, mask = case
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_go = torch.where(mask, rewards, 0.0).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns[mask], to_go[mask], atol=0.05, rtol=1e-4)
    torch.testing.assert_close(advantages[mask], (to_go - values)[mask], atol=0.05, rtol=1e-4)


groups = st.lists(st.tuples(st.integers(0, 3), numbers), min_size=1, max_size=12)


@calm
@given(groups)
def test_rloo_baseline_is_the_mean_of_the_others(pairs):
    """Against the definition, answer by answer; a group's advantages add up to nothing."""
    ids, scores = torch.tensor([i for i, _ in pairs]), torch.tensor([s for _, s in pairs])
    advantages = rloo(scores, ids)
    for index, (group, score) in enumerate(pairs):
        others = [s for at, (i, s) in enumerate(pairs) if i == group and at != index]
        expected = score - math.fsum(others) / len(others) if others else 0.0
        assert abs(advantages[index].item() - expected) < 1e-2
    for group in ids.unique():
        assert abs(advantages[ids == group].sum().item()) < 1e-1


@calm
@given(groups, st.randoms(use_true_random=False))
def test_groups_may_be_in_any_order(pairs, random):
    order = list(range(len(pairs)))
    random.shuffle(order)
    ids, scores = torch.tensor([i for i, _ in pairs]), torch.tensor([s for _, s in pairs])
    for estimator in (rloo, grpo, dr_grpo):
        shuffled = estimator(scores[order], ids[order])
        torch.testing.assert_close(shuffled, estimator(scores, ids)[order], atol=1e-2, rtol=1e-4)


@calm
@given(groups)
def test_grpo_is_bounded_and_zero_for_equal_scores(pairs):
    """Of K answers none is more than (K - 1) / √K deviations from their mean."""
    ids, scores = torch.tensor([i for i, _ in pairs]), torch.tensor([s for _, s in pairs])
    advantages = grpo(scores, ids)
    for group in ids.unique():
        own, spread = advantages[ids == group], scores[ids == group]
        count = len(own)
        assert own.abs().max() <= (count - 1) / math.sqrt(count) + 1e-3
        if torch.all(spread == spread[0]):
            assert own.abs().max() < 1e-3
        equal = bool(torch.all(spread == spread[0]))
        assert without_spread(scores, ids)[ids == group].tolist() == [equal] * count


logits = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=9)


@calm
@given(st.data())
def test_mean_of_kl_estimators_equals_enumerated_kl(data):
    """Over all tokens of any two distributions; k2 and k3 are nowhere negative."""
    policy_logits = data.draw(logits)
    size = len(policy_logits)
    ref_logits = data.draw(st.lists(st.floats(-8, 8, width=32), min_size=size, max_size=size))
    policy = torch.tensor(policy_logits, dtype=torch.float64).log_softmax(0)
    ref = torch.tensor(ref_logits, dtype=torch.float64).log_softmax(0)
    exact = torch.nn.functional.kl_div(ref, policy, log_target=True, reduction="sum")
    for estimator in (kl_k1, kl_k3):
        mean = (policy.exp() * estimator(policy, ref)).sum()
        torch.testing.assert_close(mean, exact, atol=1e-9, rtol=1e-9)
    assert torch.all(kl_k2(policy, ref) >= 0)
    assert torch.all(kl_k3(policy, ref) >= 0)
    torch.testing.assert_close(kl_k1(policy, ref), -kl_k1(ref, policy))


@calm
@given(st.floats(-1e-3, 1e-3))
def test_kl_of_small_differences_keeps_its_digits(difference):
    """k3 of a small k1 is k1²/2 - k1³/6; exp(x) - 1 would leave nothing of it in float32."""
    policy = torch.tensor([difference], dtype=torch.float32)
    k1 = policy.double().item()
    k3 = kl_k3(policy, torch.zeros(1)).item()
    assert abs(k3 - (k1**2 / 2 - k1**3 / 6)) <= 1e-3 * k1**2 + abs(k1) * 2e-7


@calm
@given(st.data())
def test_left_justified_rows_have_no_padding_inside(data):
    lengths = data.draw(
        st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=1, max_size=5)
    )
    prompts = [[10 * row + at + 1 for at in range(p)] for row, (p, _) in enumerate(lengths)]
    responses = [[900 + 10 * row + at for at in range(r)] for row, (_, r) in enumerate(lengths)]
    wide_p, wide_r = (max(1, *(pair[side] for pair in lengths)) for side in (0, 1))
    prompt_ids = torch.tensor([[-1] * (wide_p - len(p)) + p for p in prompts])
    response_ids = torch.tensor([r + [-2] * (wide_r - len(r)) for r in responses])
    prompt_mask, response_mask = prompt_ids > 0, response_ids > 0
    ids, at_rows, columns = left_justified(prompt_ids, prompt_mask, response_ids, response_mask)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        assert ids[row].tolist()[: len(prompt) + len(response)] == prompt + response
        assert torch.all(ids[row, len(prompt) + len(response) :] == 0)
    assert at_rows.tolist() == response_mask.nonzero()[:, 0].tolist()
    # the place that predicts a token stands right before it
    assert ids[at_rows, columns + 1].tolist() == response_ids[response_mask].tolist()
