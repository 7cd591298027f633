"""Continuous batching of transformers as an engine: the policy in memory."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    PreTrainedModel,
)

from rlhf.errors import TrainingError
from rlhf.models.cpu_kernels.attention import NAME as WRITTEN_OUT_ATTENTION
from rlhf.models.evaluation_mode import evaluation_mode
from rlhf.models.generation.decoder import Generated
from rlhf.models.save import inner_model
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.responses import EngineResponse, as_generated
from rlhf.types import PromptBatch

PAGE = 32  # tokens of a page of the cache: responses of a batch end at many lengths
SEED_OF_ITERATION = 1_000_003


class ContinuousEngine:
    """Samples with the policy itself through `generate_batch`.

    The samples depend on the seed, the iteration and the whole batch, and so on the number of
    processes too.
    """

    name = "transformers"
    is_native = False

    def __init__(self) -> None:
        self.policy: PreTrainedModel | PeftModel | None = None

    def update_weights(self, policy: PreTrainedModel | PeftModel) -> None:
        """See `RolloutEngine`."""
        self.policy = policy

    @torch.no_grad()
    def generate(self, batch: PromptBatch, sampling: Sampling) -> Generated:
        """See `RolloutEngine`."""
        assert self.policy is not None
        model: Any = inner_model(self.policy)
        prompts = [
            ids[mask].tolist()
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]
        with _ready(model):
            outputs = model.generate_batch(
                prompts,
                generation_config=_generation_config(sampling),
                continuous_batching_config=_batching_config(prompts, sampling, model.device),
                warmup=False,
            )
        rows = list(outputs.values())
        if len(rows) != len(prompts) or any(row.error for row in rows):
            errors = {str(row.error) for row in rows if row.error}
            raise TrainingError(
                f"transformers' generate_batch finished {len(rows)} of {len(prompts)} responses "
                f"({'; '.join(errors) or 'see its log'}); use rollout_engine=native.",
                code="engine-lost",
            )
        return as_generated(
            [
                EngineResponse(
                    ids=row.generated_tokens[: sampling.limit_of(number)],
                    logprobs=row.logprobs[: sampling.limit_of(number)],
                )
                for number, row in enumerate(rows)
            ],
            sampling,
            engine=self.name,
            device=batch.input_ids.device,
        )

    def close(self) -> None:
        """Nothing was started."""


@contextmanager
def _ready(model: Any) -> Iterator[None]:
    """The model in evaluation mode, with an attention that has pages, and without log lines."""
    attention = model.config._attn_implementation
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    if attention == WRITTEN_OUT_ATTENTION:
        model.set_attn_implementation("sdpa")
    try:
        with evaluation_mode(model):
            yield
    finally:
        model.set_attn_implementation(attention)
        logger.setLevel(level)


def _generation_config(sampling: Sampling) -> GenerationConfig:
    sampled = sampling.temperature > 0
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=sampled,
        temperature=sampling.temperature if sampled else None,
        top_k=0 if sampled else None,
        top_p=1.0 if sampled else None,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(sampling.eos_token_ids) or None,
        pad_token_id=sampling.pad_token_id,
    )


def _batching_config(
    prompts: list[list[int]], sampling: Sampling, device: torch.device
) -> ContinuousBatchingConfig:
    """A cache for all rows at once on a CPU, whose free memory transformers does not measure."""
    config: Any = ContinuousBatchingConfig(
        return_logprobs=True,
        seed=(sampling.seed * SEED_OF_ITERATION + sampling.iteration) % 2**31,
    )
    if device.type == "cpu":
        longest = max(map(len, prompts)) + sampling.max_new_tokens
        config.page_size = PAGE
        config.num_blocks = len(prompts) * (-(-longest // PAGE) + 1)
        config.max_batch_tokens = max(2048, longest, len(prompts))
        config.use_cuda_graph = False
    return config  # type: ignore[no-any-return]
