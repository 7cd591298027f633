"""`rlhf chat DIR`: chat with a policy in the terminal, or send it one prompt."""

import argparse
import contextlib
import getpass
import io
import sys
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
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.errors import RLHFError
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import plain_console, quiet_logs


def chat(options: argparse.Namespace) -> int:
    """The exit status of `rlhf chat` with these options."""
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
