"""`rlhf serve DIR [DIR2 …]`: its options."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from rlhf.chat.model_names import check_path, named_models
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import ConfigError
from rlhf.rollouts.config import OF_A_SERVER, RolloutConfig, check_rollouts
from rlhf.runtime.command_parser import CommandParser, DefaultsFormatter
from rlhf.runtime.config_keys import Key, keys_of
from rlhf.web.addresses import parse_proxies

HISTORY_OFF = "off"
NATIVE, VLLM = "native", "vllm"


def main(argv: Sequence[str]) -> int:
    """`rlhf serve`."""
    options = _parser().parse_intermixed_args(argv)
    if not options.models and not options.reward_model:
        raise ConfigError(
            "nothing to serve: name the folder of a policy (rlhf serve DIR), or a reward model "
            "(--reward_model DIR).",
            code="missing-key",
        )
    rollout_config(options)
    _check_arena(options)
    parse_template_kwargs(options.chat_template_kwargs)
    for path in named_models(options.models).values():
        check_path(path)
    try:
        serve = _arena(options) if options.arena else _chat(options)
    except ImportError as error:
        raise ConfigError(
            f"the server needs {error.name}; run `pip install 'rlhf[labels]'`.",
            code="missing-package",
        ) from error
    return serve()


# The settings are checked first: the servers import torch and transformers, which takes seconds.
def _chat(options: argparse.Namespace) -> Callable[[], int]:
    from rlhf.chat.web.config import server_config

    config = server_config(options)
    from rlhf.chat.web.serve import serve

    return partial(serve, options, config)


def _arena(options: argparse.Namespace) -> Callable[[], int]:
    from rlhf.chat.arena.config import arena_config

    config = arena_config(options)
    from rlhf.chat.arena.serve import serve_arena

    return partial(serve_arena, options, config)


def _check_arena(options: argparse.Namespace) -> None:
    """Raise ConfigError for options that do not go together, or a proxy that is no address."""
    default = _parser().get_default
    if not options.arena:
        for name in ("questions_per_hour", "trusted_proxy"):
            if getattr(options, name) != default(name):
                raise ConfigError(
                    f"--{name} belongs to the arena; add --arena, or leave it out.",
                    code="key-conflict",
                )
        return
    if len(options.models) < 2:
        raise ConfigError(
            f"--arena compares two models or more, and got {len(options.models)}; name another.",
            code="missing-key",
        )
    for name in ("token", "allowed_origins", "annotator", "history", "reward_model"):
        if getattr(options, name) != default(name):
            raise ConfigError(
                f"--{name} has no effect with --arena, which serves a page for everybody and no "
                "API; leave it out.",
                code="key-conflict",
            )
    parse_proxies(options.trusted_proxy)


def rollout_config(options: argparse.Namespace) -> RolloutConfig:
    """The keys of the vLLM server.

    Raises:
        ConfigError: options that do not go with the backend, or with each other.
    """
    keys = {key.name: getattr(options, key.name) for key in _server_keys()}
    if options.backend == NATIVE:
        for key in _server_keys():
            if keys[key.name] != key.default:
                raise ConfigError(
                    f"--{key.name} is an option of --backend vllm; add it, or leave {key.name} "
                    "out.",
                    code="key-conflict",
                )
        return RolloutConfig()
    if not options.models:
        raise ConfigError(
            "--backend vllm needs the folder or hub id of the policy, whose tokenizer and chat "
            "template are read here: rlhf serve DIR --backend vllm.",
            code="missing-key",
        )
    for name in ("int8", "base"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name} is an option of --backend native; leave it out.", code="key-conflict"
            )
    if options.rollout_server is not None and len(options.models) > 1:
        raise ConfigError(
            f"--rollout_server {options.rollout_server} serves one policy, and "
            f"{len(options.models)} are named; leave it out, and a server is started for each.",
            code="key-conflict",
        )
    config = RolloutConfig(rollout_engine="vllm", **keys)
    check_rollouts(config)
    return config


def _server_keys() -> list[Key]:
    """Keys of a vLLM server."""
    return [key for key in keys_of(RolloutConfig) if key.name in OF_A_SERVER]


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf serve",
        description="Serve policies, with an OpenAI-compatible API and a chat page, and the scores "
        "of a reward model for other programs. With --arena, a public page on which visitors "
        "compare them.",
        allow_abbrev=False,
        formatter_class=DefaultsFormatter,
    )
    parser.add_argument(
        "models",
        metavar="[NAME=]DIR",
        nargs="*",
        help="Folder or hub id of a policy; its name is that of the folder, or NAME.",
    )
    _add_access(parser)
    _add_limits(parser)
    _add_loading(parser)
    _add_page(parser)
    _add_arena(parser)
    parser.add_argument(
        "--reward_model",
        help="Folder of the reward model whose rewards the page shows, and that answers "
        "/v1/score, /classify (as vLLM) and /get_reward (as OpenRLHF). DIR may be left out then.",
    )
    _add_backend(parser)
    return parser


def _add_access(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="Address to bind; others need --public.")
    add("--port", type=int, default=8080, help="Port to bind; 0 takes a free one.")
    add("--public", action="store_true", help="Allow an address that other machines can reach.")
    add("--token", help="Token that clients send as api_key; with --public, a random one.")
    add("--allowed_hosts", nargs="*", default=[], help="Host names that requests may use.")
    add(
        "--allowed_origins",
        nargs="*",
        default=[],
        help="Sites whose pages may use the API (CORS), such as http://localhost:3000; * for all, "
        "with a token.",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--max_requests",
        type=int,
        default=32,
        help="Responses of a model generated, and texts scored, at a time.",
    )
    add(
        "--max_waiting",
        type=int,
        default=64,
        help="Responses, and requests for scores, that may wait; more requests get status 429.",
    )
    add("--max_new_tokens", type=int, default=512, help="Maximum response length, in tokens.")
    add("--max_prompt_tokens", type=int, default=8192, help="Maximum prompt length, in tokens.")


def _add_loading(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--chat_template",
        default="auto",
        help="Chat template: auto, none, or a Jinja file, as in training.",
    )
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--base", help="Folder of a LoRA adapter's base model, if it was moved.")
    add("--int8", action="store_true", help="Keep linear layers in 8 bits, to save memory.")


def _add_page(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--store", default="labels.sqlite", help="Label store for votes: a file or database URL.")
    add("--annotator", help="Your name in the label store; default: your login.")
    add(
        "--history",
        default="chats.sqlite",
        help="File with the page's conversations; off keeps them in their browser tabs only.",
    )


def _add_arena(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--arena",
        action="store_true",
        help="Serve the arena alone: two random models answer a question, visitors vote without "
        "their names.",
    )
    add(
        "--questions_per_hour",
        type=int,
        default=60,
        help="Questions that one address may ask the arena in an hour.",
    )
    add(
        "--trusted_proxy",
        nargs="*",
        default=[],
        help="Addresses of proxies whose X-Forwarded-For names the visitor of the arena.",
    )


def _add_backend(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--backend",
        choices=(NATIVE, VLLM),
        default=NATIVE,
        help="What generates: rlhf's decoder, or a vLLM server that is started and ended, or that "
        "runs at --rollout_server.",
    )
    for key in _server_keys():
        add(f"--{key.name}", type=key.type, default=key.default, help=key.help)
