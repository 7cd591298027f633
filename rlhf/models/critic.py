"""The value function: a decoder without its output layer, and one linear head with a bias."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.models.load import load_policy, load_reward_model, reward_head
from rlhf.models.protocols import CausalLM
from rlhf.models.sequences import Sequences


class Critic(nn.Module):
    """V of the prefix before each response token."""

    def __init__(self, trunk: PreTrainedModel, head: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, sequences: Sequences) -> Tensor:
        """Values, float32 [B, R], 0 on padding."""
        hidden = self.trunk(**sequences.inputs, use_cache=False).last_hidden_state
        return values_of_states(self.head, sequences.at_responses(hidden), sequences)


def values_of_states(head: nn.Linear, states: Tensor, sequences: Sequences) -> Tensor:
    """Values, float32 [B, R], of the hidden states [N, D] that predict the response tokens."""
    # The returns are fitted in fp32: bfloat16 has no number between 2.00 and 2.02.
    with torch.autocast(states.device.type, enabled=False):
        values = head(states.float())
    return sequences.as_columns(values[:, 0])


def critic_from_reward_model(path: str | Path, *, scale: float, shift: float) -> Critic:
    """A critic that starts as scale * (raw logit - shift).

    With the reward's weight and normalisation (scale = weight / std, shift = mean) its initial
    value of a whole response is the response's score.
    """
    model = load_reward_model(path)
    score = reward_head(model)
    head = nn.Linear(score.in_features, 1)
    with torch.no_grad():
        head.weight.copy_(scale * score.weight)
        bias = score.bias if score.bias is not None else torch.zeros(1)
        head.bias.copy_(scale * (bias - shift))
    return Critic(_trunk(model), head)


def fresh_critic(path: str | Path, *, seed: int) -> Critic:
    """A critic on the policy's own trunk; head with std 1/√(D+1) and bias 0.

    It is the same on every process: the head has its own random generator.
    """
    model = load_policy(path)
    return Critic(_trunk(model), fresh_head(model, seed=seed))


def fresh_head(model: CausalLM, *, seed: int) -> nn.Linear:
    """A value head for the language model's hidden states: std 1/√(D+1), bias 0."""
    # Not its `in_features`, which peft gives the vocabulary's size if it trains tied embeddings.
    head = nn.Linear(model.get_output_embeddings().weight.shape[1], 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
        head.bias.zero_()
    return head


def _trunk(model: PreTrainedModel) -> PreTrainedModel:
    """The decoder without its output layer or head."""
    trunk = model.base_model
    assert isinstance(trunk, PreTrainedModel)
    return trunk
