"""Next-token loss, and how often the model finds the right response more likely."""

from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.pocket.world.documents import MAKERS

NEWLINE = "Ċ"  # as byte-level vocabularies write it


def next_token_losses(model: LlamaForCausalLM, ids: Tensor, *, bf16: bool) -> Tensor:
    """fp32 [B, T-1]: cross entropy of every token except the first, in nats; 0 at padding.

    Rows are padded on the right, so the causal mask alone keeps padding out of the context.
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
    """Mean of `next_token_losses` over all tokens except padding; compiled as one function."""
    num_tokens = torch.ne(ids[:, 1:], model.config.pad_token_id or 0).sum()
    return next_token_losses(model, ids, bf16=bf16).sum() / num_tokens


@torch.no_grad()
def response_logprobs(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, responses: list[str]
) -> list[float]:
    """Log-probability of each response with its EOS, on the line after the prompt."""
    # The newline by its id: at the end of a text it would be encoded with the next line's space.
    prefix = [*tokenizer(prompt)["input_ids"], tokenizer.convert_tokens_to_ids(NEWLINE)]
    sums = []
    for response in responses:
        ids = torch.tensor([prefix + tokenizer(response)["input_ids"]])
        losses = next_token_losses(model, ids.to(model.device), bf16=False)
        sums.append(-losses[0, len(prefix) - 1 :].sum().item())
    return sums


def preference_metrics(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, num_items: int = 25
) -> dict[str, float]:
    """How often the right response is more likely than the wrong one, by category."""
    rng, shares = Random("held-out items"), {}
    for make in MAKERS:
        wins = 0
        for item in (make(rng) for _ in range(num_items)):
            right, wrong = response_logprobs(
                model, tokenizer, item.prompt, [item.right, item.wrong]
            )
            wins += right > wrong
        shares[f"preferred/{make.__name__.removesuffix('_item')}"] = wins / num_items
    return shares
