"""Sample responses from a model and measure its KL from the reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.kl import sequence_kl
from rlhf.evaluation.core.record_journal import RecordJournal
from rlhf.evaluation.core.records import Record
from rlhf.manifest import hash_text
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.decoder import Generated
from rlhf.models.generation.generate import as_responses, prompt_batch
from rlhf.models.load import load_policy, on_device
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.rollouts.engine import RolloutEngine, Sampling
from rlhf.rollouts.native import NativeEngine
from rlhf.types import PromptBatch, PromptRow


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model with its tokenizer."""

    name: str
    model: PreTrainedModel  # in evaluation mode
    chat: ChatTokenizer


def load_evaluated_model(
    name: str, path: str, config: EvaluateConfig, device: torch.device
) -> EvaluatedModel:
    """The model in evaluation mode on `device`.

    Raises:
        CheckpointError: there is no model, or its tokenizer is larger than the model.
    """
    chat = tokenizer_of_model(path, config.chat_template, template_kwargs=config.template_kwargs)
    return load_policy_model(name, path, chat, device=device, bf16=config.bf16)


def load_policy_model(
    name: str, path: str, chat: ChatTokenizer, *, device: torch.device, bf16: bool
) -> EvaluatedModel:
    """The model at `path` in evaluation mode on `device`, with its tokenizer.

    Raises:
        CheckpointError: there is no model.
    """
    model = load_policy(path, dtype=torch.bfloat16 if bf16 else torch.float32)
    return EvaluatedModel(name=name, model=on_device(model, device), chat=chat)


def sample_records(
    evaluated: EvaluatedModel,
    reference: EvaluatedModel | None,
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    config: EvaluateConfig,
    seed: int,
    engine: RolloutEngine | None = None,
    journal: RecordJournal | None = None,
) -> list[Record]:
    """`num_generations` responses of the model to each of `rows[i] for i in indices`.

    The random numbers of a response depend only on the seed, the model's name, the row and the
    sample, not on the batch size and the number of processes (but see `ContinuousEngine`). Models
    have different names, so they are sampled independently of each other.

    Args:
        evaluated: the model to sample from.
        reference: the model that KL and loss are measured with. Without one, or if it has another
            vocabulary, both are None; its KL from itself is None too.
        rows: the evaluated prompts.
        indices: the rows to sample responses for.
        config: sampling parameters.
        seed: of the evaluation.
        engine: samples, with the model's weights; default: rlhf's decoder.
        journal: batches of records that it has are not sampled, and the others are added to it.
    """
    if engine is None:
        engine = NativeEngine()
        engine.update_weights(evaluated.model)
    comparable = reference if reference and same_vocabulary(evaluated, reference) else None
    records: list[Record] = []
    for encoded in _batches(evaluated.chat, rows, indices, config):
        chosen = list(encoded)
        kept = journal.of_prompts(evaluated.name, chosen) if journal else None
        if kept is None:
            batch = prompt_batch(
                list(encoded.values()),
                [rows[i].prompt for i in chosen],
                prompt_indices=chosen,
                num_responses=config.num_generations,
                pad_token_id=evaluated.chat.pad_token_id,
                device=evaluated.model.device,
            )
            kept = _sample_batch(evaluated, comparable, engine, batch, chosen, config, seed)
            if journal:
                journal.add(kept)
        records += kept
    return records


def kept_records(
    journal: RecordJournal,
    name: str,
    chat: ChatTokenizer,
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    config: EvaluateConfig,
) -> list[Record]:
    """What `sample_records` returns if the journal has all of it, in the same order.

    The order decides which texts a reward model reads together, and so the last bits of its scores.
    """
    batches = _batches(chat, rows, indices, config)
    return [record for each in batches for record in journal.of_prompts(name, list(each)) or ()]


def _batches(
    chat: ChatTokenizer,
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    config: EvaluateConfig,
) -> Iterator[dict[int, list[int]]]:
    """Batches of prompts of similar length: the token ids of each by its index."""
    encoded = {i: prompt_ids(chat, rows[i].prompt, rows[i].tools) for i in indices}
    by_length = sorted(indices, key=lambda i: (len(encoded[i]), i))
    step = max(1, config.per_device_eval_batch_size // config.num_generations)
    for start in range(0, len(by_length), step):
        yield {i: encoded[i] for i in by_length[start : start + step]}


def same_vocabulary(first: EvaluatedModel, second: EvaluatedModel) -> bool:
    """Whether ids mean the same tokens for both models, and both have as many logits."""
    sizes = [side.model.config.get_text_config().vocab_size for side in (first, second)]
    tokens = [side.chat.tokenizer.get_vocab() for side in (first, second)]
    return bool(sizes[0] == sizes[1] and tokens[0] == tokens[1])


def _sample_batch(
    evaluated: EvaluatedModel,
    reference: EvaluatedModel | None,
    engine: RolloutEngine,
    batch: PromptBatch,
    chosen: Sequence[int],
    config: EvaluateConfig,
    seed: int,
) -> list[Record]:
    generated = engine.generate(
        batch,
        Sampling(
            max_new_tokens=config.max_completion_length,
            temperature=config.temperature,
            eos_token_ids=evaluated.chat.eos_token_ids,
            pad_token_id=evaluated.chat.pad_token_id,
            seed=seed + int(hash_text(evaluated.name)[:8], 16),
            iteration=0,
        ),
    )
    kl: list[float] | list[None] = [None] * len(generated.ended_with_eos)
    nll: list[float] | list[None] = [None] * len(generated.ended_with_eos)
    if reference is not None:
        # The loss is at temperature 1, whatever temperature the responses were sampled at.
        nll = (-_reference_logprobs(reference, batch, generated).double().sum(1)).tolist()
    if reference is not None and reference is not evaluated:
        kl = sequence_kl(
            evaluated.model,
            reference.model,
            batch,
            generated.response_ids,
            generated.response_mask,
            temperature=config.temperature,
        ).tolist()
    return [
        Record(
            prompt_index=chosen[row // config.num_generations],
            sample=row % config.num_generations,
            model=evaluated.name,
            text=response.text,
            thought=response.thought,
            num_tokens=len(response.ids),
            thought_tokens=response.thought_tokens,
            ended_with_eos=response.ended_with_eos,
            kl=kl[row],
            reference_nll=nll[row],
        )
        for row, response in enumerate(as_responses(evaluated.chat, generated))
    ]


def _reference_logprobs(
    reference: EvaluatedModel, batch: PromptBatch, generated: Generated
) -> Tensor:
    """Float [B, R], of the sampled tokens under the reference at temperature 1."""
    return response_logprobs(
        reference.model, batch, generated.response_ids, generated.response_mask, temperature=1.0
    )
