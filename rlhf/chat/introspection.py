"""What a model makes of a text: tokens, the next token's probabilities, what training changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlhf.chat.loading import ChatModel
from rlhf.chat.sampling import Sampling, reshaped
from rlhf.data.tokenization.chat import decode
from rlhf.errors import DataError
from rlhf.rewards.model import RewardModel
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True)
class TokenText:
    """A token as it is read."""

    id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Likely:
    """A token that may come next."""

    token: TokenText
    probability: float  # the model's: at temperature 1, nothing cut
    reshaped: float  # with temperature and top-p: what is drawn with


@dataclass(frozen=True, kw_only=True)
class Position:
    """A token of an answer, and what else could have stood there."""

    token: TokenText
    probability: float
    rank: int  # 1 is the likeliest
    likeliest: Sequence[Likely]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A token of an answer under several models."""

    token: TokenText
    logprobs: Sequence[float]  # one a model, nats
    kl: Sequence[float]  # of the first model from each other one at this position, nats


def as_text(model: ChatModel, token: int) -> TokenText:
    """The token by itself; a control token, or a part of a character, by its name."""
    text = decode(replace(model.chat, template_source="none", eos_token_ids=()), [token])
    if not text or "\ufffd" in text:
        text = str(model.chat.tokenizer.convert_ids_to_tokens(token))
    return TokenText(id=token, text=text)


def next_tokens(
    model: ChatModel, ids: Sequence[int], sampling: Sampling, *, most: int
) -> list[Likely]:
    """The `most` likeliest tokens after `ids`, best first, before and after reshaping."""
    return _likeliest(model, _logits(model, ids, 1), sampling, most)[0]


def positions(
    model: ChatModel, prompt: Sequence[int], answer: Sequence[int], sampling: Sampling, *, most: int
) -> list[Position]:
    """Each token of the answer among the likeliest ones at its place."""
    if not answer:
        return []
    logits = _logits(model, [*prompt, *answer[:-1]], len(answer))
    probabilities = logits.softmax(-1)
    chosen = probabilities.gather(-1, torch.tensor(list(answer))[:, None])
    ranks = (probabilities > chosen).sum(-1) + 1
    likeliest = _likeliest(model, logits, sampling, most)
    return [
        Position(
            token=as_text(model, token),
            probability=float(chosen[at, 0]),
            rank=int(ranks[at]),
            likeliest=likeliest[at],
        )
        for at, token in enumerate(answer)
    ]


def differences(
    models: Sequence[ChatModel], prompt: Sequence[int], answer: Sequence[int]
) -> list[Difference]:
    """Each token of the answer under several models, and where the first moved away.

    KL(first || other) = sum_v p(v) (log p(v) - log q(v)) over the whole vocabulary, at each
    position.

    Raises:
        DataError: models with other tokens, whose probabilities are of other things.
    """
    vocabulary = models[0].chat.tokenizer.get_vocab()
    for model in models[1:]:
        if model.chat.tokenizer.get_vocab() != vocabulary:
            raise DataError(f"{model.name} and {models[0].name} do not have the same tokens.")
    if not answer:
        return []
    ids = [*prompt, *answer[:-1]]
    logprobs = [_logits(model, ids, len(answer)).log_softmax(-1) for model in models]
    # A model may have rows for tokens that no text has.
    width = min(one.shape[-1] for one in logprobs)
    logprobs = [one[:, :width] for one in logprobs]
    first = logprobs[0]
    # Rounding takes a KL of almost nothing below 0, where none is.
    kl = [(first.exp() * (first - other)).sum(-1).clamp(min=0).tolist() for other in logprobs[1:]]
    return [
        Difference(
            token=as_text(models[0], token),
            logprobs=[float(one[at, token]) for one in logprobs],
            kl=[of_model[at] for of_model in kl],
        )
        for at, token in enumerate(answer)
    ]


def reward_growth(
    reward: RewardModel, model: ChatModel, prompt: Prompt, answer: Sequence[int]
) -> list[float]:
    """The normalised reward of the answer's first token, its first two, and so on: what the
    reward model would give had the answer ended there."""
    said = replace(model.chat, eos_token_ids=())
    beginnings = [decode(said, list(answer[: end + 1])) for end in range(len(answer))]
    return rewards(reward, prompt, beginnings)


def rewards(reward: RewardModel, prompt: Prompt, answers: Sequence[str]) -> list[float]:
    """The normalised reward of each answer to one prompt."""
    raw = reward.score([prompt] * len(answers), answers)
    return [(value - reward.mean) / reward.std for value in raw]


def _likeliest(
    model: ChatModel, logits: Tensor, sampling: Sampling, most: int
) -> list[list[Likely]]:
    probabilities = logits.softmax(-1)
    drawn = reshaped(logits, [sampling] * len(logits))
    best = probabilities.topk(min(most, logits.shape[-1]))
    after = drawn.gather(-1, best.indices)
    return [
        [
            Likely(token=as_text(model, token), probability=value, reshaped=reshape)
            for token, value, reshape in zip(ids, values, reshapes, strict=True)
        ]
        for ids, values, reshapes in zip(
            best.indices.tolist(), best.values.tolist(), after.tolist(), strict=True
        )
    ]


@torch.no_grad()
def _logits(model: ChatModel, ids: Sequence[int], last: int) -> Tensor:
    """float32 [last, V] on the CPU, after each of the last tokens."""
    policy: Any = model.model
    tensor = torch.tensor([list(ids)], device=policy.device)
    output = policy(input_ids=tensor, use_cache=False, logits_to_keep=last)
    logits: Tensor = output.logits[0].float().cpu()
    return logits
