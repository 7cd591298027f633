"""A reward model's forward pass: one number per response and head, without padding."""

from collections.abc import Sequence
from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.data.collate import right_pad
from rlhf.models.forward import microbatches
from rlhf.models.save import inner_model

# Tokens of one forward pass within a batch: on a CPU less padding saves more than a large matrix
# gains; a GPU is faster with few large ones.
TOKENS_ON_CPU, TOKENS_ON_GPU = 1024, 32768


class Scorer(nn.Module):
    """The reward model as one module with one forward, so that DDP can wrap it.

    Rows are right-padded and read without an attention mask: the trunk is causal, and padding after
    a response cannot change it. In training the trunk runs under bf16 autocast if `bf16` is set;
    the head never does, since 8 bits of mantissa would round a reward of 4 to steps of 1/64. In
    evaluation everything runs as in plain transformers.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, *, bf16: bool) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Raw logits, float32 [B, heads]; ids: long [B, T] right-padded, lengths: long [B]."""
        budget = TOKENS_ON_CPU if ids.device.type == "cpu" else TOKENS_ON_GPU
        groups = microbatches(lengths, budget)
        scores = [
            self._scores(ids[rows, : int(lengths[rows].max())], lengths[rows]) for rows in groups
        ]
        return torch.cat(scores)[torch.cat(groups).argsort()]

    def _scores(self, ids: Tensor, lengths: Tensor) -> Tensor:
        model = inner_model(self.model)
        autocast = self.bf16 and self.training
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=autocast):
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(ids), device=ids.device), lengths - 1]
        with torch.autocast(ids.device.type, enabled=False):
            head = cast(nn.Linear, model.score)
            # `weight` is the trained head's in peft's wrapper too; its first parameter is not.
            scores: Tensor = head(last.to(head.weight.dtype))
        return scores.float()


def as_batch(
    rows: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The arguments of `Scorer`: ids [B, T] and lengths [B]."""
    ids, mask = right_pad(rows, pad_token_id)
    return ids.to(device), mask.sum(1).to(device)


def score_ids(
    scorer: Scorer, rows: Sequence[Sequence[int]], pad_token_id: int, *, batch_size: int = 256
) -> Tensor:
    """Raw logits of responses in evaluation mode, float32 [N] on the CPU; the mean of the heads."""
    return head_scores(scorer, rows, pad_token_id, batch_size=batch_size).mean(dim=1)


@torch.no_grad()
def head_scores(
    scorer: Scorer, rows: Sequence[Sequence[int]], pad_token_id: int, *, batch_size: int = 256
) -> Tensor:
    """Raw logits of every head, in evaluation mode: float32 [N, heads] on the CPU."""
    training, device = scorer.training, next(scorer.parameters()).device
    scorer.eval()
    scores = [
        scorer(*as_batch(rows[start : start + batch_size], pad_token_id, device)).cpu()
        for start in range(0, len(rows), batch_size)
    ]
    scorer.train(training)
    return torch.cat(scores) if scores else torch.zeros(0, 1)
