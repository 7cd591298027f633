"""Sampling: an own decode loop whose noise depends on the row, never on the batch around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf.data.chat import decode, prompt_ids
from rlhf.data.collate import left_pad
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.models.cache import SlabCache
from rlhf.types import Prompt, PromptBatch

# Rows are compacted away when this share of them or less is still being written: each
# compaction copies the cache, so that one for every finished row would cost more than it saves.
ALIVE_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Sampled responses, right-padded; the EOS that ended a response belongs to it."""

    response_ids: Tensor  # long [B, R]
    response_mask: Tensor  # bool [B, R]
    logprobs: Tensor  # float [B, R], at the sampling temperature; 0 on padding
    entropies: Tensor  # float [B, R], nats of the distribution sampled from; 0 on padding
    ended_with_eos: Tensor  # bool [B]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sampled answer."""

    text: str  # without special tokens
    ids: Sequence[int]  # with the EOS, where there is one
    ended_with_eos: bool


@torch.no_grad()
def generate(
    model: Any,
    batch: PromptBatch,
    *,
    max_new_tokens: int,
    temperature: float,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    seed: int,
    iteration: int,
) -> Generated:
    """One response to each row of `batch`, at most `max_new_tokens` long.

    Plain sampling from softmax(logits / temperature), no top-k or top-p; temperature 0 takes
    the likeliest token (and reports log-probs at temperature 1). Rows of one `group_id` must
    hold the same prompt: it is read once for all of them. The random number behind a token is a
    function of (seed, iteration, row_id, position) alone. Autocast is the caller's.
    """
    training = model.training
    model.eval()  # in training mode gradient checkpointing would switch the cache off
    device, (num_rows, width) = batch.input_ids.device, batch.input_ids.shape
    noise = uniform_noise(seed, iteration, batch.row_ids, max_new_tokens).to(device)
    eos = torch.tensor(list(eos_token_ids), device=device)
    ids = torch.full((num_rows, max_new_tokens), pad_token_id, device=device)
    logprobs = torch.zeros(num_rows, max_new_tokens, device=device)
    entropies = torch.zeros_like(logprobs)
    lengths = torch.zeros(num_rows, dtype=torch.long, device=device)
    ended = torch.zeros(num_rows, dtype=torch.bool, device=device)
    ones = torch.ones(num_rows, max_new_tokens, dtype=torch.bool, device=device)
    mask = torch.cat([batch.attention_mask, ones], dim=1)
    prompt_lengths = batch.attention_mask.sum(1)

    cache = SlabCache(model.config.num_hidden_layers, width + max_new_tokens)
    logits = _read_prompts(model, batch, cache)
    rows = torch.arange(num_rows, device=device)  # row of the batch that each cache row serves
    alive = torch.ones_like(rows, dtype=torch.bool)
    for t in range(max_new_tokens):
        tokens, token_logprobs, token_entropies = _sample(logits, noise[rows, t], temperature)
        written = rows[alive]
        ids[written, t] = tokens[alive]
        logprobs[written, t] = token_logprobs[alive]
        entropies[written, t] = token_entropies[alive]
        lengths[written] += 1
        stops = torch.isin(tokens, eos)
        ended[rows[alive & stops]] = True
        alive &= ~stops
        if t + 1 == max_new_tokens or not alive.any():
            break
        if alive.sum() <= ALIVE_SHARE * len(alive):
            cache.select(alive.nonzero()[:, 0])
            rows, tokens, alive = rows[alive], tokens[alive], alive[alive]
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=mask[rows, : width + t + 1],
            position_ids=(prompt_lengths[rows] + t)[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    model.train(training)

    longest = int(lengths.max())
    return Generated(
        response_ids=ids[:, :longest],
        response_mask=torch.arange(longest, device=device) < lengths[:, None],
        logprobs=logprobs[:, :longest],
        entropies=entropies[:, :longest],
        ended_with_eos=ended,
    )


def sample_answers(
    model: Any,
    chat: ChatTokenizer,
    prompts: Sequence[Prompt],
    *,
    num_responses: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int,
) -> list[list[Answer]]:
    """`num_responses` answers to each prompt, in the order of the prompts.

    `batch_size` (answers written at a time) changes memory and speed, not what is sampled.
    """
    encoded = [prompt_ids(chat, prompt) for prompt in prompts]
    answers: list[list[Answer]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda index: len(encoded[index]))
    step = max(1, batch_size // num_responses)
    for start in range(0, len(by_length), step):
        chosen = by_length[start : start + step]
        batch = prompt_batch(
            [encoded[index] for index in chosen],
            [prompts[index] for index in chosen],
            prompt_indices=chosen,
            num_responses=num_responses,
            pad_token_id=chat.tokenizer.pad_token_id,
            device=model.device,
        )
        generated = generate(
            model,
            batch,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            eos_token_ids=chat.eos_token_ids,
            pad_token_id=chat.tokenizer.pad_token_id,
            seed=seed,
            iteration=0,
        )
        written = as_answers(chat, generated)
        for position, index in enumerate(chosen):
            answers[index] = written[position * num_responses : (position + 1) * num_responses]
    return answers


def as_answers(chat: ChatTokenizer, generated: Generated) -> list[Answer]:
    """Text and ids of each row."""
    lengths = generated.response_mask.sum(1).tolist()
    ended = generated.ended_with_eos.tolist()
    ids = [
        row[:length] for row, length in zip(generated.response_ids.tolist(), lengths, strict=True)
    ]
    return [
        Answer(text=decode(chat, row), ids=row, ended_with_eos=end)
        for row, end in zip(ids, ended, strict=True)
    ]


def prompt_batch(
    encoded: Sequence[list[int]],
    prompts: Sequence[Prompt],
    *,
    prompt_indices: Sequence[int],
    num_responses: int,
    pad_token_id: int,
    device: torch.device,
    columns: Sequence[Any] | None = None,
) -> PromptBatch:
    """Left-padded prompts, each standing `num_responses` times in a row.

    prompt_indices: the prompts' places in the whole set (or the whole iteration); answer k to
    prompt i gets row id i * num_responses + k, whichever batch or process writes it.
    """
    ids, mask = left_pad(list(encoded), pad_token_id)
    groups = torch.tensor(list(prompt_indices)).repeat_interleave(num_responses)
    repeats = torch.arange(num_responses).repeat(len(prompts))
    return PromptBatch(
        input_ids=ids.repeat_interleave(num_responses, 0).to(device),
        attention_mask=mask.repeat_interleave(num_responses, 0).to(device),
        prompts=[prompt for prompt in prompts for _ in range(num_responses)],
        group_ids=groups.to(device),
        row_ids=(groups * num_responses + repeats).to(device),
        columns=[row for row in columns or [{} for _ in prompts] for _ in range(num_responses)],
    )


def uniform_noise(seed: int, iteration: int, row_ids: Tensor, num_positions: int) -> Tensor:
    """float [B, R] in (0, 1]: a pure function of (seed, iteration, row, position).

    A counter-based generator (the finalizer of SplitMix64, Steele et al. 2014), so that
    processes, batch composition and resuming do not change it. 24 bits, exact in float32.
    """
    rows = row_ids.cpu().numpy().astype(np.uint64)[:, None]
    positions = np.arange(num_positions, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant
        key = _mix(np.array([[seed % 2**64]], dtype=np.uint64))
        key = _mix(key ^ np.uint64(iteration % 2**64))
        bits = _mix(_mix(key ^ rows) ^ positions) >> np.uint64(40)
    return torch.from_numpy((bits.astype(np.float32) + 1.0) / np.float32(2**24))


def _mix(values: Any) -> Any:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _read_prompts(model: Any, batch: PromptBatch, cache: SlabCache) -> Tensor:
    """Logits [B, V] after each prompt; a prompt with several answers is read once."""
    groups = batch.group_ids
    unique, group_of_row = torch.unique(groups, return_inverse=True)
    first = torch.stack([(groups == group).nonzero()[0, 0] for group in unique])
    mask = batch.attention_mask[first]
    logits = model(
        input_ids=batch.input_ids[first],
        attention_mask=mask,
        position_ids=mask.cumsum(1) - mask.long(),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    cache.select(group_of_row)
    return logits[group_of_row]  # type: ignore[no-any-return]


def _sample(logits: Tensor, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, their log-probs and the entropies, each [B], from logits [B, V] and noise [B].

    Inverse transform: the first token whose cumulative probability reaches noise * total. Since
    noise is above 0 and at most 1, that token exists and has positive probability.
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    probs = logprobs.exp()
    if temperature == 0:
        tokens = logprobs.argmax(-1)
    else:
        cumulative = probs.cumsum(-1)
        target = noise[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, target)[:, 0]
    entropies = -(probs * logprobs).sum(-1)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0], entropies
