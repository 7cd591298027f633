"""`rlhf merge DIR --output DIR2`: its options."""

from collections.abc import Sequence
from pathlib import Path

from rlhf.runtime.command_parser import CommandParser
from rlhf.runtime.printing import rlhf_command


def main(argv: Sequence[str]) -> int:
    """Run `rlhf merge` with these arguments; the exit status."""
    parser = CommandParser(
        prog="rlhf merge",
        description="Merge a LoRA adapter into its base: one model that loads without peft.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", help="The adapter's folder, written by a run with use_peft.")
    parser.add_argument("--output", required=True, help="New folder for the merged model.")
    parser.add_argument("--base", help="The base's folder or hub id, if it was moved.")
    args = parser.parse_args(argv)
    # This loads torch and transformers, which takes seconds: mistakes in options come before.
    from rlhf.models.merge import merge

    base = merge(Path(args.folder), Path(args.output), args.base)
    next_command = rlhf_command("chat", args.output)
    print(f"{args.folder} merged into {base}: {args.output}; next: {next_command}")
    return 0
