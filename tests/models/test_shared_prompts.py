"""Packed rows share one copy of what they have in common, and nothing else changes."""

import pytest
import torch

from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.forward import policy_logprobs, response_logprobs
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy
from rlhf.models.microbatches import microbatches
from rlhf.models.packed_rows import common_beginnings
from rlhf.models.sequences import (
    SharedPrompts,
    as_sequences,
    find_shared_beginnings,
    find_shared_prompts,
)
from tests.tiny_models import FAMILIES, make_model

# Three responses to the first prompt, two to the second, one to a third.
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [5, 6]]
BATCH_OF_ROWS = prompt_batch(
    [PROMPTS[0], PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1], PROMPTS[2]],
    [""] * 6,
    prompt_indices=range(6),
    num_responses=1,
    pad_token_id=0,
    device=torch.device("cpu"),
)
RESPONSES = torch.tensor(
    [[20, 21, 22], [20, 21, 26], [23, 0, 0], [24, 25, 0], [27, 28, 29], [30, 31, 0]]
)
MASK = RESPONSES > 0
PARTS = (BATCH_OF_ROWS.input_ids, BATCH_OF_ROWS.attention_mask, RESPONSES, MASK)


def test_common_beginnings_are_stored_once():
    """6 + 3 + 1 + 1 tokens, 3 + 2 + 3 and 2 + 2: 23 in all, where the rows have 40.

    The second response begins like the first one, and the third prompt like the first, which is not
    the row above.
    """
    packed = as_sequences(*PARTS, packed=True)
    assert packed.ids.shape == (1, 32)
    assert packed.ids[0, :23].tolist() == [
        *(5, 6, 7, 8, 9, 10, 20, 21, 22),
        26,
        23,
        *(11, 12, 13, 24, 25),
        *(27, 28, 29),
        *(5, 6, 30, 31),
    ]
    assert packed.position_ids[0, :23].tolist() == [
        *range(9),
        8,
        6,
        *range(5),
        *(3, 4, 5),
        *range(4),
    ]
    assert packed.cells[0, 0, 1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, *[-1] * 7]
    assert packed.cells[0, 0, 2].tolist() == [0, 1, 2, 3, 4, 5, 10, *[-1] * 9]
    # The first token of each response is predicted at the end of its prompt.
    assert packed.columns[:7].tolist() == [5, 6, 7, 5, 6, 7, 5]


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_logprobs_and_gradients_equal_those_of_whole_rows(family, bf16, tmp_path):
    """Weights times 8: attention then moves the log-probs of these small models by whole nats."""
    model = load_policy(make_model(tmp_path / family, family))
    use_fast_cpu_attention(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    results = []
    for packed in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logprobs = policy_logprobs(model, as_sequences(*PARTS, packed=packed), temperature=0.7)
        (logprobs * torch.linspace(-1, 1, logprobs.numel()).view_as(logprobs)).sum().backward()
        gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((logprobs.detach(), torch.cat(gradient)))
    (apart, gradient), (shared, other) = results
    tolerance = 2**-5 if bf16 else 1e-5
    torch.testing.assert_close(shared, apart, atol=tolerance, rtol=tolerance)
    assert (other - gradient).norm() < tolerance * gradient.norm()


def test_scores_of_shared_prompts_equal_those_of_whole_rows(tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    apart, shared = (
        response_logprobs(
            model, BATCH_OF_ROWS, RESPONSES, MASK, temperature=1.0, max_tokens=20, packed=packed
        )
        for packed in (False, True)
    )
    torch.testing.assert_close(shared, apart, atol=1e-5, rtol=0)


def test_microbatches_count_a_shared_prompt_once():
    """Rows of 9, 9, 7, 5, 6 and 4 tokens. The first prompt's rows 0, 1 and 2 have 6 + 3 + 3 + 1 =
    13 tokens, the second's 4 and 3 have 3 + 3 + 2 = 8, and row 5 has 4: 25 in all. In two groups
    the larger one has at least 13; in three the first prompt is held twice."""
    shared = find_shared_prompts(BATCH_OF_ROWS.input_ids, BATCH_OF_ROWS.attention_mask)
    assert shared is not None
    lengths = BATCH_OF_ROWS.attention_mask.sum(1) + MASK.sum(1)
    expected = {25: [[0, 1, 2, 4, 3, 5]], 24: [[0, 1, 2], [4, 3, 5]], 12: [[0, 1], [2], [4, 3, 5]]}
    for limit, groups in expected.items():
        assert [group.tolist() for group in microbatches(lengths, limit, shared)] == groups


@pytest.mark.parametrize(
    ("prompt", "response", "groups"),
    [
        # Apart 6 * 12 = 72 tokens; of 16, 24 or 32 tokens, 2 * (10 + 3 * 2) = 32.
        (10, 2, [[0, 1, 2], [3, 4, 5]]),
        # Apart 6 * 7 = 42 tokens; of 32, 2 * (1 + 3 * 6) = 38: a tenth is 4.2, and 4 are too few.
        (1, 6, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_microbatches_grow_where_a_shared_prompt_is_long(prompt, response, groups):
    shared = SharedPrompts(torch.tensor([0, 0, 0, 3, 3, 3]), torch.full((6,), prompt))
    lengths = torch.full((6,), prompt + response)
    grown = microbatches(lengths, 8, shared, grows=True)
    assert [group.tolist() for group in grown] == groups
    assert len(microbatches(lengths, 8, shared)) == 6
    assert len(microbatches(lengths, 8, grows=True)) == 6  # rows that share nothing


def test_prompts_that_differ_share_nothing():
    """The second prompt is the end of the first; the padding of one is a token of the other."""
    prompts = torch.tensor([[0, 6, 7], [0, 6, 7], [1, 6, 7]])
    mask = torch.tensor([[True, True, True], [False, True, True], [True, True, True]])
    assert find_shared_prompts(prompts, mask) is None


def test_neighbours_with_half_of_their_tokens_in_common_are_a_group():
    """Row 1 shares 3 of its 4 tokens with row 0, row 2 only 1 of 4, and row 3 all but its last."""
    rows = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 9, 0], [1, 7, 8, 9, 0], [1, 7, 8, 9, 0]])
    lengths = torch.tensor([5, 4, 4, 4])
    assert common_beginnings(rows, lengths).tolist() == [0, 3, 1, 3]
    shared = find_shared_beginnings(rows, lengths)
    assert shared.first_rows.tolist() == [0, 0, 2, 2]
    assert shared.lengths.tolist() == [3, 3, 3, 3]
