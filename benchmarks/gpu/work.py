"""The counted work of a section. Imports only the standard library."""

from benchmarks.gpu.sections import Section, Sizes
from rlhf.models.shape import forward_flops, key_value_bytes

BF16 = 2
EXAMPLES_PER_ROW = 4  # of a packed row of SFT
OF_LORA = ("mode", "use_peft")


def trained_flops(section: Section, sizes: Sizes) -> float:
    """Operations of a step's training: three times those of the forward passes.

    0 for LoRA, whose backward pass leaves out most gradients of weights.
    """
    shape, stage = section.model.shape, section.stage
    if any(key in section.keys for key in OF_LORA):
        return 0.0
    if stage == "sft":
        rows, tokens = EXAMPLES_PER_ROW * sizes.sft_rows, sizes.sft_rows * sizes.row_tokens
        example = sizes.row_tokens // EXAMPLES_PER_ROW
        logits = rows * (example - example // 2)
        return 3 * forward_flops(shape, tokens=tokens, rows=rows, logits=logits)
    if stage == "reward_model":
        rows = 2 * sizes.pairs
        length = sizes.prompt_tokens + sizes.response_tokens + 1  # with the EOS
        return 3 * forward_flops(shape, tokens=rows * length, rows=rows)
    rows = sizes.microbatch_rows if stage == "fsdp2" else sizes.responses
    tokens = rows * (sizes.prompt_tokens + sizes.response_tokens)
    logits = rows * sizes.response_tokens
    policy = 3 * forward_flops(shape, tokens=tokens, rows=rows, logits=logits)
    if stage != "ppo":
        return policy
    return policy + 3 * forward_flops(shape, tokens=tokens, rows=rows)  # the critic


def decoded_bytes(section: Section, sizes: Sizes) -> float:
    """Bytes that decoding reads: all weights once for each token of the longest response, and the
    keys and values of all earlier tokens for each token of each response."""
    shape, length = section.model.shape, sizes.response_tokens
    earlier = sizes.responses * length * (sizes.prompt_tokens + length / 2)
    return BF16 * shape.products * length + key_value_bytes(shape, BF16) * earlier
