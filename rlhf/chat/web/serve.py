"""`rlhf serve DIR [DIR2 …]`: serves models over HTTP in one process."""

import argparse
import contextlib
import getpass
from collections.abc import Sequence
from functools import partial

import transformers
from rich.console import Console

from rlhf.chat.loading import load_chat_model, short_names
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.votes import Votes
from rlhf.chat.web.app import create_app
from rlhf.chat.web.config import ChatServerConfig, random_token
from rlhf.chat.web.model_pool import Limits, ModelPool
from rlhf.chat.web.routes import PageState
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rewards.model import RewardModel
from rlhf.runtime.command_parser import CommandParser, DefaultsFormatter
from rlhf.runtime.printing import quiet_logs
from rlhf.web.server import http_server, listening_socket, url_host

# How long responses may continue after Ctrl-C: an endless stream would keep the server running.
SHUTDOWN_SECONDS = 2


def main(argv: Sequence[str]) -> int:
    """`rlhf serve`."""
    options = _parser().parse_intermixed_args(argv)
    config = ChatServerConfig(
        host=options.host,
        port=options.port,
        public=options.public,
        token=options.token or (random_token() if options.public else None),
        allowed_hosts=options.allowed_hosts,
        limits=_limits(options),
    )
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        listening_socket(config.host, config.port) as listener,
        Votes(options.store, options.annotator or getpass.getuser()) as votes,
    ):
        schedulers = _start_schedulers(options, config.limits, console)
        reward_model = RewardModel(options.reward_model) if options.reward_model else None
        app = create_app(
            ModelPool(schedulers=schedulers, limits=config.limits),
            PageState(votes=votes, reward_model=reward_model),
            config,
        )
        announce(config, f"http://{url_host(config.host)}:{listener.getsockname()[1]}", console)
        server = http_server(app, shutdown_seconds=SHUTDOWN_SECONDS)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
            server.run(sockets=[listener])
        for scheduler in schedulers.values():
            scheduler.close()
    return 0


def _limits(options: argparse.Namespace) -> Limits:
    for name in ("max_requests", "max_new_tokens", "max_prompt_tokens"):
        if getattr(options, name) < 1:
            raise ConfigError(
                f"{name}={getattr(options, name)} must be 1 or more.", code="bad-value"
            )
    if options.max_waiting < 0:
        raise ConfigError(f"max_waiting={options.max_waiting} must be 0 or more.", code="bad-value")
    return Limits(
        slots=options.max_requests,
        waiting=options.max_waiting,
        max_new_tokens=options.max_new_tokens,
        max_prompt_tokens=options.max_prompt_tokens,
    )


def _start_schedulers(
    options: argparse.Namespace, limits: Limits, console: Console
) -> dict[str, Scheduler]:
    load = partial(
        load_chat_model,
        chat_template=options.chat_template,
        template_kwargs=parse_template_kwargs(options.chat_template_kwargs),
        base=options.base,
        int8=options.int8,
    )
    schedulers: dict[str, Scheduler] = {}
    for name, path in zip(short_names(options.models), options.models, strict=True):
        with console.status(f"loading {path}"):
            model = load(path)
        for fact in model.facts:
            console.print(fact, style="dim", markup=False)
        for warning in model.warnings:
            console.print(f"warning: {warning}", style="yellow", markup=False)
        schedulers[name] = Scheduler(model, slots=limits.slots, waiting=limits.waiting)
    return schedulers


def announce(config: ChatServerConfig, address: str, console: Console) -> None:
    """Print the addresses of the page and the API, with the token."""
    link = f"{address}/#{config.token}" if config.token else f"{address}/"
    console.print(f"page: {link}", markup=False)
    key = config.token or "any"
    console.print(f"API:  base_url={address}/v1 api_key={key}", markup=False)
    if config.public and not config.allowed_hosts:
        names = ", ".join(sorted(config.hosts))
        note = f"accepts requests for the hosts {names}; add others with --allowed_hosts"
        console.print(note, style="yellow", markup=False)
    console.print("Ctrl-C stops the server.", style="dim")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf serve",
        description="Serve one or several policies: an OpenAI-compatible API and a chat page.",
        allow_abbrev=False,
        formatter_class=DefaultsFormatter,
    )
    add = parser.add_argument
    add("models", metavar="DIR", nargs="+", help="Folder or hub id of a policy.")
    add("--host", default="127.0.0.1", help="Address to bind; others need --public.")
    add("--port", type=int, default=8080, help="Port to bind; 0 takes a free one.")
    add("--public", action="store_true", help="Allow an address that other machines can reach.")
    add("--token", help="Token that clients send as api_key; with --public, a random one.")
    add("--allowed_hosts", nargs="*", default=[], help="Host names that requests may use.")
    add("--max_requests", type=int, default=32, help="Responses of a model generated at a time.")
    add(
        "--max_waiting",
        type=int,
        default=64,
        help="Responses that may wait; more requests get status 429.",
    )
    add("--max_new_tokens", type=int, default=512, help="Maximum response length, in tokens.")
    add("--max_prompt_tokens", type=int, default=8192, help="Maximum prompt length, in tokens.")
    add(
        "--chat_template",
        default="auto",
        help="Chat template: auto, none, or a Jinja file, as in training.",
    )
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--base", help="Folder of a LoRA adapter's base model, if it was moved.")
    add("--int8", action="store_true", help="Keep linear layers in 8 bits, to save memory.")
    add("--store", default="labels.sqlite", help="Label store for votes: a file or database URL.")
    add("--annotator", help="Your name in the label store; default: your login.")
    add("--reward_model", help="Folder of the reward model whose rewards the page shows.")
    return parser
