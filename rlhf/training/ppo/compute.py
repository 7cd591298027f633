"""How the forward passes of a run compute: device, precision, size; resolved once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.models.config import BackboneConfig, use_bf16
from rlhf.models.cpu_kernels.attention import reads_packed_rows
from rlhf.models.forward import response_logprobs, response_logprobs_and_entropies
from rlhf.models.memory import tokens_at_once
from rlhf.models.protocols import CausalLM
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import PromptBatch


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device and precision of every forward pass of a run."""

    device: torch.device
    bf16: bool
    microbatch_tokens: int  # prompt and response tokens of one forward pass
    microbatches_grow: bool  # beyond them where responses share long prompts
    temperature: float

    def autocast(self) -> torch.autocast:
        """bf16 autocast on the device, where the run computes in bf16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def frozen_logprobs(
        self,
        model: CausalLM,
        batch: PromptBatch,
        response_ids: Tensor,
        response_mask: Tensor,
        action_mask: Tensor,
    ) -> Tensor:
        """Log-probs of the responses as training computes them, float32 [B, R], no gradient.

        They are 0 outside of `action_mask`, bool [B, R].
        """
        with self.autocast():
            return response_logprobs(
                model,
                batch,
                response_ids,
                response_mask,
                action_mask=action_mask,
                temperature=self.temperature,
                max_tokens=self.microbatch_tokens,
                packed=reads_packed_rows(model.modules()),
                grows=self.microbatches_grow,
            )

    def frozen_logprobs_and_entropies(
        self,
        model: CausalLM,
        batch: PromptBatch,
        response_ids: Tensor,
        response_mask: Tensor,
        action_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """`frozen_logprobs`, and the entropies of the distributions; float32 [B, R] each."""
        with self.autocast():
            return response_logprobs_and_entropies(
                model,
                batch,
                response_ids,
                response_mask,
                action_mask=action_mask,
                temperature=self.temperature,
                max_tokens=self.microbatch_tokens,
                packed=reads_packed_rows(model.modules()),
                grows=self.microbatches_grow,
            )


def resolve_compute(config: PPOConfig, model: BackboneConfig, device: torch.device) -> Compute:
    """Keys where they are set, else what suits the device and the size of the policy."""
    tokens = config.max_tokens_per_microbatch or tokens_at_once(model.model_name_or_path)
    return Compute(
        device=device,
        bf16=use_bf16(model),
        microbatch_tokens=tokens,
        # A GPU's default is large, and its memory is scarce.
        microbatches_grow=config.max_tokens_per_microbatch is None and device.type == "cpu",
        temperature=config.temperature,
    )
