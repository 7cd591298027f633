import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.models.cpu_kernels.attention import reads_packed_rows, use_fast_cpu_attention
from rlhf.models.critic import Critic, critic_from_reward_model, fresh_critic
from rlhf.models.forward import policy_logprobs, response_logprobs, score_rows
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy, new_reward_model
from rlhf.models.microbatches import microbatches
from rlhf.models.sequences import as_sequences
from tests.tiny_models import FAMILIES, make_model

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14], [8, 8]]
RESPONSES = torch.tensor([[20, 21, 0], [22, 23, 24], [25, 0, 0]])
MASK = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
BATCH = prompt_batch(
    PROMPTS,
    ["", "", ""],
    prompt_indices=[0, 1, 2],
    num_responses=1,
    pad_token_id=0,
    device=torch.device("cpu"),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_equal_those_of_each_row_alone(family, tmp_path):
    """Whatever stands beside a row, and however much padding: below 1e-5 apart."""
    model = load_policy(make_model(tmp_path / family, family))
    logprobs = response_logprobs(model, BATCH, RESPONSES, MASK, temperature=0.7)
    for row, prompt in enumerate(PROMPTS):
        response = RESPONSES[row][MASK[row]]
        logits = model(torch.cat([torch.tensor(prompt), response])[None]).logits[0]
        all_logprobs = (logits[len(prompt) - 1 : -1] / 0.7).log_softmax(-1)
        expected = all_logprobs.gather(-1, response[:, None])[:, 0]
        torch.testing.assert_close(logprobs[row][MASK[row]], expected, atol=1e-5, rtol=0)
    assert torch.all(logprobs[~MASK] == 0)


def test_microbatches_do_not_change_values(tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    whole = response_logprobs(model, BATCH, RESPONSES, MASK, temperature=1.0)
    split = response_logprobs(model, BATCH, RESPONSES, MASK, temperature=1.0, max_tokens=1)
    torch.testing.assert_close(whole, split, atol=1e-5, rtol=0)


def test_microbatches_have_similar_lengths_within_budget():
    """Longest first, at most 20: 9 8 | 7 3 | 2 1 are three groups of 18, 14 and 4 with padding.

    No two groups are possible, and three of at most 16: 9 | 8 7 | 3 2 1.
    """
    groups = microbatches(torch.tensor([3, 9, 1, 8, 2, 7]), 20)
    assert [group.tolist() for group in groups] == [[1], [3, 5], [0, 4, 2]]
    assert [g.tolist() for g in microbatches(torch.tensor([50, 60]), 20)] == [[1], [0]]


def sequences(*, packed=False):
    return as_sequences(BATCH.input_ids, BATCH.attention_mask, RESPONSES, MASK, packed=packed)


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_packed_logprobs_and_gradients_equal_unpacked(family, bf16, tmp_path):
    """Weights times 8: attention then moves the log-probs of these small models by whole nats."""
    model = load_policy(make_model(tmp_path / family, family))
    use_fast_cpu_attention(model)
    assert reads_packed_rows(model.modules())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    results = []
    for packed in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logprobs = policy_logprobs(model, sequences(packed=packed), temperature=0.7)
        logprobs.sum().backward()
        gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((logprobs.detach(), torch.cat(gradient)))
    (apart, gradient), (packed, other) = results
    tolerance = 2**-6 if bf16 else 1e-5  # a few roundings to bf16's 8 bits, relative
    torch.testing.assert_close(packed, apart, atol=tolerance, rtol=tolerance)
    assert (other - gradient).norm() < tolerance * gradient.norm()


def test_packed_rows_do_not_see_each_other(tmp_path):
    """Other tokens in the first two rows, which stand before the third: it stays the same."""
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    ids = BATCH.input_ids.clone()
    ids[:2] = ids[:2].flip(1).where(BATCH.attention_mask[:2].flip(1), 30)
    logprobs = [
        policy_logprobs(
            model,
            as_sequences(prompts, BATCH.attention_mask, RESPONSES, MASK, packed=True),
            temperature=1.0,
        )
        for prompts in (BATCH.input_ids, ids)
    ]
    assert torch.equal(logprobs[0][2], logprobs[1][2])
    assert not torch.isclose(logprobs[0][1], logprobs[1][1]).any()


def test_packing_may_fit_into_the_width_of_the_longest_row(tmp_path):
    """25 + 2 and 2 + 2 tokens: 27 are rounded up to 32, and so are the 31 of both together."""
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    prompts = torch.zeros(2, 25, dtype=torch.long)
    prompts[0], prompts[1, -2:] = torch.arange(5, 30), torch.tensor([31, 32])
    parts = (prompts, prompts > 0, torch.tensor([[33, 34], [35, 36]]), torch.ones(2, 2).bool())
    logprobs = []
    for packed in (False, True):
        laid_out = as_sequences(*parts, packed=packed)
        assert laid_out.ids.shape == ((1, 32) if packed else (2, 32))
        logprobs.append(policy_logprobs(model, laid_out, temperature=1.0))
    torch.testing.assert_close(logprobs[1], logprobs[0], atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=6))
def test_rows_of_any_lengths_can_be_packed(packing_model, lengths):
    """Of a prompt and a response token each, or more."""
    longest, most = (max(column) for column in zip(*lengths, strict=True))
    prompt_mask = torch.tensor(
        [[column >= longest - p for column in range(longest)] for p, _ in lengths]
    )
    mask = torch.tensor([[column < r for column in range(most)] for _, r in lengths])
    prompts = torch.arange(prompt_mask.numel()).view_as(prompt_mask) % 90 + 5
    responses = torch.arange(mask.numel()).view_as(mask) % 80 + 7
    apart, packed = (
        policy_logprobs(
            packing_model,
            as_sequences(prompts, prompt_mask, responses, mask, packed=packed),
            temperature=1.0,
        )
        for packed in (False, True)
    )
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def packing_model(tmp_path_factory):
    """A model that reads packed rows."""
    model = load_policy(make_model(tmp_path_factory.mktemp("packing") / "llama"))
    use_fast_cpu_attention(model)
    return model


def test_packed_rows_are_as_long_as_all_tokens():
    """3 + 2, 6 + 3 and 2 + 1 tokens are 17, in one row of 32; the places of the tokens before
    each response token follow each other within a row."""
    packed = sequences(packed=True)
    assert packed.ids.shape == (1, 32)
    assert packed.ids[0, :17].tolist() == [
        *(5, 6, 7, 20, 21),
        *(9, 10, 11, 12, 13, 14, 22, 23, 24),
        *(8, 8, 25),
    ]
    assert packed.position_ids[0, :17].tolist() == [*range(5), *range(9), *range(3)]
    assert packed.columns[:6].tolist() == [2, 3, 10, 11, 12, 15]
    assert (packed.cells >= 0).sum(-1).tolist() == [[[5, 9, 3]]]


@pytest.mark.parametrize(("shortest", "packs"), [(8, False), (5, False), (4, True)])
def test_rows_with_little_padding_are_not_packed(shortest, packs):
    """Four rows of 8 columns, one of them shorter: 0, 3 or 4 of 32 places are padding."""
    prompt_mask = torch.ones(4, 6).bool()
    prompt_mask[0, : 8 - shortest] = False
    ids = torch.arange(1, 25).view(4, 6)
    responses, mask = torch.ones(4, 2).long(), torch.ones(4, 2).bool()
    laid_out = as_sequences(ids, prompt_mask, responses, mask, packed=True)
    assert (laid_out.cells is not None) is packs


def test_windows_states_and_other_attention_are_not_packed(tmp_path):
    plain = load_policy(make_model(tmp_path / "llama"))
    assert not reads_packed_rows(plain.modules())  # transformers' own attention
    mistral = load_policy(make_model(tmp_path / "mistral", "mistral"))
    use_fast_cpu_attention(mistral)
    assert not reads_packed_rows(mistral.modules())
    use_fast_cpu_attention(plain)
    assert reads_packed_rows(plain.modules())
    plain._is_stateful = True  # what transformers calls models that carry a state along
    assert not reads_packed_rows(plain.modules())


def test_critic_starts_as_normalised_reward_model(tmp_path):
    """Its value before a token is (logit of the prefix - mean) / std, at that very place."""
    model = new_reward_model(make_model(tmp_path / "llama"), seed=1)
    model.save_pretrained(tmp_path / "reward")
    critic = critic_from_reward_model(tmp_path / "reward", scale=1 / 0.5, shift=0.25)
    values = score_rows(critic, BATCH, RESPONSES, MASK, max_tokens=1000)
    prefix = torch.tensor([PROMPTS[1] + RESPONSES[1, :2].tolist()])
    hidden = model.base_model(prefix).last_hidden_state[0, -1]
    raw = model.score(hidden).item()
    assert values[1, 2].item() == pytest.approx((raw - 0.25) / 0.5, abs=1e-5)
    assert values[2, 1].item() == 0.0


def test_fresh_critic_head_is_small_and_reproducible(tmp_path):
    """std 1/√(D+1) = 0.174 for D = 32."""
    folder = make_model(tmp_path / "llama")
    critic, again = fresh_critic(folder, seed=3), fresh_critic(folder, seed=3)
    assert critic.head.bias.item() == 0
    assert 0.12 < critic.head.weight.std().item() < 0.23
    assert torch.equal(critic.head.weight, again.head.weight)
    assert isinstance(critic, Critic)


def test_padding_does_not_change_gradients(tmp_path):
    critic = fresh_critic(make_model(tmp_path / "llama"), seed=0)
    critic(sequences()).sum().backward()
    together = critic.head.weight.grad.clone()
    critic.head.weight.grad = None
    for row in range(3):
        one = slice(row, row + 1)
        wide = (
            torch.nn.functional.pad(RESPONSES[one], (0, 4)),
            torch.nn.functional.pad(MASK[one], (0, 4)),
        )
        critic(
            as_sequences(BATCH.input_ids[one], BATCH.attention_mask[one], *wide)
        ).sum().backward()
    torch.testing.assert_close(critic.head.weight.grad, together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_only_tokens_that_the_model_wrote_are_predicted(tmp_path, packed):
    """The others are read all the same: later tokens have the log-probs that follow them."""
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    actions = MASK & torch.tensor([[True, False, False], [True, False, True], [True, True, True]])
    whole = response_logprobs(model, BATCH, RESPONSES, MASK, temperature=1.0)
    written = response_logprobs(
        model, BATCH, RESPONSES, MASK, temperature=1.0, action_mask=actions, packed=packed
    )
    torch.testing.assert_close(written, torch.where(actions, whole, 0.0), atol=1e-5, rtol=0)
    columns = as_sequences(
        BATCH.input_ids, BATCH.attention_mask, RESPONSES, MASK, action_mask=actions, packed=packed
    )
    assert columns.tokens[: int(actions.sum())].tolist() == RESPONSES[actions].tolist()
