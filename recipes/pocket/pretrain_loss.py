"""The loss of the next token, and what it says of the model: which answers it finds likelier."""

from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.pocket.world.documents import MAKERS

NEWLINE = "Ċ"  # as byte-level vocabularies write it


def next_token_losses(model: LlamaForCausalLM, ids: Tensor, *, bf16: bool) -> Tensor:
    """fp32 [B, T-1]: the cross entropy of every token but the first, in nats; 0 at padding.

    Rows are padded on the right, so that causality alone keeps padding out of what is read.
    """
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
        logits = model(input_ids=ids).logits[:, :-1]
    assert model.config.pad_token_id is not None  # build_model sets it
    flat = functional.cross_entropy(
        logits.float().flatten(0, 1),
        ids[:, 1:].flatten(),
        reduction="none",
        ignore_index=model.config.pad_token_id,
    )
    return flat.view(ids.shape[0], -1)


def mean_next_token_loss(model: LlamaForCausalLM, ids: Tensor, *, bf16: bool) -> Tensor:
    """The mean of `next_token_losses` over all tokens but padding; compiled as one function."""
    kept = torch.ne(ids[:, 1:], model.config.pad_token_id or 0).sum()
    return next_token_losses(model, ids, bf16=bf16).sum() / kept


@torch.no_grad()
def answer_logprob(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, answers: list[str]
) -> list[float]:
    """The log-probability of each answer, its EOS included, on the line after the prompt."""
    # The newline by its id: encoded at the end of a text it would take the next line's space along.
    start = [*tokenizer(prompt)["input_ids"], tokenizer.convert_tokens_to_ids(NEWLINE)]
    sums = []
    for answer in answers:
        ids = torch.tensor([start + tokenizer(answer)["input_ids"]])
        losses = next_token_losses(model, ids.to(model.device), bf16=False)
        sums.append(-losses[0, len(start) - 1 :].sum().item())
    return sums


def preferred(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, items: int = 25
) -> dict[str, float]:
    """How often the model finds the right answer likelier than the wrong one, by category."""
    rng, shares = Random("held-out items"), {}
    for make in MAKERS:
        wins = 0
        for item in (make(rng) for _ in range(items)):
            right, wrong = answer_logprob(model, tokenizer, item.prompt, [item.right, item.wrong])
            wins += right > wrong
        shares[f"preferred/{make.__name__.removesuffix('_item')}"] = wins / items
    return shares
