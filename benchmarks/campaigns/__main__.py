"""Labelling tools whose servers are killed while people label: what each tool loses.

    python -m benchmarks.campaigns FOLDER [--label_studio VENV] [--potato VENV]
        [--annotators 50] [--kills 20] [--items 400] [--overlap 3]

The tools run one after the other, each with its own server in a process of its own. Annotators rank
items without a pause and send a request again until the server answers it. Then every accepted
label is looked up in what a researcher gets from the tool. Prints a table.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.campaigns.hammer import Outcome, Plan, hammer
from benchmarks.campaigns.label_studio import LabelStudio
from benchmarks.campaigns.potato import Potato
from benchmarks.campaigns.rlhf_server import RlhfServer
from benchmarks.campaigns.tool import Tool

HEADER = (
    "| tool | kills | accepted | lost | changed | asked again | doubled | above the plan | errors "
    "| locked | ms per label | seconds |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tools that are installed and print a row for each."""
    options = _parser().parse_args(argv)
    plan = Plan(
        annotators=options.annotators,
        items=options.items,
        overlap=options.overlap,
        kills=options.kills,
    )
    folder = Path(options.folder)
    print(f"{plan}, load average of the minute before: {os.getloadavg()[0]:.2f}\n\n{HEADER}")
    for tool in _tools(options, folder):
        print(row(tool, hammer(tool, plan)), flush=True)
    return 0


def _tools(options: argparse.Namespace, folder: Path) -> Iterator[Tool]:
    yield RlhfServer(folder, options.port)
    if options.label_studio:
        yield LabelStudio(folder, options.port + 1, Path(options.label_studio))
    if options.potato:
        yield Potato(folder, options.port + 2, Path(options.potato))


def row(tool: Tool, outcome: Outcome) -> str:
    """The row of a tool in the table."""
    counts = outcome.losses
    cells = [
        tool.name,
        outcome.kills,
        f"{counts.accepted:,}",
        *(counts.lost, counts.changed, counts.asked_again, counts.doubled, counts.beyond),
        outcome.failures["server_errors"],
        outcome.locked,
        f"{outcome.label_ms:.0f}",
        f"{outcome.seconds:.0f}",
    ]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaigns",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="New folder for the data of the tools.")
    parser.add_argument("--label_studio", help="Python environment with label-studio.")
    parser.add_argument("--potato", help="Python environment with potato-annotation.")
    for name, count in {"annotators": 50, "kills": 20, "items": 400, "overlap": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--port", type=int, default=8393, help="The first of three free ports.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
