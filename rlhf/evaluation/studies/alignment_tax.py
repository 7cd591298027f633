"""The alignment tax: loss on text outside the task, with fp32 and with int8 weights."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from rlhf.data.collate import right_pad
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.stats.bootstrap import Estimate, ratio
from rlhf.models.microbatches import microbatches

FP32, INT8 = "fp32", "int8"
INCREASE = "text_loss_increase"
MAX_TOKENS = 4096  # of one forward pass


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """The loss of one text under one model."""

    nats: float  # sum over its predicted tokens
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Tax:
    """One model's losses on the same texts, by precision of its weights."""

    name: str
    encoded: Sequence[list[int]]  # token ids of each text
    losses: Mapping[str, Sequence[TextLoss]]  # fp32, and int8 if it has linear layers
    int8_share: float  # of its weights that are rounded to int8; the rest stays fp32


def measure_tax(
    model: nn.Module, chat: ChatTokenizer, texts: Sequence[str], *, name: str, max_length: int
) -> Tax:
    """The model's losses on the first `max_length` tokens of each text of two tokens or more.

    Args:
        model: a causal language model.
        chat: its tokenizer.
        texts: plain texts.
        name: of the model in the results.
        max_length: tokens of a text; the rest is cut off.
    """
    encoded = [encode_text(chat, text, max_length) for text in texts]
    encoded = [ids for ids in encoded if len(ids) > 1]
    versions = {FP32: model.float(), INT8: as_int8(model)}
    losses = {
        precision: text_losses(version, encoded, chat.pad_token_id)
        for precision, version in versions.items()
        if version is not None and encoded
    }
    return Tax(name=name, encoded=encoded, losses=losses, int8_share=int8_share(model))


def alignment_tax_metrics(
    taxes: Sequence[Tax], *, baseline: str, seed: int, resamples: int
) -> list[Result]:
    """Loss (nats per token) and perplexity of each model, and their increases.

    `text_loss_increase` with a baseline is the alignment tax, the increase over the baseline's
    loss; without one it is the increase of int8 over fp32. Both are paired by text, so their
    intervals are far narrower than those of the losses. A model whose tokens differ from the
    baseline's has no tax: losses are only comparable with the same tokenizer.
    """
    options = {"seed": seed, "resamples": resamples}
    base = next((tax for tax in taxes if tax.name == baseline and tax.losses), None)
    results: list[Result] = []
    for tax in taxes:
        for precision, losses in tax.losses.items():
            results += _loss_and_perplexity(tax.name, losses, precision, options)
        if INT8 in tax.losses:
            increase = _increase(tax.losses[INT8], tax.losses[FP32], options)
            results.append(result_of(increase, INCREASE, tax.name, precision=INT8))
        if base and tax is not base and tax.losses and tax.encoded == base.encoded:
            increase = _increase(tax.losses[FP32], base.losses[FP32], options)
            results.append(
                result_of(increase, INCREASE, tax.name, baseline=baseline, precision=FP32)
            )
    return results


def _loss_and_perplexity(
    name: str, losses: Sequence[TextLoss], precision: str, options: Mapping[str, int]
) -> list[Result]:
    tokens = [float(loss.tokens) for loss in losses]
    estimate = ratio([loss.nats for loss in losses], tokens, **options)
    # exp() is monotone, so it maps the ends of the interval too.
    perplexity = replace(
        estimate,
        value=math.exp(estimate.value),
        low=math.exp(estimate.low),
        high=math.exp(estimate.high),
        se=None,
    )
    return [
        result_of(estimate, "text_loss", name, precision=precision),
        result_of(perplexity, "text_perplexity", name, precision=precision),
    ]


def _increase(
    losses: Sequence[TextLoss], base_losses: Sequence[TextLoss], options: Mapping[str, int]
) -> Estimate:
    """Increase of the loss over the base losses in nats per token, paired by text."""
    nats = [a.nats - b.nats for a, b in zip(losses, base_losses, strict=True)]
    return ratio(nats, [float(loss.tokens) for loss in losses], **options)


def int8_share(model: nn.Module) -> float:
    """Share of the model's weights that `as_int8` rounds, including those of a tied head."""
    all_weights = {id(p): p.numel() for p in model.parameters()}
    rounded = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if type(module) is nn.Linear
    }
    share: float = sum(rounded.values()) / max(1, sum((all_weights | rounded).values()))
    return share


def as_int8(model: nn.Module) -> nn.Module | None:
    """A copy with dynamically quantised linear layers, on the CPU; None without linear layers.

    Weights are rounded to 8 bits once, activations at each call, with one scale per microbatch
    (torch's quantize_dynamic). The layers of GPT-2 except for its head are not nn.Linear and stay
    unchanged; `int8_share` is the share of the weights that is rounded.
    """
    if not any(type(module) is nn.Linear for module in model.modules()):
        return None
    copied = copy.deepcopy(model).float().cpu()
    quantize: Callable[..., nn.Module] = quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch will move it to another package
        return quantize(copied, {nn.Linear}, dtype=torch.qint8)


def encode_text(chat: ChatTokenizer, text: str, max_length: int) -> list[int]:
    """The first `max_length` token ids of the text, BOS included if the tokenizer adds it."""
    ids: list[int] = chat.tokenizer(text)["input_ids"]
    return ids[:max_length]


@torch.no_grad()
def text_losses(
    model: nn.Module, encoded: Sequence[list[int]], pad_token_id: int
) -> list[TextLoss]:
    """-sum log P(token | tokens before it) of each text, from the second token on."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    lengths = torch.tensor([len(ids) for ids in encoded])
    losses: list[TextLoss] = [TextLoss(nats=0.0, tokens=0)] * len(encoded)
    for group in microbatches(lengths, MAX_TOKENS):
        rows = group.tolist()
        ids, mask = right_pad([encoded[row] for row in rows], pad_token_id)
        ids, mask = ids.to(device), mask.to(device)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        logprobs = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
        nats = -torch.where(mask[:, 1:], logprobs, 0.0).double().sum(1)
        for row, value in zip(rows, nats.tolist(), strict=True):
            losses[row] = TextLoss(nats=value, tokens=len(encoded[row]) - 1)
    return losses
