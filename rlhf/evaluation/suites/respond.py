"""Who responds to the prompts of a suite: a model that is loaded, or one behind an address."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.errors import DataError
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.evaluation.suites.journal import Turn
from rlhf.evaluation.suites.suite import Suite
from rlhf.manifest import hash_text
from rlhf.models.generation.generate import (
    SampledResponse,
    as_responses,
    generate,
    prompt_batch,
)
from rlhf.rollouts.chat_server import ServedModel, respond, respond_together
from rlhf.runtime.progress import progress
from rlhf.types import Prompt, PromptBatch

Respond: TypeAlias = Callable[[Suite, Sequence[Prompt], Sequence[int], int, Turn], list[str]]
"""(suite, prompts, their rows, seed, responses that are there) -> a response to each prompt.

The row is the key of a response's random numbers. Responses that are not there are added."""


def loaded_model(evaluated: EvaluatedModel, *, batch_size: int) -> Respond:
    """Responses of a model with its tokenizer, `batch_size` at a time."""

    def respond_all(
        suite: Suite, prompts: Sequence[Prompt], rows: Sequence[int], seed: int, kept: Turn
    ) -> list[str]:
        chat = evaluated.chat
        encoded = [prompt_ids(chat, prompt) for prompt in prompts]
        _check_room(suite, evaluated, prompts, [len(ids) for ids in encoded])
        order = sorted(range(len(prompts)), key=lambda place: -len(encoded[place]))
        with progress(f"{evaluated.name}, {suite.name}", len(prompts)) as advance:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                if any(kept.get(rows[place]) is None for place in chosen):
                    batch = prompt_batch(
                        [encoded[place] for place in chosen],
                        [prompts[place] for place in chosen],
                        prompt_indices=[rows[place] for place in chosen],
                        num_responses=1,
                        pad_token_id=chat.pad_token_id,
                        device=evaluated.model.device,
                    )
                    responses = _sampled(suite, evaluated, batch, seed)
                    for place, response in zip(chosen, responses, strict=True):
                        kept.add(rows[place], response.text)
                advance(len(chosen))
        return kept_texts(suite, prompts, rows, seed, kept)

    return respond_all


def served_model(served: ServedModel, template_kwargs: Mapping[str, object] | None) -> Respond:
    """Responses of a model behind an address; each request has a seed of its own."""

    def respond_all(
        suite: Suite, prompts: Sequence[Prompt], rows: Sequence[int], seed: int, kept: Turn
    ) -> list[str]:
        with progress(f"{served.model}, {suite.name}", len(prompts)) as advance:

            def ask(place: int) -> None:
                if kept.get(rows[place]) is None:
                    response = respond(
                        served,
                        prompts[place],
                        max_new_tokens=suite.max_completion_length,
                        temperature=suite.temperature,
                        seed=int(hash_text(f"{seed} {suite.name} {rows[place]}")[:14], 16),
                        template_kwargs=template_kwargs,
                    )
                    kept.add(rows[place], response.text)
                advance(1)

            respond_together(ask, range(len(prompts)), advance)
        return kept_texts(suite, prompts, rows, seed, kept)

    return respond_all


def kept_texts(
    suite: Suite, prompts: Sequence[Prompt], rows: Sequence[int], seed: int, kept: Turn
) -> list[str]:
    """The responses that are there: `Respond` for a model whose responses are complete."""
    return [text for row in rows if (text := kept.get(row)) is not None]


def _sampled(
    suite: Suite, evaluated: EvaluatedModel, batch: PromptBatch, seed: int
) -> list[SampledResponse]:
    """A response to each row of the batch."""
    chat = evaluated.chat
    generated = generate(
        evaluated.model,
        batch,
        max_new_tokens=suite.max_completion_length,
        temperature=suite.temperature,
        eos_token_ids=chat.eos_token_ids,
        pad_token_id=chat.pad_token_id,
        seed=(seed + int(hash_text(suite.name)[:8], 16)) % (1 << 32),
        iteration=0,
    )
    return as_responses(chat, generated)


def _check_room(
    suite: Suite, evaluated: EvaluatedModel, prompts: Sequence[Prompt], lengths: Sequence[int]
) -> None:
    """Check that responses fit behind their prompts, where the model has a table of positions."""
    limit = evaluated.chat.max_positions
    for prompt, length in zip(prompts, lengths, strict=True):
        if limit is not None and length + suite.max_completion_length > limit:
            raise DataError(
                f"suite {suite.name}: the prompt {str(prompt)[-80:]!r} has {length} tokens, and "
                f"{evaluated.name} has {limit} positions for it and a response of up to "
                f"{suite.max_completion_length}; shorten it, or max_completion_length.",
                code="too-long",
            )
