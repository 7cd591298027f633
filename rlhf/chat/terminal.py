"""`rlhf chat DIR`: talk to a policy in the terminal, or ask it one thing."""

import argparse
import contextlib
import io
import sys
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from typing import Any

import transformers
from rich.console import Console

from rlhf.chat.engine import Conversation, Sampling
from rlhf.chat.loading import load_chat_model
from rlhf.errors import ConfigError, RLHFError
from rlhf.launch import quiet_logs

HELP = """/help           this
/quit           leave; so does Ctrl-D
/reset          forget the conversation
/system TEXT    begin anew, with TEXT as the system message
/regen          another answer to the last question
/undo           take the last question and its answer back
/temp X         temperature; 0 takes the likeliest token
/topp X         keep the likeliest tokens that have probability X together
/max N          longest answer, in tokens
/seed N         seed of the sampling
Ctrl-C stops an answer and leaves the program running."""

SETTINGS: dict[str, tuple[str, type]] = {
    "/temp": ("temperature", float),
    "/topp": ("top_p", float),
    "/max": ("max_new_tokens", int),
    "/seed": ("seed", int),
}


def main(argv: Sequence[str]) -> int:
    """`rlhf chat`."""
    given = _parser().parse_args(argv)
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
    status = Console(stderr=True, highlight=False)
    with status.status(f"loading {given.model}"):
        model = load_chat_model(given.model, chat_template=given.chat_template)
    for fact in model.facts:
        status.print(fact, style="dim", markup=False)
    for warning in model.warnings:
        status.print(f"warning: {warning}", style="yellow", markup=False)
    conversation = Conversation(model=model, sampling=sampling)
    once = _single_prompt(given.prompt)
    if once is not None:
        return _answer_once(conversation, once)
    _talk(conversation, Console(highlight=False))
    return 0


def printable(text: str) -> str:
    """`text` without control characters: a model must not steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))


def _single_prompt(prompt: str | None) -> str | None:
    """The one thing to ask: `--prompt TEXT`, all of a piped stdin; None for a conversation."""
    if prompt is not None and prompt != "-":
        return prompt
    if prompt == "-" or not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\n")
    return None


def _answer_once(conversation: Conversation, prompt: str) -> int:
    with contextlib.suppress(BrokenPipeError):  # `| head` has read enough
        for piece in conversation.ask(prompt):
            print(printable(piece), end="", flush=True)
        print(flush=True)
    return 0


def _talk(conversation: Conversation, console: Console) -> None:
    """Question and answer until /quit or the end of the input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (line editing and history for input())
    console.print("/help lists the commands, /quit leaves.", style="dim")
    while True:
        try:
            line = input("\nyou> ").strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print("\n/quit or Ctrl-D leaves.", style="dim")
            continue
        if line in ("/quit", "/exit"):
            return
        try:
            _take(line, conversation, console)
        except RLHFError as error:
            console.print(str(error), style="red", markup=False)
        except KeyboardInterrupt:  # between two pieces of work of our own
            console.print()


def _take(line: str, conversation: Conversation, console: Console) -> None:
    """Carry out one line: a command, or a question."""
    command, _, rest = line.partition(" ")
    if not line:
        return
    if not line.startswith("/"):
        _show(conversation.ask(line), conversation, console)
    elif command == "/help":
        console.print(HELP, markup=False)
    elif command == "/regen":
        _show(conversation.regenerate(), conversation, console)
    elif command == "/undo":
        question = conversation.undo()
        said = "nothing to take back" if question is None else f"taken back: {question}"
        console.print(printable(said), style="dim", markup=False)
    elif command in ("/reset", "/system"):
        conversation.reset(rest if command == "/system" else None)
        console.print("a new conversation", style="dim")
    elif command in SETTINGS:
        conversation.sampling = _changed(conversation.sampling, command, rest)
        settings = ", ".join(f"{k} {v}" for k, v in asdict(conversation.sampling).items())
        console.print(settings, style="dim", markup=False)
    else:
        raise ConfigError(f"no command {command}; /help lists them.")


def _changed(sampling: Sampling, command: str, text: str) -> Sampling:
    name, kind = SETTINGS[command]
    try:
        value: Any = kind(text)
    except ValueError:
        raise ConfigError(f"{command} takes a number, not {text!r}.") from None
    changes: dict[str, Any] = {name: value}
    return replace(sampling, **changes)


def _show(pieces: Generator[str], conversation: Conversation, console: Console) -> None:
    """Print the answer as it comes. Ctrl-C ends the answer; what was said of it stays said."""
    note = ""
    try:
        with contextlib.closing(pieces):
            for number, piece in enumerate(pieces):
                if number == 0:
                    _begin(conversation, console)
                console.print(printable(piece), end="", markup=False, soft_wrap=True)
        note = "(cut off at its longest; /max N allows more)" if conversation.cut_off else ""
    except KeyboardInterrupt:
        note = "(stopped)"
    console.print(f"\n{note}" if note else "", style="dim", markup=False)


def _begin(conversation: Conversation, console: Console) -> None:
    if conversation.forgotten:
        left_out = f"the {conversation.forgotten} oldest turns no longer fit and are left out"
        console.print(left_out, style="dim")
    console.print("bot> ", style="bold cyan", end="")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf chat",
        description="Talk to a policy: a model, a LoRA adapter, a run folder, a checkpoint.",
        epilog="With text piped in it answers that and exits.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add: Any = parser.add_argument
    add("model", metavar="DIR", help="Folder (or hub id) of the policy.")
    add("--prompt", help="Answer this once and exit; - reads it from stdin.")
    add("--temperature", type=float, default=0.7, help="Softmax temperature; 0 is greedy.")
    add("--top_p", type=float, default=1.0, help="Keep the likeliest tokens up to this share.")
    add("--max_new_tokens", type=int, default=256, help="Longest answer, in tokens.")
    add("--seed", type=int, default=0, help="Seed of the sampling.")
    add("--chat_template", default="auto", help="auto | none | FILE, as the model was trained.")
    return parser
