"""The alignment tax: loss on text outside the task, in fp32 and with weights of 8 bits."""

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from rlhf.data.collate import right_pad
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.evaluation.bootstrap import ratio
from rlhf.evaluation.results import Result, result_of
from rlhf.models.forward import microbatches

FP32, INT8 = "fp32", "int8"
MAX_TOKENS = 4096  # of one forward


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """One text under one model."""

    nats: float  # sum over its predicted tokens
    tokens: int


def tax_figures(
    model: Any,
    chat: ChatTokenizer,
    texts: Sequence[str],
    *,
    name: str,
    max_length: int,
    seed: int,
    resamples: int,
) -> list[Result]:
    """`text_loss` (nats per token) and `text_perplexity` of the texts, intervals over texts.

    In fp32, and with int8 weights where the model has layers that take them. Losses compare
    between models of one tokenizer.
    """
    encoded = [encode_text(chat, text, max_length) for text in texts]
    encoded = [ids for ids in encoded if len(ids) > 1]
    found: list[Result] = []
    versions = {FP32: model.float(), INT8: as_int8(model)}
    for precision, version in versions.items():
        if version is None or not encoded:
            continue
        losses = text_losses(version, encoded, chat.pad_token_id)
        estimate = ratio(
            [loss.nats for loss in losses],
            [float(loss.tokens) for loss in losses],
            seed=seed,
            resamples=resamples,
        )
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
        found += [loss, perplexity]
    return found


def as_int8(model: Any) -> Any | None:
    """A copy with dynamically quantised linear layers, on the CPU; None where there is none.

    Weights are rounded to 8 bits once, activations as they come (torch's quantize_dynamic).
    GPT-2's layers are no nn.Linear and stay as they are.
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
