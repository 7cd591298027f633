"""Whether a model ends its responses: P(end) on held-out ones, and untrained end tokens."""

from collections.abc import Sequence
from itertools import islice

import torch

from rlhf.data.tokenization.chat import Encoded
from rlhf.data.tokenization.texts import sft_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.protocols import CausalLM, evaluation_mode
from rlhf.types import SFTRow

MAX_ROWS = 128
LOW = 0.1  # below it nearly no response ends: the token is practically untrained
# An embedding that pretraining never changed keeps its initial scale, or is 0.
UNTRAINED = 0.2  # of the median norm


@torch.no_grad()
def end_probability(
    model: CausalLM,
    chat: ChatTokenizer,
    rows: Sequence[SFTRow],
    max_length: int | None = None,
) -> float | None:
    """Mean probability of the end token at the end of the first rows, in [0, 1].

    A response that was cut off has no end; None if no row has one.

    It is near 0 for a base model whose end token was never trained; its samples reach the length
    limit. Call it on one process, with the full model.

    max_length: the most tokens of a part of a text.
    """
    parts = (_up_to_end(chat, sft_examples(chat, row, max_length)[-1]) for row in rows)
    ends = list(islice(filter(None, parts), MAX_ROWS))
    if not ends:
        return None
    with evaluation_mode(model):
        return float(_end_logprobs(model, chat, ends).exp().mean())


def end_warnings(probability: float, config: ModelConfig, chat: ChatTokenizer) -> list[str]:
    """A warning if the model would rarely end its responses, with the next step."""
    if probability >= LOW:
        return []
    end = chat.tokenizer.convert_ids_to_tokens(chat.end_token_id)
    return [
        f"warning: the end token {end!r} has probability {probability:.2f} at the end of held-out "
        f"responses, so samples will reach the length limit; {_help(config)}"
    ]


def untrained_end_warnings(model: CausalLM, config: ModelConfig, chat: ChatTokenizer) -> list[str]:
    """A warning if LoRA leaves an end token frozen that the base model never learned.

    It is detected from the output embedding: pretraining gives the rows of all seen tokens similar
    norms; the row of a reserved token keeps a much smaller norm.
    """
    if not config.use_peft or config.lora_modules_to_save:
        return []
    norms = model.get_output_embeddings().weight.detach().float().norm(dim=1)
    if norms[chat.end_token_id] >= UNTRAINED * norms.median():
        return []
    end = chat.tokenizer.convert_ids_to_tokens(chat.end_token_id)
    return [
        f"warning: the base model never learned its end token {end!r}, and LoRA leaves its "
        f"embedding frozen; {_help(config)}"
    ]


def _help(config: ModelConfig) -> str:
    if config.use_peft and not config.lora_modules_to_save:
        return "set lora_modules_to_save: [embed_tokens, lm_head], which trains it too."
    return "train longer, or with a higher learning_rate."


def _up_to_end(chat: ChatTokenizer, example: Encoded) -> list[int]:
    """The ids before the last trained one; [] if that is no end token: the response was cut off."""
    last = max(index for index, trained in enumerate(example.trained) if trained)
    return example.ids[:last] if example.ids[last] in chat.eos_token_ids else []


def _end_logprobs(model: CausalLM, chat: ChatTokenizer, rows: Sequence[list[int]]) -> torch.Tensor:
    """Log-prob of the end token after each row of ids, float [B]."""
    batch = prompt_batch(
        rows,
        ["" for _ in rows],
        prompt_indices=range(len(rows)),
        num_responses=1,
        pad_token_id=chat.pad_token_id,
        device=model.device,
    )
    ends = torch.full((len(rows), 1), chat.end_token_id, device=model.device)
    mask = torch.ones_like(ends, dtype=torch.bool)
    return response_logprobs(model, batch, ends, mask, temperature=1.0)[:, 0].cpu()
