"""`rlhf chat DIR`: talk to a policy in the terminal, or ask it one thing."""

import argparse
import contextlib
import getpass
import io
import sys
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import transformers
from rich.console import Console

from rlhf.chat.conversation import Conversation
from rlhf.chat.line_editor import Lines, history_file
from rlhf.chat.loading import BaseNeeded, ChatModel, load_chat_model
from rlhf.chat.renderer import Renderer, printable
from rlhf.chat.sampling import Sampling
from rlhf.chat.session import Session
from rlhf.chat.votes import Votes
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import RLHFError
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import plain_console, quiet_logs

STORE = "labels.sqlite"


def main(argv: Sequence[str]) -> int:
    """`rlhf chat`."""
    given = _parser().parse_intermixed_args(argv)
    sampling = Sampling(
        temperature=given.temperature,
        top_p=given.top_p,
        max_new_tokens=given.max_new_tokens,
        seed=given.seed,
    )
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # refused in words, by the conversation
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one line of ours
    load = partial(_load, given=given)
    conversation = Conversation(models=[load(path) for path in given.models], sampling=sampling)
    once = _single_prompt(given.prompt)
    if once is not None:
        return _answer_once(conversation, once)
    with Votes(given.store, given.annotator or getpass.getuser()) as votes:
        session = Session(
            conversation=conversation,
            screen=Renderer(plain_console()),
            load_model=load,
            votes=votes,
            load_reward=cache(
                lambda: RewardModel(given.reward_model) if given.reward_model else None
            ),
            blind=given.blind,
        )
        _talk(session, Lines(history_file()))
    return 0


def _load(path: str, given: argparse.Namespace) -> ChatModel:
    """The model, and what it is and how it is spoken to, said on stderr."""
    console = plain_console(stderr=True, soft_wrap=True)
    with console.status(f"loading {path}"):
        load = partial(
            load_chat_model,
            chat_template=given.chat_template,
            template_kwargs=parse_template_kwargs(given.chat_template_kwargs),
            int8=given.int8,
        )
        try:
            model = load(path, base=given.base)
        except BaseNeeded as needed:
            model = load(path, base=_asked_base(needed, console))
    for fact in model.facts:
        console.print(fact, style="dim", markup=False)
    for warning in model.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    return model


def _asked_base(needed: BaseNeeded, console: Console) -> str:
    """The adapter's base, from the person where there is one."""
    if not sys.stdin.isatty():
        raise needed
    console.print(str(needed), markup=False)
    with contextlib.suppress(EOFError):
        base = input("base> ").strip()
        if base:
            return base
    raise needed


def _single_prompt(prompt: str | None) -> str | None:
    """The one thing to ask: `--prompt TEXT`, all of a piped stdin; None for a conversation."""
    if prompt is not None and prompt != "-":
        return prompt
    if prompt == "-" or not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\n")
    return None


def _answer_once(conversation: Conversation, prompt: str) -> int:
    """Print the answer as it comes, its thought on stderr; of several models each one's answer,
    after its name."""
    with contextlib.suppress(BrokenPipeError):  # `| head` has read enough
        alone = len(conversation.models) == 1
        pieces = conversation.ask(prompt)
        if alone:
            thoughts = Renderer(Console(stderr=True, highlight=False))
            for piece in thoughts.after_thought(pieces):
                print(printable(piece.text), end="", flush=True)
            print(flush=True)
            return 0
        for _ in pieces:
            pass
        for model, answer in zip(conversation.models, conversation.answers, strict=True):
            print(f"{model.name}: {printable(answer.text)}", flush=True)
    return 0


def _talk(session: Session, lines: Lines) -> None:
    """Line after line until /quit or the end of the input."""
    screen = session.screen
    screen.note("/help lists the commands, /quit leaves.")
    while True:
        prefilled, session.prefilled = session.prefilled, ""
        try:
            screen.console.print()
            line = lines.read("you> ", prefilled)
            if not session.take(line):
                return
        except EOFError:
            screen.console.print()
            return
        except RLHFError as error:
            screen.note(str(error), style="red")
        except KeyboardInterrupt:
            screen.note("\n/quit or Ctrl-D leaves.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf chat",
        description="Talk to a policy: a model, a LoRA adapter, a run folder, a checkpoint. "
        "Several get the same prompts, side by side.",
        epilog="With text piped in it answers that and exits.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add: Any = parser.add_argument
    add("models", metavar="DIR", nargs="+", help="Folder (or hub id) of a policy.")
    add("--prompt", help="Answer this once and exit; - reads it from stdin.")
    add("--temperature", type=float, default=0.7, help="Softmax temperature; 0 is greedy.")
    add("--top_p", type=float, default=1.0, help="Keep the likeliest tokens up to this share.")
    add("--max_new_tokens", type=int, default=256, help="Longest answer, in tokens.")
    add("--seed", type=int, default=0, help="Seed of the sampling.")
    add("--chat_template", default="auto", help="auto | none | FILE, as the model was trained.")
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--base", help="Base of a LoRA adapter, where it is not the one its config names.")
    add("--int8", action="store_true", help="Hold linear layers in 8 bits, to save memory.")
    add("--store", default=STORE, help="Label store that votes go to: a file or database URL.")
    add("--annotator", help="Name that votes are kept under; default: your login.")
    add("--reward_model", help="Reward model whose score /why shows.")
    add("--blind", action="store_true", help="Hide which model wrote what until you voted.")
    return parser
