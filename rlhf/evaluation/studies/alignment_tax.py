"""The alignment tax: loss on text outside the task, in fp32 and with weights of 8 bits."""

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from rlhf.data.collate import right_pad
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.stats.bootstrap import Estimate, ratio
from rlhf.models.forward import microbatches

FP32, INT8 = "fp32", "int8"
INCREASE = "text_loss_increase"
MAX_TOKENS = 4096  # of one forward


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """One text under one model."""

    nats: float  # sum over its predicted tokens
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Tax:
    """One model's losses on the same texts, by precision of its weights."""

    name: str
    encoded: Sequence[list[int]]  # token ids of each text
    losses: Mapping[str, Sequence[TextLoss]]  # fp32, and int8 where it has layers that take it
    int8_share: float  # of its weights, that int8 means: the rest stayed in fp32


def measure_tax(
    model: Any, chat: ChatTokenizer, texts: Sequence[str], *, name: str, max_length: int
) -> Tax:
    """The model's losses on the texts' first `max_length` tokens; without those of one token."""
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
    """Loss (nats per token) and perplexity of each model, and what the models and int8 add.

    `text_loss_increase` with a baseline is the alignment tax, the loss over the baseline's;
    without one, of int8 over fp32. Both are of the same texts, paired, so that their intervals
    are far narrower than those of the losses. Models of other tokens than the baseline's have no
    tax: losses compare between models of one tokenizer.
    """
    how = {"seed": seed, "resamples": resamples}
    theirs = next((tax for tax in taxes if tax.name == baseline and tax.losses), None)
    found: list[Result] = []
    for tax in taxes:
        for precision, losses in tax.losses.items():
            found += _level(tax.name, losses, precision, how)
        if INT8 in tax.losses:
            more = _increase(tax.losses[INT8], tax.losses[FP32], how)
            found.append(result_of(more, INCREASE, tax.name, precision=INT8))
        if theirs and tax is not theirs and tax.losses and tax.encoded == theirs.encoded:
            more = _increase(tax.losses[FP32], theirs.losses[FP32], how)
            found.append(result_of(more, INCREASE, tax.name, baseline=baseline, precision=FP32))
    return found


def _level(
    name: str, losses: Sequence[TextLoss], precision: str, how: Mapping[str, int]
) -> list[Result]:
    estimate = ratio([loss.nats for loss in losses], [float(loss.tokens) for loss in losses], **how)
    loss = result_of(estimate, "text_loss", name, precision=precision)
    # exp() of the interval's ends: it is monotone, so the shares outside stay as they are.
    perplexity = replace(
        loss,
        metric="text_perplexity",
        value=math.exp(loss.value),
        low=math.exp(loss.low),
        high=math.exp(loss.high),
        se=None,
    )
    return [loss, perplexity]


def _increase(
    ours: Sequence[TextLoss], theirs: Sequence[TextLoss], how: Mapping[str, int]
) -> Estimate:
    """Nats per token that ours are above theirs, text by text."""
    nats = [a.nats - b.nats for a, b in zip(ours, theirs, strict=True)]
    return ratio(nats, [float(loss.tokens) for loss in ours], **how)


def int8_share(model: Any) -> float:
    """Share of the model's weights that `as_int8` rounds, those of a tied head among them."""
    every = {id(p): p.numel() for p in model.parameters()}
    rounded = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if type(module) is nn.Linear
    }
    share: float = sum(rounded.values()) / max(1, sum((every | rounded).values()))
    return share


def as_int8(model: Any) -> Any | None:
    """A copy with dynamically quantised linear layers, on the CPU; None where there is none.

    Weights are rounded to 8 bits once, activations as they come, with one scale for a whole
    microbatch (torch's quantize_dynamic).
    GPT-2's layers are no nn.Linear and stay as they are, all but the head: `int8_share` says what
    share of the weights is meant.
    """
    if not any(type(module) is nn.Linear for module in model.modules()):
        return None
    copied = copy.deepcopy(model).float().cpu()
    quantize: Any = quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch means to move it to another package
        return quantize(copied, {nn.Linear}, dtype=torch.qint8)


def encode_text(chat: ChatTokenizer, text: str, max_length: int) -> list[int]:
    """The text's first `max_length` tokens as plain text, behind the tokenizer's own start."""
    ids: list[int] = chat.tokenizer(text)["input_ids"]
    return ids[:max_length]


@torch.no_grad()
def text_losses(model: Any, encoded: Sequence[list[int]], pad_token_id: int) -> list[TextLoss]:
    """-sum log P(token | tokens before it) of each text, the first token given."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    lengths = torch.tensor([len(ids) for ids in encoded])
    losses: list[TextLoss] = [TextLoss(nats=0.0, tokens=0)] * len(encoded)
    for group in microbatches(lengths, MAX_TOKENS):
        rows = group.tolist()
        ids, mask = right_pad([encoded[row] for row in rows], pad_token_id)
        ids, mask = ids.to(device), mask.to(device)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        each = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
        nats = -torch.where(mask[:, 1:], each, 0.0).double().sum(1)
        for row, value in zip(rows, nats.tolist(), strict=True):
            losses[row] = TextLoss(nats=value, tokens=len(encoded[row]) - 1)
    return losses
