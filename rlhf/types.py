"""What flows from stage to stage: frozen dataclasses; each stage returns a new type.

Letters in shapes: B responses (rows) of a batch, N rows of a minibatch, P prompt tokens, R response
tokens, T = P + R, V vocabulary, K responses to one prompt. Column t of every [B, R] tensor is about
response token t, EOS included. Masks are bool, True = keep, and are made from lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, cast

if TYPE_CHECKING:  # torch takes a second to import, and rows of data do not need it
    from torch import Tensor

JSON = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
"""A value of a JSON file."""

JSONObject = Mapping[str, JSON]
"""An object of a JSON file, by its keys."""


# Choices of formulas in `rlhf.ops`. They are here because keys of configurations name them, and
# `rlhf.ops` imports torch.
KLEstimator = Literal["k1", "k2", "k3"]
LossType = Literal["token-mean", "sequence-mean", "dr_grpo", "dapo"]
ImportanceLevel = Literal["token", "sequence"]
ImportanceCorrection = Literal["truncate", "mask"]

Ending = Literal["stop", "length", "stopped"]
"""What ended a response: the model, its maximum length, or a person. The last two cut it off."""


class MessageFields(TypedDict, total=False):
    """Fields that a message may have in addition to its role and content."""

    reasoning_content: str  # an assistant's thought
    tool_calls: Sequence[Mapping[str, object]]  # of an assistant
    weight: int  # of an assistant's turn; 0: not trained on
    cut: bool  # of an assistant's turn; True: the text was cut off, its end is not trained on
    name: str  # of a tool
    tool_call_id: str  # of a tool


class Message(MessageFields):
    """One turn of a conversation."""

    role: str  # system, user, assistant, tool or developer
    content: str


Ties = Literal["out", "half", "rao_kupper"]
"""How a loss on rankings counts ties; see `rlhf.ops.ranking_loss`."""

Prompt = str | list[Message]
"""A string (one user message, unless chat_template is none) or a conversation."""

Tools = Sequence[Mapping[str, object]]
"""JSON schemas of functions that the model may call, as `apply_chat_template` takes them."""


def tools_in(columns: Mapping[str, object]) -> Tools:
    """The functions that a row with these columns offers, as the loader checked them."""
    return cast(Tools, columns.get("tools") or ())


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """A prompt, with the other columns of its row, which reward functions may read."""

    prompt: Prompt
    columns: Mapping[str, object] = field(default_factory=dict)

    @property
    def tools(self) -> Tools:
        """The functions that the prompt offers."""
        return tools_in(self.columns)


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A prompt and the response to imitate."""

    prompt: Prompt
    completion: str
    fields: MessageFields = field(default_factory=MessageFields)  # of its turn
    tools: Tools = ()
    every_turn: bool = False  # whether the prompt's assistant turns are imitated too

    @property
    def turn(self) -> Message:
        """The response as a message."""
        return {"role": "assistant", "content": self.completion, **self.fields}


SFTRow: TypeAlias = Demonstration | str
"""A row of SFT: a demonstration, or a plain text."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """K responses to one prompt and one annotator's order of them. A pair is K = 2."""

    prompt: Prompt
    responses: Sequence[str]
    ranks: Sequence[int]  # one per response; 1 is best, equal ranks tie
    annotator: str = ""  # "" where the row names none
    annotator_group: str = ""  # likewise; reports compare the groups
    category: str = ""  # of the prompt, likewise
    strength: float = 1.0  # how clear the preference was; 1.0 where the row has none
    weight: float = 1.0  # in the loss of a reward model, if its `weight_column` is set
    # Two positions, and the share of people who prefer the first: of all pairs, or of none.
    probabilities: Sequence[tuple[int, int, float]] = ()
    endings: Sequence[Ending] = ()  # one per response; () where the row does not have them
    tools: Tools = ()
    implicit_prompt: bool = False  # whether the prompt was repeated before both responses

    @property
    def is_cut(self) -> Sequence[bool]:
        """For each response whether it was cut off."""
        return [ending != "stop" for ending in self.endings] or [False] * len(self.responses)


@dataclass(frozen=True, kw_only=True)
class Thumb:
    """A response to a prompt, and whether it is wanted."""

    prompt: Prompt
    completion: str
    desirable: bool  # thumb up
    cut: bool = False  # whether the response was cut off
    tools: Tools = ()


