"""Serves models over HTTP in one process."""

import argparse
import contextlib
import getpass
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import transformers
from rich.console import Console

from rlhf.chat.backend import Backend
from rlhf.chat.loading import load_chat_model
from rlhf.chat.model_names import given_names, named_models, short_names
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.score_queue import ScoreQueue
from rlhf.chat.vllm_start import described_policy, vllm_backend
from rlhf.chat.votes import Votes
from rlhf.chat.web.app import create_app
from rlhf.chat.web.cli import HISTORY_OFF, VLLM, rollout_config
from rlhf.chat.web.config import ChatServerConfig
from rlhf.chat.web.history import ChatHistory
from rlhf.chat.web.limits import Limits
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.page_state import PageState
from rlhf.chat.web.score_routes import SCORE_PATHS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import quiet_logs
from rlhf.web.server import STOP_NOTE, http_server, listening_socket, url_host

# How long responses may continue after Ctrl-C: an endless stream would keep the server running.
SHUTDOWN_SECONDS = 2


def serve(options: argparse.Namespace, config: ChatServerConfig) -> int:
    """The exit status of `rlhf serve` with these options."""
    quiet_libraries()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        listening_socket(config.host, config.port) as listener,
        Votes(options.store, options.annotator or getpass.getuser()) as votes,
        _open_history(options.history) as history,
        contextlib.ExitStack() as stack,
    ):
        backends = start_backends(options, config.limits, console)
        stack.callback(close_backends, backends)
        scores = _start_scores(options, config.limits)
        page = PageState(
            votes=votes,
            reward_model=scores.model if scores else None,
            history=history,
            shared=config.token is not None,
            given_names=given_names(options.models),
        )
        blind_names = history.blind_names() if history else {}
        app = create_app(
            ModelPool(backends=backends, limits=config.limits, blind_names=blind_names),
            page,
            config,
            scores=scores,
        )
        address = f"http://{url_host(config.host)}:{listener.getsockname()[1]}"
        announce(config, address, console, chats=bool(backends), scores=scores is not None)
        server = http_server(app, shutdown_seconds=SHUTDOWN_SECONDS)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
            server.run(sockets=[listener])
        if scores is not None:
            scores.close()
    return 0


def quiet_libraries() -> None:
    """Keep logs and progress bars of libraries out of the terminal."""
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def start_backends(
    options: argparse.Namespace, limits: Limits, console: Console
) -> dict[str, Backend]:
    """The backend of each policy by its name; those that started are closed after an error."""
    backends: dict[str, Backend] = {}
    start = _vllm_starter if options.backend == VLLM else _native_starter
    start_one = start(options, limits, console)
    try:
        for name, path in named_models(options.models).items():
            backends[name] = start_one(name, path)
            for fact in backends[name].model.facts:
                console.print(fact, style="dim", markup=False)
            for warning in backends[name].model.warnings:
                console.print(f"warning: {warning}", style="yellow", markup=False)
    except BaseException:
        close_backends(backends)
        raise
    return backends


def close_backends(backends: Mapping[str, Backend]) -> None:
    """End the threads and servers of these backends."""
    for backend in backends.values():
        backend.close()


def _native_starter(
    options: argparse.Namespace, limits: Limits, console: Console
) -> Callable[[str, str], Backend]:
    def start(name: str, path: str) -> Backend:
        with console.status(f"loading {path}"):
            model = load_chat_model(
                path,
                chat_template=options.chat_template,
                template_kwargs=parse_template_kwargs(options.chat_template_kwargs),
                base=options.base,
                int8=options.int8,
            )
        return Scheduler(model, slots=limits.slots, waiting=limits.waiting)

    return start


def _vllm_starter(
    options: argparse.Namespace, limits: Limits, console: Console
) -> Callable[[str, str], Backend]:
    """Every policy is checked before the first server starts."""
    described = {
        name: described_policy(
            path,
            chat_template=options.chat_template,
            template_kwargs=parse_template_kwargs(options.chat_template_kwargs),
        )
        for name, path in named_models(options.models).items()
    }

    def start(name: str, path: str) -> Backend:
        log = Path(f"vllm_server_{name.replace('/', '_')}.log")
        if options.rollout_server is None:
            console.print(f"starting vLLM for {path}; its log is {log}", style="dim", markup=False)
        return vllm_backend(
            described[name],
            rollout_config(options),
            max_length=limits.max_prompt_tokens + limits.max_new_tokens,
            log=log,
            slots=limits.slots,
            waiting=limits.waiting,
        )

    return start


@contextlib.contextmanager
def _open_history(path: str) -> Iterator[ChatHistory | None]:
    """The conversations on disk; None for `off`."""
    if path == HISTORY_OFF:
        yield None
        return
    with contextlib.closing(ChatHistory(path)) as history:
        yield history


def _start_scores(options: argparse.Namespace, limits: Limits) -> ScoreQueue | None:
    if not options.reward_model:
        return None
    [name] = short_names([options.reward_model])
    model = RewardModel(options.reward_model)
    return ScoreQueue(model, name=name, slots=limits.slots, waiting=limits.waiting)


def announce(
    config: ChatServerConfig,
    address: str,
    console: Console,
    *,
    chats: bool = True,
    scores: bool = False,
) -> None:
    """Print the addresses of the page and the API, with the token.

    Args:
        config: access of the server.
        address: with its port.
        console: where to print.
        chats: whether it serves policies.
        scores: whether it serves a reward model.
    """
    key = config.token or "any"
    if chats:
        link = f"{address}/#{config.token}" if config.token else f"{address}/"
        console.print(f"page: {link}", markup=False)
        console.print(f"API:  base_url={address}/v1 api_key={key}", markup=False)
    if scores:
        paths = ", ".join(f"{address}{path}" for path in SCORE_PATHS)
        token = f" (Authorization: Bearer {config.token})" if config.token else ""
        console.print(f"scores: {paths}{token}", markup=False)
    print_notes(console, hosts=config.hosts if config.public and not config.allowed_hosts else ())


def print_notes(console: Console, *, hosts: Collection[str]) -> None:
    """Print how to stop the server and, if they are given, the names that requests may use."""
    if hosts:
        names = ", ".join(sorted(hosts))
        note = f"accepts requests for the hosts {names}; add others with --allowed_hosts"
        console.print(note, style="yellow", markup=False)
    console.print(STOP_NOTE, style="dim")
