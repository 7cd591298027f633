"""Penalties and biases of logits, by value."""

import torch

from rlhf.chat.logit_changes import LogitChanges
from rlhf.chat.sampling import Sampling

LOGITS = torch.tensor([2.0, -1.0, 0.5, 4.0])


def changes(prompt=(), generated=(), bias=None, **penalties) -> torch.Tensor:
    """LOGITS with these changes, after these tokens."""
    made = LogitChanges(Sampling(**penalties), prompt, bias or {}, None)
    for token in generated:
        made.add(token, last=False)
    return made.apply(LOGITS)


def test_repetition_penalty_counts_prompt_and_response_once():
    """2 / 2 and -1 * 2 for the prompt's tokens, 4 / 2 for the generated one."""
    result = changes(prompt=[0, 1, 0], generated=[3, 3], repetition_penalty=2.0)
    torch.testing.assert_close(result, torch.tensor([1.0, -2.0, 0.5, 2.0]))


def test_frequency_and_presence_count_the_response_alone():
    """Token 3 twice: 4 - 2 * 0.5 - 0.25; token 1 once: -1 - 0.5 - 0.25."""
    result = changes(
        prompt=[0, 0], generated=[3, 1, 3], frequency_penalty=0.5, presence_penalty=0.25
    )
    torch.testing.assert_close(result, torch.tensor([2.0, -1.75, 0.5, 2.75]))
    torch.testing.assert_close(changes(prompt=[0], frequency_penalty=0.5), LOGITS)


def test_bias_is_added_and_the_logits_are_not_changed_in_place():
    before = LOGITS.clone()
    torch.testing.assert_close(
        changes(bias={1: 3.0, 3: -100.0}), torch.tensor([2.0, 2.0, 0.5, -96.0])
    )
    torch.testing.assert_close(LOGITS, before)


def test_nothing_to_change_is_known():
    assert not LogitChanges(Sampling(temperature=0.5), [1], {}, None).any
    assert LogitChanges(Sampling(presence_penalty=-0.5), [1], {}, None).any
