"""A reward model's forward pass: one number per response and head, without padding."""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.data.collate import right_pad
from rlhf.models.cpu_kernels.attention import reads_packed_rows
from rlhf.models.microbatches import microbatches
from rlhf.models.packed_rows import pack_rows
from rlhf.models.protocols import evaluation_mode
from rlhf.models.save import inner_model
from rlhf.models.sequences import find_shared_beginnings
from rlhf.models.shared_prefix import can_share_prefixes, last_states, prefix_groups

# Tokens of one forward pass within a batch: on a CPU less padding saves more than a large matrix
# gains; a GPU is faster with few large ones.
TOKENS_ON_CPU, TOKENS_ON_GPU = 1024, 32768


class Scorer(nn.Module):
    """The reward model as one module with one forward, so that DDP can wrap it.

    Rows are right-padded and read without an attention mask: the trunk is causal, and padding after
    a response cannot change it. In training the trunk runs under bf16 autocast if `bf16` is set;
    the head never does, since 8 bits of mantissa would round a reward of 4 to steps of 1/64. In
    evaluation everything runs as in plain transformers.

    In training rows are packed where the model reads packed rows: responses to one prompt share it.

    heads: float [H, D], read in place of the model's own head.
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, *, bf16: bool, heads: Tensor | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self.heads = heads
        self.packs = reads_packed_rows(model.modules())
        self.in_one_pass = False  # in training: all rows in one pass, however many

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Raw logits, float32 [B, heads]; ids: long [B, T] right-padded, lengths: long [B]."""
        packs = self.packs and self.training
        shared = find_shared_beginnings(ids, lengths) if packs else None
        groups = microbatches(lengths, token_budget(ids.device), shared)
        if self.in_one_pass and self.training:
            groups = [torch.cat(groups)]
        autocast = self.bf16 and self.training
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=autocast):
            last = [self._last_states(ids[rows], lengths[rows], packs=packs) for rows in groups]
        return self.at_states(torch.cat(last)[torch.cat(groups).argsort()])

    def _last_states(self, ids: Tensor, lengths: Tensor, *, packs: bool) -> Tensor:
        """The hidden states [B, D] at the last tokens of rows."""
        ids = ids[:, : int(lengths.max())]
        rows = torch.arange(len(ids), device=ids.device)
        packed = pack_rows(ids, lengths) if packs else None
        trunk = inner_model(self.model).base_model
        if packed is None:
            return trunk(input_ids=ids, use_cache=False).last_hidden_state[rows, lengths - 1]  # type: ignore[no-any-return]
        hidden = trunk(**packed.inputs, use_cache=False).last_hidden_state[0]
        return hidden[packed.places[rows, lengths - 1]]  # type: ignore[no-any-return]

    def at_states(self, last: Tensor) -> Tensor:
        """Raw logits, float32 [B, heads], at the hidden states [B, D] of the last tokens."""
        with torch.autocast(last.device.type, enabled=False):
            head = cast(nn.Linear, inner_model(self.model).score)
            # `weight` is the trained head's in peft's wrapper too; its first parameter is not.
            last = last.to(head.weight.dtype)
            heads = self.heads
            scores: Tensor = head(last) if heads is None else last @ heads.to(last).T
        return scores.float()


def as_batch(
    rows: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The arguments of `Scorer`: ids [B, T] and lengths [B]."""
    ids, mask = right_pad(rows, pad_token_id)
    return ids.to(device), mask.sum(1).to(device)


def score_ids(scorer: Scorer, rows: Sequence[Sequence[int]], pad_token_id: int) -> Tensor:
    """Raw logits of responses in evaluation mode, float32 [N] on the CPU; the mean of the heads."""
    return head_scores(scorer, rows, pad_token_id).mean(dim=1)


@torch.no_grad()
def head_scores(
    scorer: Scorer,
    rows: Sequence[Sequence[int]],
    pad_token_id: int,
    *,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """Raw logits of every head, in evaluation mode: float32 [N, heads] on the CPU.

    Args:
        scorer: the reward model.
        rows: N; read in batches of similar length. On a CPU a large model reads the common
            beginning of rows once.
        pad_token_id: fills rows on the right.
        on_rows: called with the number of rows of each batch after it.
    """
    device = next(scorer.parameters()).device
    read: list[int] = []
    scores: list[Tensor] = []
    with evaluation_mode(scorer):
        for group, batch_scores in _batches(scorer, rows, pad_token_id, device):
            read += group
            scores.append(batch_scores.cpu())
            on_rows(len(group))
    return torch.cat(scores)[torch.tensor(read).argsort()] if scores else torch.zeros(0, 1)


def _batches(
    scorer: Scorer, rows: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """Indices of rows and their logits [b, heads], batch after batch."""
    model = inner_model(scorer.model)
    left = set(range(len(rows)))
    if can_share_prefixes(model):
        for group, prefix in prefix_groups(rows, model.num_parameters()):
            states = last_states(model, [rows[row] for row in group], prefix)
            left -= set(group)
            yield group, scorer.at_states(states)
    others = sorted(left)
    lengths = torch.tensor([len(rows[row]) for row in others], dtype=torch.long)
    for places in microbatches(lengths, token_budget(device)):
        group = [others[place] for place in places.tolist()]
        yield group, scorer(*as_batch([rows[row] for row in group], pad_token_id, device))


def token_budget(device: torch.device) -> int:
    """Tokens of one forward pass within a batch, on this device."""
    return TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU
