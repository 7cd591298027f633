"""`rlhf chat DIR`: chat with a policy in the terminal, or send it one prompt."""

import argparse
import contextlib
import getpass
import io
import sys
from collections.abc import Sequence
from functools import cache, partial

import transformers
from rich.console import Console

from rlhf.chat.conversation import Conversation
from rlhf.chat.line_editor import LineEditor, history_file
from rlhf.chat.loading import BaseNeeded, LoadedModel, load_chat_model
from rlhf.chat.renderer import Renderer, printable
from rlhf.chat.sampling import Sampling
from rlhf.chat.session import TerminalSession
from rlhf.chat.votes import Votes
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import RLHFError
from rlhf.rewards.model import RewardModel
from rlhf.runtime.command_parser import CommandParser, DefaultsFormatter
from rlhf.runtime.printing import plain_console, quiet_logs

STORE = "labels.sqlite"


def main(argv: Sequence[str]) -> int:
    """`rlhf chat`."""
    options = _parser().parse_intermixed_args(argv)
    sampling = Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
    )
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # the conversation reports bad UTF-8
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # we print our own
    load = partial(_load, options=options)
    conversation = Conversation(models=[load(path) for path in options.models], sampling=sampling)
    prompt = _single_prompt(options.prompt)
    if prompt is not None:
        return _respond_once(conversation, prompt)
    with Votes(options.store, options.annotator or getpass.getuser()) as votes:
        session = TerminalSession(
            conversation=conversation,
            renderer=Renderer(plain_console()),
            load_model=load,
            votes=votes,
            load_reward_model=cache(
                lambda: RewardModel(options.reward_model) if options.reward_model else None
            ),
            blind=options.blind,
        )
        _run_session(session, LineEditor(history_file()))
    return 0


def _load(path: str, options: argparse.Namespace) -> LoadedModel:
    """The model; its facts and warnings are printed on stderr."""
    console = plain_console(stderr=True, soft_wrap=True)
    with console.status(f"loading {path}"):
        load = partial(
            load_chat_model,
            chat_template=options.chat_template,
            template_kwargs=parse_template_kwargs(options.chat_template_kwargs),
            int8=options.int8,
        )
        try:
            model = load(path, base=options.base)
        except BaseNeeded as needed:
            model = load(path, base=_read_base(needed, console))
    for fact in model.facts:
        console.print(fact, style="dim", markup=False)
    for warning in model.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    return model


def _read_base(needed: BaseNeeded, console: Console) -> str:
    """The adapter's base, read from the terminal; raises `needed` if there is no terminal."""
    if not sys.stdin.isatty():
        raise needed
    console.print(str(needed), markup=False)
    with contextlib.suppress(EOFError):
        base = input("base> ").strip()
        if base:
            return base
    raise needed


def _single_prompt(prompt: str | None) -> str | None:
    """The only prompt: `--prompt TEXT`, or all of a piped stdin; None for a conversation."""
    if prompt is not None and prompt != "-":
        return prompt
    if prompt == "-" or not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\n")
    return None


def _respond_once(conversation: Conversation, prompt: str) -> int:
    """Print the response as it is generated and its thought on stderr.

    Of several models, each response is printed after the model's name.
    """
    with contextlib.suppress(BrokenPipeError):  # the reader, such as `| head`, has closed the pipe
        pieces = conversation.send(prompt)
        if len(conversation.models) == 1:
            thoughts = Renderer(Console(stderr=True, highlight=False))
            for piece in thoughts.print_thoughts(pieces):
                print(printable(piece.text), end="", flush=True)
            print(flush=True)
            return 0
        for _ in pieces:
            pass
        for model, response in zip(conversation.models, conversation.responses, strict=True):
            print(f"{model.name}: {printable(response.text)}", flush=True)
    return 0


def _run_session(session: TerminalSession, editor: LineEditor) -> None:
    """Handle line after line until /quit or the end of the input."""
    renderer = session.renderer
    renderer.note("/help lists the commands, /quit leaves.")
    while True:
        prefilled, session.prefilled = session.prefilled, ""
        try:
            renderer.console.print()
            line = editor.read("you> ", prefilled)
            if not session.handle_line(line):
                return
        except EOFError:
            renderer.console.print()
            return
        except RLHFError as error:
            renderer.note(str(error), style="red")
        except KeyboardInterrupt:
            renderer.note("\n/quit or Ctrl-D leaves.")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf chat",
        description="Chat with a policy: a model, LoRA adapter, run folder or checkpoint. "
        "Several policies get the same prompts, side by side.",
        epilog="A prompt piped into it gets one response.",
        allow_abbrev=False,
        formatter_class=DefaultsFormatter,
    )
    add = parser.add_argument
    add("models", metavar="DIR", nargs="+", help="Folder or hub id of a policy.")
    add("--prompt", help="Respond to this prompt and exit; - reads it from stdin.")
    add("--temperature", type=float, default=0.7, help="Sampling temperature; 0 is greedy.")
    add(
        "--top_p",
        type=float,
        default=1.0,
        help="Sample from the likeliest tokens whose probabilities reach this sum.",
    )
    add("--max_new_tokens", type=int, default=256, help="Maximum length of a response, in tokens.")
    add("--seed", type=int, default=0, help="Seed of the sampling.")
    add(
        "--chat_template",
        default="auto",
        help="Chat template: auto, none, or a Jinja file, as in training.",
    )
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--base", help="Folder of a LoRA adapter's base model, if it was moved.")
    add("--int8", action="store_true", help="Keep linear layers in 8 bits, to save memory.")
    add("--store", default=STORE, help="Label store for votes: a file or database URL.")
    add("--annotator", help="Your name in the label store; default: your login.")
    add("--reward_model", help="Folder of the reward model whose rewards /why shows.")
    add("--blind", action="store_true", help="Hide the models' names until you vote.")
    return parser
