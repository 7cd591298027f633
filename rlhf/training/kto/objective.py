"""What the training loop needs of KTO: rows, reference point, loss, held-out metrics."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn

from rlhf.data.tokenization.policy_rows import TokenResponse
from rlhf.manifest import hash_text
from rlhf.models.response_logprobs import KnownLogprobs, ResponseLogprobs, response_batch
from rlhf.models.shard import whole
from rlhf.ops.preference import kto_loss
from rlhf.training.common.objective import BatchLoss, HeldOut
from rlhf.training.common.sharded import Sharded, sharded
from rlhf.training.common.sharding import is_sharded
from rlhf.training.kto.metrics import ThumbHealth, measure_thumbs
from rlhf.training.kto.setup import KTOSetup
from rlhf.training.kto.thumbs import TokenThumb, thumb_weights, token_thumbs


class KTOObjective:
    """A policy that is trained on thumbs; a row is a response with its thumb.

    The reference point is the KL from the reference, estimated from responses to other prompts,
    over the global batch of a step before its first microbatch: neither accumulation nor the number
    of processes changes it. The reference is read once, as in DPO.
    """

    name = "policy"

    def __init__(self, module: ResponseLogprobs, setup: KTOSetup) -> None:
        self.module, self.model, self.setup = module, module.model, setup
        self.sharded: Sharded[ResponseLogprobs] | None = None
        seed, longest = setup.run.seed, setup.data.max_length
        self.rows = token_thumbs(setup.chat, setup.rows.train, seed=seed, max_length=longest)
        self.held_out = token_thumbs(setup.chat, setup.rows.held_out, seed=seed, max_length=longest)
        self.weights = thumb_weights(setup.config, setup.rows.train)
        self.mean_weight = 1.0
        self.kl = 0.0  # the reference point of the current step
        reading = KnownLogprobs(module, training=True)
        reading.read_together(_responses(self.rows), title="training responses by the reference")
        self.reference: Mapping[TokenResponse, float] = reading.copy()
        self.known = KnownLogprobs(module, training=False)
        self.held_out_reference: Mapping[TokenResponse, float] = {}
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
        uses = self.setup.uses
        return {
            "data_sha256": uses[0].sha256 if uses else "",
            "thumbs of sha256": hash_text("".join(hash_text(repr(row)) for row in self.rows)),
            "beta": self.setup.config.beta,
            "desirable_weight": self.weights.desirable,
            "undesirable_weight": self.weights.undesirable,
        }

    def start_step(self, rows: Sequence[TokenThumb]) -> None:
        """Estimate the reference point on this process's rows of a step and those of the others."""
        self.module.train()
        with torch.no_grad(), whole(*([] if self.sharded is None else [self.sharded])):
            ratios = self._logratios(self.module, [row.mismatched for row in rows])
        sums = torch.stack([ratios.sum(), torch.tensor(float(len(rows)), device=ratios.device)])
        total, count = reduce(sums, "sum").tolist()
        self.kl = max(0.0, total / count)

    def loss(self, module: nn.Module, rows: Sequence[TokenThumb]) -> BatchLoss:
        """The sum over rows, from one forward pass."""
        ratios = self._logratios(module, [row.response for row in rows])
        desirable = torch.tensor([row.desirable for row in rows], device=ratios.device)
        losses = kto_loss(
            ratios,
            desirable,
            self.kl,
            beta=self.setup.config.beta,
            desirable_weight=self.weights.desirable,
            undesirable_weight=self.weights.undesirable,
        )
        kl = torch.tensor(self.kl * len(rows), device=ratios.device)
        return BatchLoss(loss=losses.sum(), weight=float(len(rows)), sums={"kl": kl})

    def _logratios(self, module: nn.Module, responses: Sequence[TokenResponse]) -> Tensor:
        """Log-ratios of training responses, float [B]."""
        device = PartialState().device
        logprobs: Tensor = module(*response_batch(responses, device).tensors)
        reference = torch.tensor([self.reference[row] for row in responses], device=device)
        return logprobs - reference

    def evaluate(self) -> HeldOut | None:
        """Metrics of held-out thumbs, if there are any."""
        health = self.health()
        if health is None:
            return None
        text = f"held-out loss {health.loss:.4f}, accuracy {health.accuracy:.3f}"
        return HeldOut(loss=health.loss, metrics=health.metrics(), text=text)

    def health(self) -> ThumbHealth | None:
        """How the policy tells held-out thumbs apart now; None without held-out thumbs."""
        if not self.held_out:
            return None
        responses = [row.response for row in self.held_out]
        responses += [row.mismatched for row in self.held_out]
        logprobs = self.known.read_together(responses, title="held-out responses")
        reference = torch.tensor([self.held_out_reference[row] for row in responses])
        count = len(self.held_out)
        ratios = logprobs - reference
        return measure_thumbs(
            self.held_out,
            logprobs[:count],
            ratios[:count],
            max(0.0, float(ratios[count:].mean())),
            beta=self.setup.config.beta,
            weights=self.weights,
        )

    def weights_change(self) -> None:
        """Forget the log-probs of the policy as it was."""
        self.known.forget()

    def prompt_of(self, row: TokenThumb) -> str:
        """The prompt of a row."""
        return str(row.prompt)


def _responses(rows: Sequence[TokenThumb]) -> list[TokenResponse]:
    return [response for row in rows for response in (row.response, row.mismatched)]
