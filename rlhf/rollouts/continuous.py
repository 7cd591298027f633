"""Continuous batching of transformers as an engine: the policy in memory."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    ContinuousBatchingConfig,
    ContinuousBatchingManager,
    GenerationConfig,
    PreTrainedModel,
)

from rlhf.errors import TrainingError
from rlhf.models.autocast import weights_in
from rlhf.models.cpu_kernels.attention import NAME as WRITTEN_OUT_ATTENTION
from rlhf.models.generation.decoder import Generated
from rlhf.models.protocols import evaluation_mode
from rlhf.models.save import inner_model
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.responses import EngineResponse, as_generated
from rlhf.types import PromptBatch

PAGE = 32  # tokens of a page of the cache: responses of a batch end at many lengths
SECONDS_TO_STOP = 5.0


class ContinuousEngine:
    """Samples with the policy itself, by continuous batching of transformers.

    It computes in the type of the weights. Under bf16 autocast, which does not reach transformers'
    own thread, it computes with bf16 copies of the weights, which take 2 bytes per weight while
    responses are sampled. Activations are bf16 too, as in vLLM.

    Its `generate_batch` has one limit for all responses; single requests have limits of their own.
    The samples depend on the seed, the iteration and the whole batch, and so on the number of
    processes and the size of batches too.
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
        with (
            _ready(model),
            _in_autocast_type(model),
            model.continuous_batching_context_manager(
                generation_config=_generation_config(sampling),
                continuous_batching_config=_batching_config(
                    prompts,
                    sampling,
                    model.device,
                    # Batches of one iteration, of other processes too, differ in their first row.
                    seed=sampling.seed_of(int(batch.row_ids[0])) % 2**31,
                ),
                timeout=SECONDS_TO_STOP,
                warmup=False,
            ) as manager,
        ):
            responses = _responses(manager, prompts, sampling)
        return as_generated(responses, sampling, engine=self.name, device=batch.input_ids.device)

    def close(self) -> None:
        """Nothing was started."""


def _responses(
    manager: ContinuousBatchingManager, prompts: list[list[int]], sampling: Sampling
) -> list[EngineResponse]:
    """The response to each prompt.

    Raises:
        TrainingError: transformers did not finish all of them.
    """
    names = [
        manager.add_request(ids, max_new_tokens=sampling.limit_of(number))
        for number, ids in enumerate(prompts)
    ]
    outputs: dict[str | None, Any] = {}
    while len(outputs) < len(prompts):
        output = manager.get_result(timeout=1)
        if output is not None:
            outputs[output.request_id] = output
        elif not manager.is_running():
            break
    errors = {str(output.error) for output in outputs.values() if output.error}
    if len(outputs) < len(prompts) or errors:
        raise TrainingError(
            f"continuous batching of transformers finished {len(outputs)} of {len(prompts)} "
            f"responses ({'; '.join(errors) or 'see its log'}); use rollout_engine=native.",
            code="engine-lost",
        )
    return [
        EngineResponse(ids=outputs[name].generated_tokens, logprobs=outputs[name].logprobs)
        for name in names
    ]


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


def _in_autocast_type(model: Any) -> AbstractContextManager[None]:
    """The model with weights in the type that the caller's autocast computes in, if it is on."""
    device = model.device.type
    if not torch.is_autocast_enabled(device):
        return nullcontext()
    return weights_in(model, torch.get_autocast_dtype(device))


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
    prompts: list[list[int]], sampling: Sampling, device: torch.device, *, seed: int
) -> ContinuousBatchingConfig:
    """A cache for all rows at once on a CPU, whose free memory transformers does not measure."""
    config: Any = ContinuousBatchingConfig(return_logprobs=True, seed=seed)
    config.max_requests_per_batch = len(prompts)
    if device.type == "cpu":
        longest = max(map(len, prompts)) + sampling.max_new_tokens
        config.page_size = PAGE
        config.num_blocks = len(prompts) * (-(-longest // PAGE) + 1)
        config.max_batch_tokens = max(2048, longest, len(prompts))
        config.use_cuda_graph = False
    return config  # type: ignore[no-any-return]
