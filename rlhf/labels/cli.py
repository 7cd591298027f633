"""`rlhf label COMMAND`: serve, import, export, stats, simulate, prioritize, prelabel and others."""

from collections.abc import Sequence

from rlhf.labels.cli_parser import parser


def main(argv: Sequence[str]) -> int:
    """`rlhf label`."""
    args = parser().parse_args(argv)
    from rlhf.labels.commands import run_command  # with the database, once the arguments are right

    run_command(args)
    return 0
