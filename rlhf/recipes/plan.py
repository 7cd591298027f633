"""`rlhf plan CONFIG`: memory by phase and part, what fits, and time, before anything is started."""

import argparse
from collections.abc import Sequence

from rlhf.planning.machines import GPUS, parse_machines
from rlhf.runtime.command_parser import CommandParser

PLANNED = ("sft", "reward_model", "dpo", "kto", "ppo", "align")


def main(argv: Sequence[str]) -> int:
    """`rlhf plan`; exit status 2 if a training does not fit."""
    options, words = _parser().parse_known_args(argv)
    devices = None if options.gpus is None else parse_machines(options.gpus)
    from rlhf.recipes.plan_steps import print_plans  # imports torch and transformers

    return print_plans(options, words, devices)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf plan",
        description="Print the memory of a run by phase and part, the largest microbatch that "
        "fits, and the predicted time. Nothing is loaded or started. Keys of the configuration may "
        "follow as --key value. Exit status 2: it does not fit.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="YAML file of sft, reward, dpo, kto, ppo or align."
    )
    parser.add_argument(
        "--gpus",
        metavar="NxNAME",
        help=f"Devices, such as 2xA100-80: {', '.join(GPUS)} or cpu. Default: those of this "
        "machine.",
    )
    parser.add_argument("--fsdp", action="store_true", help="Shard the weights (FSDP2).")
    parser.add_argument(
        "--recipe", choices=PLANNED, help="Recipe of the file, where its keys do not tell."
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="Model with the sizes of those that are not on this machine: a folder or a hub id.",
    )
    parser.add_argument(
        "--rows",
        type=int,
        help="Rows (reward, dpo: prompts) to train on. Default: those of local files.",
    )
    parser.add_argument(
        "--responses",
        type=int,
        help="Responses per prompt (reward, dpo). Default: as in local files.",
    )
    parser.add_argument(
        "--prompt_tokens", type=float, help="Mean length of prompts. Default: half of the longest."
    )
    parser.add_argument(
        "--response_tokens",
        type=float,
        help="Mean length of responses. Default: half of the longest.",
    )
    return parser
