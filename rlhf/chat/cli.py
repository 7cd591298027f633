"""`rlhf chat`: its options."""

import argparse
from collections.abc import Sequence

from rlhf.chat.model_names import check_path
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.runtime.command_parser import CommandParser, DefaultsFormatter

STORE = "labels.sqlite"


def main(argv: Sequence[str]) -> int:
    """`rlhf chat`."""
    options = _parser().parse_intermixed_args(argv)
    parse_template_kwargs(options.chat_template_kwargs)
    for path in options.models:
        check_path(path)
    # This loads torch and transformers, which takes seconds: mistakes in options come before.
    from rlhf.chat.terminal import chat

    return chat(options)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf chat",
        description="Chat with a policy: a model, LoRA adapter, run folder or checkpoint. "
        "Several policies get the same prompts, side by side.",
        epilog="A prompt piped into it gets one response.",
        allow_abbrev=False,
        formatter_class=DefaultsFormatter,
    )
    add = parser.add_argument
    add("models", metavar="DIR", nargs="+", help="Folder or hub id of a policy.")
    add("--prompt", help="Respond to this prompt and exit; - reads it from stdin.")
    add("--temperature", type=float, default=0.7, help="Sampling temperature; 0 is greedy.")
    add(
        "--top_p",
        type=float,
        default=1.0,
        help="Sample from the likeliest tokens whose probabilities reach this sum.",
    )
    add("--max_new_tokens", type=int, default=256, help="Maximum length of a response, in tokens.")
    add("--seed", type=int, default=0, help="Seed of the sampling.")
    add(
        "--chat_template",
        default="auto",
        help="Chat template: auto, none, or a Jinja file, as in training.",
    )
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--base", help="Folder of a LoRA adapter's base model, if it was moved.")
    add("--int8", action="store_true", help="Keep linear layers in 8 bits, to save memory.")
    add("--store", default=STORE, help="Label store for votes: a file or database URL.")
    add("--annotator", help="Your name in the label store; default: your login.")
    add("--reward_model", help="Folder of the reward model whose rewards /why shows.")
    add("--blind", action="store_true", help="Hide the models' names until you vote.")
    return parser
