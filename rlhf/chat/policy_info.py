"""What is known of a policy without its weights: enough to render prompts and to read responses."""

from dataclasses import dataclass

from rlhf.data.tokenization.tokenizer import ChatTokenizer


@dataclass(frozen=True, kw_only=True)
class PolicyInfo:
    """A policy's tokenizer, chat template and limits."""

    name: str  # folder or hub id
    chat: ChatTokenizer
    positions: int | None  # tokens that prompt and response may have together; None: no limit
    vocab_size: int  # number of its logits
    facts: tuple[str, ...]  # size, stage, chat template and stop tokens, a line each
    warnings: tuple[str, ...]  # differences from how it was trained
