"""`rlhf sample`: its options."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.files.read import is_local
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import STATUS_DONE, ConfigError
from rlhf.rollouts.chat_server import served_models
from rlhf.runtime.command_parser import CommandParser, DefaultsFormatter
from rlhf.runtime.config_keys import as_bool
from rlhf.runtime.paths import check_output_file

AT_LEAST_ONE = ("num_responses", "max_new_tokens", "batch_size")


def main(argv: Sequence[str]) -> int:
    """`rlhf sample`."""
    options = _parser().parse_args(argv)
    _check(options)
    check_output_file(Path(options.output))
    is_local(options.prompts)  # raises for a path that does not exist
    parse_template_kwargs(options.chat_template_kwargs)
    if options.server is not None:
        served_models(options.server, options.model)
    # This loads torch and transformers, which takes seconds: mistakes in options come before.
    from rlhf.labels.sample_command import sample

    sample(options)
    return STATUS_DONE


def _check(options: argparse.Namespace) -> None:
    """Check the numbers, and the options that only one of both kinds of models has."""
    for name in AT_LEAST_ONE:
        if getattr(options, name) < 1:
            raise ConfigError(
                f"--{name} {getattr(options, name)}: use 1 or more.", code="bad-value"
            )
    if not 0 <= options.temperature < math.inf:
        raise ConfigError(
            f"--temperature {options.temperature}: use 0 (greedy) or a finite number above.",
            code="bad-value",
        )
    if not options.model and options.server is None:
        raise ConfigError("--model is missing; name a policy, or a --server.", code="missing-key")
    local = {"--chat_template": options.chat_template != "auto",
             "--chat_template_kwargs": options.chat_template_kwargs is not None,
             "--bf16": options.bf16 is not None}  # fmt: skip
    for name, given in local.items():
        if given and options.server is not None:
            raise ConfigError(
                f"{name} is an option of models that are loaded here; the server has its own chat "
                "template and precision. Leave it out.",
                code="key-conflict",
            )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf sample",
        description="Sample K responses to each prompt, for ranking.",
        allow_abbrev=False,
        formatter_class=DefaultsFormatter,
    )
    # argparse would call bool("false"), which is true.
    parser.register("type", bool, as_bool)
    add = parser.add_argument
    add(
        "--model",
        action="append",
        default=[],
        help="Folder or hub id of a policy, or with --server a name that it knows; may be given "
        "several times.",
    )
    add(
        "--server",
        help="Address of an OpenAI-compatible API, http://HOST:PORT/v1, that samples instead. Its "
        "key is in OPENAI_API_KEY.",
    )
    add("--prompts", required=True, help="File or hub id of prompts; other columns are kept.")
    add("--output", required=True, help="JSONL file to write.")
    add(
        "--num_responses", type=int, default=4, help="Responses per prompt, of all models together."
    )
    add("--max_new_tokens", type=int, default=128, help="Longest response, in tokens.")
    add("--temperature", type=float, default=1.0, help="Softmax temperature; 0 is greedy.")
    add("--seed", type=int, default=0, help="Seed of the sampling.")
    add("--batch_size", type=int, default=128, help="Responses sampled at a time.")
    add(
        "--bf16",
        type=bool,
        nargs="?",
        const=True,
        metavar="BOOL",
        help="Sample in bf16 instead of float32. Default: true on a GPU.",
    )
    add(
        "--chat_template",
        default="auto",
        help="Chat template: auto, none, or a Jinja file, as in training.",
    )
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add(
        "--drop_bad_rows",
        action="store_true",
        help="Drop bad rows, count them and list them in a file.",
    )
    return parser
