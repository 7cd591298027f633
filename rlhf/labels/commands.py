"""The commands of `rlhf label`, once their arguments are right."""

import argparse

from rlhf.errors import ConfigError
from rlhf.labels import audit_cli, exchange_cli, measure_cli, participants_cli, people_cli
from rlhf.runtime.printing import plain_console

# Modules that load torch are imported by the command that needs them, so that `serve` starts fast.


def run_command(args: argparse.Namespace) -> None:
    """Run the command that `args` names."""
    console = plain_console(soft_wrap=True)  # a line with a command can be pasted
    match args.command:
        case "serve":
            _serve(args)
        case "import":
            exchange_cli.import_files(args, console)
        case "export":
            exchange_cli.export_labels(args, console)
        case "simulate":
            measure_cli.simulate(args, console)
        case "stats":
            measure_cli.stats(args)
        case "prioritize":
            measure_cli.prioritize(args, console)
        case "prelabel":
            measure_cli.prelabel(args, console)
        case "invite":
            people_cli.invite(args, console)
        case "people":
            people_cli.people(args, console)
        case "token":
            people_cli.token(args, console)
        case "audit":
            audit_cli.audit(args, console)
        case "participants":
            participants_cli.participants(args, console)
        case "erase":
            audit_cli.erase(args, console)
        case "retain":
            audit_cli.retain(args, console)


def _serve(args: argparse.Namespace) -> None:
    try:
        from rlhf.labels.serve_cli import serve
    except ImportError as error:
        raise ConfigError(
            f"the label page needs {error.name}; run `pip install 'rlhf[labels]'`.",
            code="missing-package",
        ) from error
    serve(args)
