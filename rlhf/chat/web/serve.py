"""`rlhf serve DIR [DIR2 …]`: the models over HTTP, by one process."""

import argparse
import contextlib
import getpass
from collections.abc import Sequence
from functools import partial
from typing import Any

import transformers
from rich.console import Console

from rlhf.chat.loading import load_chat_model, short_names
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.votes import Votes
from rlhf.chat.web.app import create_app
from rlhf.chat.web.config import ChatServerConfig, drawn_token
from rlhf.chat.web.model_pool import Limits, ModelPool
from rlhf.chat.web.routes import PageState
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import quiet_logs
from rlhf.web.server import http_server, listening_socket, url_host

# Seconds that an answer may go on after Ctrl-C: a stream that nobody ends would hold the server.
SECONDS_TO_END = 2


def main(argv: Sequence[str]) -> int:
    """`rlhf serve`."""
    given = _parser().parse_intermixed_args(argv)
    token = given.token or (drawn_token() if given.public else None)
    config = ChatServerConfig(
        host=given.host,
        port=given.port,
        public=given.public,
        token=token,
        allowed_hosts=given.allowed_hosts,
        limits=_limits(given),
    )
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        listening_socket(config.host, config.port) as listener,
        Votes(given.store, given.annotator or getpass.getuser()) as votes,
    ):
        served = ModelPool(workers=_workers(given, config.limits, console), limits=config.limits)
        reward = RewardModel(given.reward_model) if given.reward_model else None
        app = create_app(served, PageState(votes=votes, reward=reward), config)
        announce(config, f"http://{url_host(config.host)}:{listener.getsockname()[1]}", console)
        server = http_server(app, shutdown_seconds=SECONDS_TO_END)
        with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises anew when it is done
            server.run(sockets=[listener])
        for worker in served.workers.values():
            worker.close()
    return 0


def _limits(given: argparse.Namespace) -> Limits:
    limits = Limits(
        slots=given.max_requests,
        waiting=given.max_waiting,
        max_new_tokens=given.max_new_tokens,
        max_prompt_tokens=given.max_prompt_tokens,
    )
    if min(limits.slots, limits.max_new_tokens, limits.max_prompt_tokens) < 1 or limits.waiting < 0:
        raise ConfigError("limits are 1 or more; --max_waiting may be 0.")
    return limits


def _workers(given: argparse.Namespace, limits: Limits, console: Console) -> dict[str, Scheduler]:
    load = partial(
        load_chat_model,
        chat_template=given.chat_template,
        template_kwargs=parse_template_kwargs(given.chat_template_kwargs),
        base=given.base,
        int8=given.int8,
    )
    workers: dict[str, Scheduler] = {}
    for name, path in zip(short_names(given.models), given.models, strict=True):
        with console.status(f"loading {path}"):
            model = load(path)
        for fact in model.facts:
            console.print(fact, style="dim", markup=False)
        for warning in model.warnings:
            console.print(f"warning: {warning}", style="yellow", markup=False)
        workers[name] = Scheduler(model, slots=limits.slots, waiting=limits.waiting)
    return workers


def announce(config: ChatServerConfig, address: str, console: Console) -> None:
    """Print where the page and the API are, and the token this once."""
    link = f"{address}/#{config.token}" if config.token else f"{address}/"
    console.print(f"page: {link}", markup=False)
    key = config.token or "any"
    console.print(f"API:  base_url={address}/v1 api_key={key}", markup=False)
    if config.public and not config.allowed_hosts:
        known = ", ".join(sorted(config.hosts))
        said = f"requests for {known} are answered; --allowed_hosts names more"
        console.print(said, style="yellow", markup=False)
    console.print("Ctrl-C stops the server.", style="dim")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf serve",
        description="An OpenAI-compatible API and a chat page over one or several policies.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add: Any = parser.add_argument
    add("models", metavar="DIR", nargs="+", help="Folder (or hub id) of a policy.")
    add("--host", default="127.0.0.1", help="Address to bind; another needs --public.")
    add("--port", type=int, default=8080, help="Port to bind; 0 takes a free one.")
    add("--public", action="store_true", help="Allow an address that others can reach.")
    add("--token", help="What clients have to send as api_key; with --public one is drawn.")
    add("--allowed_hosts", nargs="*", default=[], help="Host names that clients may use.")
    add("--max_requests", type=int, default=32, help="Answers of a model written at a time.")
    add("--max_waiting", type=int, default=64, help="Answers that may wait; more get a 429.")
    add("--max_new_tokens", type=int, default=512, help="Longest answer, in tokens.")
    add("--max_prompt_tokens", type=int, default=8192, help="Longest prompt, in tokens.")
    add("--chat_template", default="auto", help="auto | none | FILE, as the model was trained.")
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--base", help="Base of a LoRA adapter, where it is not the one its config names.")
    add("--int8", action="store_true", help="Hold linear layers in 8 bits, to save memory.")
    add("--store", default="labels.sqlite", help="Label store that votes go to.")
    add("--annotator", help="Name that votes are kept under; default: your login.")
    add("--reward_model", help="Reward model whose score the page shows.")
    return parser
