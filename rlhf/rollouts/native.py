"""rlhf's own decoder as an engine: the policy in memory, prompts of a group read once."""

from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.models.generation.decoder import Generated
from rlhf.models.generation.generate import generate
from rlhf.models.shard import copy_of
from rlhf.rollouts.engine import Sampling
from rlhf.types import PromptBatch


class NativeEngine:
    """Samples with the policy itself, or with a copy of it.

    Args:
        cuda_graphs: whether to record a step for each number of rows and replay it.
        copies: whether `update_weights` copies the weights, so that the policy may be trained while
            its responses are sampled; else it only takes the policy.
    """

    name = "native"
    is_native = True

    def __init__(self, *, cuda_graphs: bool = False, copies: bool = False) -> None:
        self.cuda_graphs, self.copies = cuda_graphs, copies
        self.policy: PreTrainedModel | PeftModel | None = None

    def update_weights(self, policy: PreTrainedModel | PeftModel) -> None:
        """See `RolloutEngine`."""
        self.policy = None  # frees the last copy before the next one is made
        # A new copy each time: of the policy, or of a LoRA policy whose adapters are disabled.
        self.policy = copy_of(policy) if self.copies else policy

    def generate(self, batch: PromptBatch, sampling: Sampling) -> Generated:
        """See `RolloutEngine`. The noise of a token depends on seed, iteration, row and place."""
        assert self.policy is not None
        return generate(
            self.policy,
            batch,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            eos_token_ids=sampling.eos_token_ids,
            pad_token_id=sampling.pad_token_id,
            seed=sampling.seed,
            iteration=sampling.iteration,
            row_limits=sampling.row_limits,
            cuda_graphs=self.cuda_graphs,
        )

    def close(self) -> None:
        """Nothing was started."""
