"""Log-probs of whole responses: a language model as one module with one forward."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.data.collate import left_pad, right_pad
from rlhf.data.tokenization.policy_rows import TokenResponse
from rlhf.models.cpu_kernels.attention import reads_packed_rows
from rlhf.models.forward import policy_logprobs
from rlhf.models.microbatches import microbatches
from rlhf.models.scorer import token_budget
from rlhf.models.sequences import as_sequences, find_shared_prompts
from rlhf.runtime.progress import progress

ROWS_AT_ONCE = 64  # of a pass without gradients, between two moves of the progress bar


@dataclass(frozen=True, kw_only=True)
class ResponseBatch:
    """Prompts and responses as tensors."""

    prompt_ids: Tensor  # long [B, P], padded on the left
    prompt_mask: Tensor  # bool [B, P]
    response_ids: Tensor  # long [B, R], padded on the right
    response_mask: Tensor  # bool [B, R]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arguments of `ResponseLogprobs`."""
        return self.prompt_ids, self.prompt_mask, self.response_ids, self.response_mask


def response_batch(rows: Sequence[TokenResponse], device: torch.device) -> ResponseBatch:
    """Rows as tensors on a device. Padding is 0; the masks come from lengths."""
    prompt_ids, prompt_mask = left_pad([row.prompt_ids for row in rows], 0)
    response_ids, response_mask = right_pad([row.response_ids for row in rows], 0)
    return ResponseBatch(
        prompt_ids=prompt_ids.to(device),
        prompt_mask=prompt_mask.to(device),
        response_ids=response_ids.to(device),
        response_mask=response_mask.to(device),
    )


class ResponseLogprobs(nn.Module):
    """A language model as one module that DDP can wrap.

    Rows of similar length go through the model together, and responses to one prompt share it
    where the model reads packed rows. In training the model runs under bf16 autocast if `bf16` is
    set; in evaluation it never does: rounded weights would hide small changes.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, *, bf16: bool) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self.packs = reads_packed_rows(model.modules())
        self.in_one_pass = False  # in training: all rows in one pass, however many

    def forward(
        self, prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor
    ) -> Tensor:
        """Sums of the log-probs of the response tokens in nats, float32 [B].

        Args:
            prompt_ids: long [B, P], padded on the left.
            prompt_mask: bool [B, P].
            response_ids: long [B, R], padded on the right.
            response_mask: bool [B, R].
        """
        device = prompt_ids.device
        lengths = prompt_mask.sum(1) + response_mask.sum(1)
        shared = find_shared_prompts(prompt_ids, prompt_mask) if self.packs else None
        groups = microbatches(lengths, token_budget(device), shared)
        if self.in_one_pass and self.training:
            groups = [torch.cat(groups)]
        parts = []
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16 and self.training):
            for rows in groups:
                sequences = as_sequences(
                    prompt_ids[rows],
                    prompt_mask[rows],
                    response_ids[rows],
                    response_mask[rows],
                    packed=shared is not None,
                )
                logprobs = policy_logprobs(self.model, sequences, temperature=1.0)
                parts.append(logprobs.sum(1))
        return torch.cat(parts)[torch.cat(groups).argsort()]


class KnownLogprobs:
    """Log-probs of responses; a response is read once until `forget`.

    Args:
        module: the model.
        training: whether to read as in training, in bf16 where that computes in it.
    """

    def __init__(self, module: ResponseLogprobs, *, training: bool) -> None:
        self.module, self.training = module, training
        self._known: dict[TokenResponse, float] = {}

    def forget(self) -> None:
        """Forget all log-probs: the weights change."""
        self._known = {}

    def copy(self) -> dict[TokenResponse, float]:
        """The log-probs that are known now."""
        return dict(self._known)

    def read_together(self, rows: Sequence[TokenResponse], *, title: str) -> Tensor:
        """Log-probs in nats, float32 [N], read by all processes, on which the rows are equal.

        title: of the responses, for the progress bar.
        """
        state = PartialState()
        unknown = sorted({row for row in rows if row not in self._known}, key=_order)
        size = -(-len(unknown) // state.num_processes)
        share = unknown[state.process_index * size :][:size]
        with progress(f"read {title}", len(share)) as advance:
            values = dict(_read(self.module, share, advance, training=self.training))
        for known in gather_object([values]):
            self._known |= known
        return torch.tensor([self._known[row] for row in rows], dtype=torch.float32)


@torch.no_grad()
def _read(
    module: ResponseLogprobs,
    rows: Sequence[TokenResponse],
    advance: Callable[[int], None],
    *,
    training: bool,
) -> Iterator[tuple[TokenResponse, float]]:
    """Each row with its log-prob, without a gradient."""
    before = module.training
    module.train(training)
    device = next(module.parameters()).device
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start:][:ROWS_AT_ONCE]
        values = module(*response_batch(part, device).tensors)
        yield from zip(part, values.tolist(), strict=True)
        advance(len(part))
    module.train(before)


def _order(row: TokenResponse) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Responses to one prompt are neighbours."""
    return row.prompt_ids, row.response_ids
