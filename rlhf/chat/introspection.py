"""How a model sees a text: its tokens, next-token probabilities, and what training changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlhf.chat.engine import GeneratedToken
from rlhf.chat.loading import LoadedModel
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.sampling import Sampling, sampling_probabilities
from rlhf.data.tokenization.chat import decode
from rlhf.errors import DataError
from rlhf.rewards.model import RewardModel
from rlhf.types import Prompt

BLOCK = 256  # tokens per forward pass: logits of a long prompt would need gigabytes


@dataclass(frozen=True, kw_only=True)
class TokenText:
    """A token and its text."""

    id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class LikelyToken:
    """A token that may come next."""

    token: TokenText
    probability: float  # of the model: at temperature 1, without truncation
    # With temperature and top-p: the one used for sampling; None where a server does not tell.
    reshaped: float | None


@dataclass(frozen=True, kw_only=True)
class TokenPosition:
    """A token of a response, and the likeliest tokens at its position."""

    token: TokenText
    probability: float
    rank: int  # 1 is the likeliest
    likeliest: Sequence[LikelyToken]


@dataclass(frozen=True, kw_only=True)
class TokenDifference:
    """A token of a response under several models."""

    token: TokenText
    logprobs: Sequence[float]  # one per model, nats
    kl: Sequence[float]  # of the first model from each other one at this position, nats


def token_text(model: PolicyInfo, token: int) -> TokenText:
    """The text of a token; the name of a control token or of a part of a character."""
    text = decode(replace(model.chat, template_source="none", eos_token_ids=()), [token])
    if not text or "\ufffd" in text:
        text = str(model.chat.tokenizer.convert_ids_to_tokens(token))
    return TokenText(id=token, text=text)


def next_tokens(
    model: LoadedModel, ids: Sequence[int], sampling: Sampling, *, most: int
) -> list[LikelyToken]:
    """The `most` likeliest tokens after `ids`, best first."""
    return _likeliest(model, _logits(model, ids, 1), sampling, most)[0]


@torch.no_grad()
def scored_tokens(model: LoadedModel, ids: Sequence[int], *, most: int) -> list[GeneratedToken]:
    """Every token after the first, given those before it, at temperature 1."""
    policy = model.model
    cache = None
    scored: list[GeneratedToken] = []
    for start in range(0, len(ids) - 1, BLOCK):
        block = list(ids[start : min(start + BLOCK, len(ids) - 1)])
        output = policy(
            input_ids=torch.tensor([block], device=policy.device),
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        logprobs = output.logits[0].float().log_softmax(-1)
        best = logprobs.topk(min(max(most, 1), logprobs.shape[-1]))
        for t, token in enumerate(ids[start + 1 : start + 1 + len(block)]):
            likeliest = zip(best.indices[t].tolist(), best.values[t].tolist(), strict=True)
            scored.append(
                GeneratedToken(
                    id=token,
                    logprob=float(logprobs[t, token]),
                    likeliest=list(likeliest)[:most],
                    finish="",
                )
            )
    return scored


def token_positions(
    model: LoadedModel,
    prompt: Sequence[int],
    response: Sequence[int],
    sampling: Sampling,
    *,
    most: int,
) -> list[TokenPosition]:
    """Each token of the response among the likeliest ones at its position.

    Args:
        model: the model whose probabilities are shown.
        prompt: ids of the prompt.
        response: ids of the response.
        sampling: temperature and top-p of the `reshaped` probabilities.
        most: how many of the likeliest tokens to list per position.
    """
    if not response:
        return []
    logits = _logits(model, [*prompt, *response[:-1]], len(response))
    probabilities = logits.softmax(-1)
    chosen = probabilities.gather(-1, torch.tensor(list(response))[:, None])
    ranks = (probabilities > chosen).sum(-1) + 1
    likeliest = _likeliest(model, logits, sampling, most)
    return [
        TokenPosition(
            token=token_text(model, token),
            probability=float(chosen[t, 0]),
            rank=int(ranks[t]),
            likeliest=likeliest[t],
        )
        for t, token in enumerate(response)
    ]


def token_differences(
    models: Sequence[LoadedModel], prompt: Sequence[int], response: Sequence[int]
) -> list[TokenDifference]:
    """Each token of the response under several models, with the KL of the first from the others.

    KL(first || other) = sum_v p(v) (log p(v) - log q(v)) over the whole vocabulary, at each
    position.

    Raises:
        DataError: the models have different vocabularies, so their probabilities do not compare.
    """
    vocabulary = models[0].chat.tokenizer.get_vocab()
    for model in models[1:]:
        if model.chat.tokenizer.get_vocab() != vocabulary:
            raise DataError(
                f"{model.name} and {models[0].name} have different vocabularies; compare models "
                "with the same tokenizer.",
                code="tokenizer-mismatch",
            )
    if not response:
        return []
    ids = [*prompt, *response[:-1]]
    logprobs = [_logits(model, ids, len(response)).log_softmax(-1) for model in models]
    # A model may have rows beyond the vocabulary.
    width = min(rows.shape[-1] for rows in logprobs)
    logprobs = [rows[:, :width] for rows in logprobs]
    first = logprobs[0]
    # Rounding can take a KL of almost 0 below 0.
    kl = [(first.exp() * (first - other)).sum(-1).clamp(min=0).tolist() for other in logprobs[1:]]
    return [
        TokenDifference(
            token=token_text(models[0], token),
            logprobs=[float(rows[t, token]) for rows in logprobs],
            kl=[of_model[t] for of_model in kl],
        )
        for t, token in enumerate(response)
    ]


def prefix_rewards(
    reward_model: RewardModel, model: PolicyInfo, prompt: Prompt, response: Sequence[int]
) -> list[float]:
    """The normalised reward of each prefix of the response: its first token, first two, and so on.

    That is the reward that the response would get if it ended there.
    """
    chat = replace(model.chat, eos_token_ids=())
    prefixes = [decode(chat, list(response[: t + 1])) for t in range(len(response))]
    return normalised_rewards(reward_model, prompt, prefixes)


def normalised_rewards(
    reward_model: RewardModel, prompt: Prompt, responses: Sequence[str]
) -> list[float]:
    """The normalised reward of each response to one prompt."""
    scores = reward_model.score([prompt] * len(responses), responses)
    return [(score - reward_model.mean) / reward_model.std for score in scores]


def _likeliest(
    model: LoadedModel, logits: Tensor, sampling: Sampling, most: int
) -> list[list[LikelyToken]]:
    probabilities = logits.softmax(-1)
    best = probabilities.topk(min(most, logits.shape[-1]))
    reshaped = sampling_probabilities(logits, [sampling] * len(logits)).gather(-1, best.indices)
    return [
        [
            LikelyToken(token=token_text(model, token), probability=p, reshaped=q)
            for token, p, q in zip(*row, strict=True)
        ]
        for row in zip(best.indices.tolist(), best.values.tolist(), reshaped.tolist(), strict=True)
    ]


@torch.no_grad()
def _logits(model: LoadedModel, ids: Sequence[int], last: int) -> Tensor:
    """float32 [last, V] on the CPU, after each of the last tokens."""
    tensor = torch.tensor([list(ids)], device=model.model.device)
    output = model.model(input_ids=tensor, use_cache=False, logits_to_keep=last)
    logits: Tensor = output.logits[0].float().cpu()
    return logits
