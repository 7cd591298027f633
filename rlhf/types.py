"""What flows from stage to stage. Frozen; a stage returns a new type instead of filling a hole.

Letters in shapes: B responses (rows) of a batch, P prompt tokens, R response tokens,
T = P + R, V vocabulary, K answers to one prompt. Column t of every [B, R] tensor speaks of
response token t, EOS included. Masks are bool, True = keep, and are made from lengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Message = dict[str, Any]
"""One turn: {"role": "system" | "user" | "assistant" | "tool" | "developer", "content": text}.

An assistant's may have `reasoning_content` (its thought), `tool_calls` and `weight` (0: not
trained on), a tool's `name` and `tool_call_id`.
"""

Prompt = str | list[Message]
"""A string (one user message, unless chat_template is none) or a conversation."""

Tools = Sequence[Mapping[str, Any]]
"""JSON schemas of functions that the model may call, as `apply_chat_template` takes them."""


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """A prompt to answer, with the other columns of its row (a reward function may want them)."""

    prompt: Prompt
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tools(self) -> Tools:
        """The functions that the prompt offers."""
        return self.columns.get("tools") or ()


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A prompt and the response to imitate."""

    prompt: Prompt
    completion: str
    fields: Mapping[str, Any] = field(default_factory=dict)  # more of its turn: reasoning_content
    tools: Tools = ()
    every_turn: bool = False  # whether the prompt's assistant turns are imitated too

    @property
    def turn(self) -> Message:
        """The response as a message."""
        return {"role": "assistant", "content": self.completion, **self.fields}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """K answers to one prompt and one person's order of them. A pair is K = 2."""

    prompt: Prompt
    responses: Sequence[str]
    ranks: Sequence[int]  # one per response; 1 is best, equal ranks tie
    annotator: str = ""  # "" where nobody is named
    strength: float = 1.0  # how clear the preference was; 1.0 where it was not asked
    tools: Tools = ()
    implicit_prompt: bool = False  # whether the prompt was repeated before both responses


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Left-padded prompts, ready to generate from."""

    input_ids: Tensor  # long [B, P]
    attention_mask: Tensor  # bool [B, P]
    prompts: Sequence[Prompt]  # B
    group_ids: Tensor  # long [B], equal for answers to one prompt
    row_ids: Tensor  # long [B], global row of this iteration: keys the sampling noise
    columns: Sequence[Mapping[str, Any]]  # B, the other columns of each row


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Answers sampled from the policy, right-padded."""

    batch: PromptBatch
    response_ids: Tensor  # long [B, R]
    response_mask: Tensor  # bool [B, R]
    logprobs: Tensor  # float [B, R], of the sampling policy; 0 on padding
    weights: Tensor  # float [B, R], of each token's loss; 1 unless importance_weight_cap is set
    entropies: Tensor  # float [B, R], nats of the distribution sampled from; 0 on padding
    ended_with_eos: Tensor  # bool [B]
    thought_lengths: Tensor  # long [B], tokens of the thought before a response; 0 without one
    texts: Sequence[str]  # B, special tokens left out; a thought first, as <think>…</think>


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One number an answer, and what it was made of."""

    scores: Tensor  # float [B]
    breakdown: Mapping[str, Tensor]  # source -> float [B], before its weight
    failures: Sequence[str]  # B, why an answer has no score (it is NaN); "" where it has one


@dataclass(frozen=True, kw_only=True)
class ScoredRollouts:
    """The rollouts under the frozen reference and the critic, before any update."""

    rollouts: Rollouts
    scores: Scores
    ref_logprobs: Tensor  # float [B, R]
    values: Tensor  # float [B, R]; 0 where there is no critic


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What the update learns from."""

    rollouts: Rollouts
    ref_logprobs: Tensor  # float [B, R]
    values: Tensor  # float [B, R]
    rewards: Tensor  # float [B, R], per-token KL penalty and the score on the last token
    advantages: Tensor  # float [B, R], over all ranks; gae's are whitened
    returns: Tensor  # float [B, R], from advantages that were not whitened; 0 without a critic
    kl_loss_coef: float  # of the KL penalty in the loss; 0 where it stands in the rewards
