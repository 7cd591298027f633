"""Sample responses to prompts, with noise that depends on the row and not on its batch."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import torch

from rlhf.data.collate import left_pad
from rlhf.data.prompts import check_prompts
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.decode import decode, thought_length
from rlhf.data.tokenization.thoughts import split_thought, with_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError, TrainingError
from rlhf.models.generation.decoder import Decoder, Generated, Responses, sample
from rlhf.models.generation.sampling_noise import uniform_noise
from rlhf.models.protocols import CausalLM, evaluation_mode
from rlhf.types import Prompt, PromptBatch


@dataclass(frozen=True, kw_only=True)
class SampledResponse:
    """One sampled response."""

    text: str  # without special tokens and without its thought
    ids: Sequence[int]  # including the EOS, if any
    ended_with_eos: bool
    thought: str = ""
    thought_tokens: int = 0

    @property
    def response(self) -> str:
        """The text, with its thought, if any, in front of it."""
        return with_thought(self.thought, self.text)


@torch.no_grad()
def generate(
    model: CausalLM,
    batch: PromptBatch,
    *,
    max_new_tokens: int,
    temperature: float,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    seed: int,
    iteration: int,
    row_limits: Sequence[int] | None = None,
    cuda_graphs: bool = False,
) -> Generated:
    """One response to each row of `batch`, at most `max_new_tokens` long.

    Plain sampling from softmax(logits / temperature), without top-k or top-p. The random number of
    a token is a function of (seed, iteration, row_id, position) alone. Autocast is up to the
    caller.

    Args:
        model: the language model.
        batch: the prompts. Rows of one `group_id` must hold the same prompt, which is read once.
        max_new_tokens: longest response.
        temperature: 0 takes the most likely token, and reports log-probs at temperature 1.
        eos_token_ids: ids that end a response.
        pad_token_id: fills the responses on the right.
        seed: seed of the noise.
        iteration: key of the noise.
        row_limits: longest response of each row; default: max_new_tokens.
        cuda_graphs: whether to record a step for each number of rows and replay it.
    """
    device, num_rows = batch.input_ids.device, len(batch.input_ids)
    noise = uniform_noise(seed, iteration, batch.row_ids, max_new_tokens).to(device)
    eos = torch.tensor(list(eos_token_ids), device=device)
    limits = None if row_limits is None else torch.tensor(list(row_limits), device=device)
    responses = Responses(num_rows, max_new_tokens, pad_token_id, device)
    with evaluation_mode(model):  # in training mode gradient checkpointing would disable the cache
        decoder = Decoder(model, batch, max_new_tokens, cuda_graphs=cuda_graphs)
        logits = decoder.read_prompts()
        for t in range(max_new_tokens):
            sampled = sample(logits, noise[decoder.rows, t], temperature)
            stops = torch.isin(sampled.tokens, eos)
            responses.write(t, decoder.rows, decoder.alive, sampled, stops)
            over = stops if limits is None else stops | (limits[decoder.rows] <= t + 1)
            if t + 1 == max_new_tokens or not decoder.any_left(over):
                break
            logits = decoder.step(sampled.tokens, t)
    return responses.finished()


def sample_responses(
    model: CausalLM,
    chat: ChatTokenizer,
    prompts: Sequence[Prompt],
    *,
    num_responses: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int | None,
) -> list[list[SampledResponse]]:
    """`num_responses` responses to each prompt, in the order of the prompts.

    Args:
        model: the language model.
        chat: its tokenizer.
        prompts: strings or lists of messages.
        num_responses: responses per prompt.
        max_new_tokens: longest response.
        temperature: 0 takes the most likely tokens.
        seed: seed of the noise.
        batch_size: responses sampled at a time (memory and speed, never the samples); None for
            all.

    Raises:
        DataError: prompts that are not a list of texts and conversations.
        ConfigError: a setting of another type or out of range.
        TrainingError: the model's log-probs are not finite.
    """
    check_prompts(prompts)
    responses: list[list[SampledResponse]] = [[] for _ in prompts]
    for batch in sample_batches(
        model,
        chat,
        prompts,
        num_responses=num_responses,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
    ):
        for index, sampled in batch.items():
            responses[index] = sampled
    return responses


def sample_batches(
    model: CausalLM,
    chat: ChatTokenizer,
    prompts: Sequence[Prompt],
    *,
    num_responses: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int | None,
    skip: Collection[int] = (),
) -> Iterator[dict[int, list[SampledResponse]]]:
    """`sample_responses` batch by batch: the responses by the index of their prompt.

    The noise of a response depends on its prompt's index and on no other prompt, so an interrupted
    pass is continued with the finished prompts in `skip`.

    Args:
        model: the language model.
        chat: its tokenizer.
        prompts: all prompts, also those to skip.
        num_responses: responses per prompt.
        max_new_tokens: longest response.
        temperature: 0 takes the most likely tokens.
        seed: seed of the noise.
        batch_size: responses sampled at a time; None for all.
        skip: indices of prompts that get no responses.
    """
    check_prompts(prompts)
    _check_settings(max_new_tokens, temperature)
    encoded = {n: prompt_ids(chat, prompts[n]) for n in range(len(prompts)) if n not in skip}
    by_length = sorted(encoded, key=lambda index: len(encoded[index]))
    step = max(1, len(prompts) if batch_size is None else batch_size // num_responses)
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
        sampled = as_responses(chat, generated)
        yield {
            index: sampled[position * num_responses :][:num_responses]
            for position, index in enumerate(chosen)
        }


def _check_settings(max_new_tokens: object, temperature: object) -> None:
    """Reject settings of another type, and those that sample nothing sensible."""
    is_integer = isinstance(max_new_tokens, Integral) and not isinstance(max_new_tokens, bool)
    if not is_integer or max_new_tokens < 1:  # type: ignore[operator]
        raise ConfigError(
            f"max_new_tokens={max_new_tokens!r}; use an integer, 1 or more.", code="bad-value"
        )
    is_number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not is_number or not 0 <= temperature < math.inf:  # type: ignore[operator]
        raise ConfigError(
            f"temperature={temperature!r}; use 0 (the most likely tokens) or a finite number "
            "above.",
            code="bad-value",
        )


def as_responses(chat: ChatTokenizer, generated: Generated) -> list[SampledResponse]:
    """The text and ids of each row.

    Raises:
        TrainingError: the model's log-probs are not finite.
    """
    if not generated.logprobs.isfinite().all():
        raise TrainingError(
            "the model's log-probs are not finite, so its responses are meaningless: its weights "
            "hold NaN or infinity, or overflow; use float32 or an earlier checkpoint.",
            code="non-finite",
        )
    lengths = generated.response_mask.sum(1).tolist()
    ended = generated.ended_with_eos.tolist()
    ids = [
        row[:length] for row, length in zip(generated.response_ids.tolist(), lengths, strict=True)
    ]
    return [as_response(chat, row, ended_with_eos=end) for row, end in zip(ids, ended, strict=True)]


def as_response(
    chat: ChatTokenizer, ids: Sequence[int], *, ended_with_eos: bool
) -> SampledResponse:
    """The response with these ids: its text and thought."""
    thought, text = split_thought(decode(chat, ids))
    return SampledResponse(
        text=text,
        ids=ids,
        ended_with_eos=ended_with_eos,
        thought=thought,
        thought_tokens=thought_length(chat, ids) if thought else 0,
    )


def prompt_batch(
    encoded: Sequence[list[int]],
    prompts: Sequence[Prompt],
    *,
    prompt_indices: Sequence[int],
    num_responses: int,
    pad_token_id: int,
    device: torch.device,
    columns: Sequence[Mapping[str, object]] | None = None,
) -> PromptBatch:
    """Left-padded prompts, each repeated `num_responses` times.

    Args:
        encoded: token ids of each prompt.
        prompts: the prompts.
        prompt_indices: indices of the prompts in the whole set (or iteration). Response k to prompt
            i gets row id i * num_responses + k, in any batch and on any process.
        num_responses: responses per prompt.
        pad_token_id: fills the prompts on the left.
        device: where the tensors go.
        columns: the other columns of each prompt's row.
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
