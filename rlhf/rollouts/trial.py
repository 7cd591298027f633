"""Whether an engine samples from the weights that it was given, by the log-probs of its tokens."""

from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import TrainingError
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import prompt_batch
from rlhf.ops.importance import logprob_gap
from rlhf.rollouts.engine import RolloutEngine, Sampling
from rlhf.types import PromptRow

TOKENS = 16  # of the response
OTHER_MODEL = 0.5  # nats per token between engine and policy, in the mean


def try_engine(
    engine: RolloutEngine,
    policy: PreTrainedModel | PeftModel,
    chat: ChatTokenizer,
    row: PromptRow,
    *,
    longest: int,
    place: str,
) -> None:
    """Compare the log-probs of a short response with the policy's, before hours of sampling.

    It is sampled at temperature 1: a low one would multiply differences of rounding.

    Args:
        engine: that was given the policy's weights. Only a server is tried: the others have the
            policy itself in memory.
        policy: with whole weights.
        chat: its tokenizer.
        row: a prompt.
        longest: tokens of a response that the engine has room for.
        place: begins the message.

    Raises:
        TrainingError: the engine samples from other weights, or was lost.
    """
    if engine.name != "vllm":
        return
    batch = prompt_batch(
        [prompt_ids(chat, row.prompt, row.tools)],
        [row.prompt],
        prompt_indices=[0],
        num_responses=1,
        pad_token_id=chat.pad_token_id,
        device=next(policy.parameters()).device,
    )
    sampling = Sampling(
        max_new_tokens=min(TOKENS, longest),
        temperature=1.0,
        eos_token_ids=chat.eos_token_ids,
        pad_token_id=chat.pad_token_id,
        seed=0,
        iteration=0,
    )
    given = engine.generate(batch, sampling)
    ids, mask = given.response_ids, given.response_mask
    expected = response_logprobs(policy, batch, ids, mask, temperature=1.0)
    check_gap(logprob_gap(expected, given.logprobs, mask).mean, place)


def check_gap(gap: float, place: str) -> None:
    """Check the mean |difference| of log-probs between engine and policy, in nats per token.

    Raises:
        TrainingError: they are those of another model.
    """
    if gap > OTHER_MODEL:
        raise TrainingError(
            f"{place}: the log-probs of the rollout engine differ from the policy's by "
            f"{gap:.2f} nats per token in the mean (rounding gives 0.01 to 0.05): it samples from "
            "other weights, or at another temperature. Check the server's model and options; a "
            "run resumes from its last checkpoint.",
            code="engine-mismatch",
        )
