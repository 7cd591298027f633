"""What the training loop needs of preference optimization: rows, loss, held-out metrics."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rlhf.data.tokenization.policy_rows import TokenResponse
from rlhf.manifest import hash_text
from rlhf.models.response_logprobs import KnownLogprobs, ResponseLogprobs, response_batch
from rlhf.training.common.objective import BatchLoss, HeldOut
from rlhf.training.common.sharded import Sharded, sharded
from rlhf.training.common.sharding import is_sharded
from rlhf.training.dpo.config import LOSS_KEYS
from rlhf.training.dpo.loss import flatten, pair_losses, pair_metrics, pair_values
from rlhf.training.dpo.metrics import PairHealth, measure_pairs
from rlhf.training.dpo.pairs import PromptPairs, prompt_pairs
from rlhf.training.dpo.setup import DPOSetup


class DPOObjective:
    """A policy that is trained on pairs; a row is a prompt with all its responses and pairs.

    The reference is the policy before its first step: its log-probs of all responses are read once,
    here, so that it needs no memory later and no second forward pass per step. Those of rows to
    train on are read as in training, in bf16 where that computes in it: what rounding does to both
    models cancels in the log-ratio. Held-out rows are read in the type of the weights.
    """

    name = "policy"

    def __init__(self, module: ResponseLogprobs, setup: DPOSetup) -> None:
        self.module, self.model, self.setup = module, module.model, setup
        self.sharded: Sharded[ResponseLogprobs] | None = None
        self.rows = prompt_pairs(setup.chat, setup.rows.train)
        self.held_out = prompt_pairs(setup.chat, setup.rows.held_out)
        self.mean_weight = sum(row.weight for row in self.rows) / len(self.rows)
        self.known = KnownLogprobs(module, training=False)
        self.reference: Mapping[TokenResponse, float] = {}
        self.held_out_reference: Mapping[TokenResponse, float] = {}
        if setup.config.needs_reference:
            self._read_reference()

    def _read_reference(self) -> None:
        reading = KnownLogprobs(self.module, training=True)
        reading.read_together(_responses(self.rows), title="training responses by the reference")
        self.reference = reading.copy()
        if self.held_out:
            title = "held-out responses by the reference"
            self.known.read_together(_responses(self.held_out), title=title)
            self.held_out_reference = self.known.copy()

    def shard(self, device: torch.device) -> nn.Module | None:
        """The module in shards, if the launch configuration asks for it."""
        if is_sharded():
            self.sharded = sharded(self.module, device, self.name)
        return self.sharded

    def unshard(self) -> None:
        """Use whole weights from now on."""
        if self.sharded is not None:
            self.module = self.known.module = self.sharded.whole_module()
            self.model = self.module.model

    def identity(self) -> dict[str, object]:
        """Settings of rows and loss that a resumed run has to share."""
        uses, config = self.setup.uses, self.setup.config
        return {
            "data_sha256": uses[0].sha256 if uses else "",
            "pairs of sha256": _hash_pairs(self.rows),
            **{key: getattr(config, key) for key in LOSS_KEYS},
        }

    def start_step(self, rows: Sequence[PromptPairs]) -> None:
        """Nothing: the loss of a prompt does not depend on others."""

    def loss(self, module: nn.Module, rows: Sequence[PromptPairs]) -> BatchLoss:
        """The weighted sum over the pairs of all rows, from one forward pass."""
        device = next(self.module.parameters()).device
        flat = flatten(rows).to(device)
        logprobs: Tensor = module(*response_batch(flat.responses, device).tensors)
        values = pair_values(flat, logprobs, self._ref_logprobs(flat.responses, device))
        config = self.setup.config
        metrics = pair_metrics(flat, values, config)
        return BatchLoss(
            loss=(flat.weights * pair_losses(flat, values, config)).sum(),
            weight=sum(row.weight for row in rows),
            sums={name: (flat.weights * column).sum() for name, column in metrics.items()},
        )

    def _ref_logprobs(
        self, responses: Sequence[TokenResponse], device: torch.device
    ) -> Tensor | None:
        if not self.setup.config.needs_reference:
            return None
        return torch.tensor([self.reference[row] for row in responses], device=device)

    def evaluate(self) -> HeldOut | None:
        """Metrics of held-out pairs, if there are any."""
        health = self.health()
        if health is None:
            return None
        text = f"held-out loss {health.loss:.4f}, accuracy {health.accuracy:.3f}"
        return HeldOut(loss=health.loss, metrics=health.metrics(), text=text)

    def health(self) -> PairHealth | None:
        """How the policy orders held-out pairs now; None without held-out pairs."""
        if not self.held_out:
            return None
        flat = flatten(self.held_out)
        logprobs = self.known.read_together(flat.responses, title="held-out responses")
        reference = None
        if self.setup.config.needs_reference:
            reference = torch.tensor([self.held_out_reference[row] for row in flat.responses])
        values = pair_values(flat, logprobs, reference)
        return measure_pairs(self.held_out, flat, values, self.setup.config)

    def weights_change(self) -> None:
        """Forget the log-probs of the policy as it was."""
        self.known.forget()

    def prompt_of(self, row: PromptPairs) -> str:
        """The prompt of a row."""
        return str(row.prompt)


def _responses(rows: Sequence[PromptPairs]) -> list[TokenResponse]:
    return [response for row in rows for response in row.responses]


def _hash_pairs(rows: Sequence[PromptPairs]) -> str:
    """A hash of the rows' hashes: all tokens as one text could be gigabytes."""
    texts = [
        repr(([(r.prompt_ids, r.response_ids) for r in row.responses], row.pairs)) for row in rows
    ]
    return hash_text("".join(map(hash_text, texts)))