@dataclass(frozen=True, kw_only=True)
class RatedResponse:
    """A response to a prompt, and its ratings by an annotator, a program or a test."""

    prompt: Prompt
    completion: str
    ratings: Mapping[str, float]  # by axis; a verdict is one axis, `correct`, with 1 or 0
    annotator: str = ""  # "" where the row names none
    tools: Tools = ()


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Left-padded prompts, ready to generate from."""

    input_ids: Tensor  # long [B, P]
    attention_mask: Tensor  # bool [B, P]
    prompts: Sequence[Prompt]  # B
    group_ids: Tensor  # long [B], equal for responses to one prompt
    row_ids: Tensor  # long [B], global row of this iteration: keys the sampling noise
    columns: Sequence[Mapping[str, object]]  # B, the other columns of each row


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """What an environment gave for rollouts; a response is all turns of an episode."""

    rewards: Tensor  # float [B, R], of each turn, at the last token that the model wrote in it
    num_turns: Tensor  # long [B], turns that the model wrote
    num_calls: Tensor  # long [B], tool calls in them
    last_prompts: Sequence[Prompt]  # B, the conversation before the last turn
    last_turns: Sequence[str]  # B, the text of the last turn, which sources of the reward score
    failures: Sequence[str]  # B, why the environment gave no reward; "" where it did


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Responses sampled from the policy, right-padded.

    With an environment, a response also has the tokens of the environment's messages; every loss
    and every metric of log-probs is over `action_mask`.
    """

    batch: PromptBatch
    response_ids: Tensor  # long [B, R]
    response_mask: Tensor  # bool [B, R]
    action_mask: Tensor  # bool [B, R], the response tokens that the model wrote
    logprobs: Tensor  # float [B, R], of the sampling policy; 0 outside of action_mask
    sampler_logprobs: Tensor | None  # float [B, R], where `logprobs` are of another forward pass
    importance_weights: Tensor  # float [B, R]; 1 without sampler_logprobs
    entropies: Tensor  # float [B, R], nats of the distribution sampled from; 0 as `logprobs`
    ended_with_eos: Tensor  # bool [B]; of an episode: whether the environment ended it
    thought_lengths: Tensor  # long [B], tokens of the thought before a response; 0 without one
    texts: Sequence[str]  # B, special tokens left out; a thought first, as <think>…</think>
    episodes: Episodes | None = None  # with an environment


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One number per response, and its parts."""

    scores: Tensor  # float [B]
    breakdown: Mapping[str, Tensor]  # source -> float [B], before its weight
    failures: Sequence[str]  # B, why a response has no score (it is NaN); "" where it has one


@dataclass(frozen=True, kw_only=True)
class ScoredRollouts:
    """Rollouts with the scores of the reward, under the frozen reference and the critic."""

    rollouts: Rollouts
    scores: Scores
    ref_logprobs: Tensor  # float [B, R]
    values: Tensor | None  # float [B, R]; None without a critic
    greedy_scores: Tensor | None = None  # float [B], of the greedy response to the prompt; ReMax


@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """Rows of an experience that one optimizer step, or one microbatch of it, trains on."""

    prompt_ids: Tensor  # long [N, P], left-padded
    prompt_mask: Tensor  # bool [N, P]
    response_ids: Tensor  # long [N, R], right-padded
    response_mask: Tensor  # bool [N, R]
    action_mask: Tensor  # bool [N, R]
    logprobs: Tensor  # float [N, R]
    ref_logprobs: Tensor  # float [N, R]
    importance_weights: Tensor  # float [N, R]
    loss_weights: Tensor  # float [N, R]
    advantages: Tensor  # float [N, R]
    values: Tensor | None  # float [N, R]; None without a critic
    returns: Tensor | None  # float [N, R]; None without a critic

    @property
    def lengths(self) -> Tensor:
        """Prompt and response tokens of each row, long [N]."""
        return self.prompt_mask.sum(1) + self.response_mask.sum(1)

    def select(self, rows: Tensor | slice) -> Minibatch:
        """These rows, in this order."""
        tensors: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, tensor in tensors.items():
            tensors[name] = None if tensor is None else tensor[rows]
        return Minibatch(**tensors)


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What the update learns from."""

    rollouts: Rollouts
    ref_logprobs: Tensor  # float [B, R]
    values: Tensor | None  # float [B, R]; None without a critic
    rewards: Tensor  # float [B, R], per-token KL penalty, score on the last token, turns' rewards
    advantages: Tensor  # float [B, R], over all ranks; whitened by some estimators
    returns: Tensor | None  # float [B, R], from unwhitened advantages; None without a critic
    loss_mask: Tensor  # bool [B, R], the actions that the policy is trained on
    loss_weights: Tensor  # float [B, R], of each token in the policy's loss; see `loss_type`

    def select(self, rows: Tensor | slice) -> Minibatch:
        """These rows, in this order; rows: long [N]."""
        return Minibatch(
            prompt_ids=self.rollouts.batch.input_ids,
            prompt_mask=self.rollouts.batch.attention_mask,
            response_ids=self.rollouts.response_ids,
            response_mask=self.rollouts.response_mask,
            action_mask=self.rollouts.action_mask,
            logprobs=self.rollouts.logprobs,
            ref_logprobs=self.ref_logprobs,
            importance_weights=self.rollouts.importance_weights,
            loss_weights=self.loss_weights,
            advantages=self.advantages,
            values=self.values,
            returns=self.returns,
        ).select(rows)
