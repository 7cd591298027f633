"""Answers in a terminal: Markdown as it comes, or several answers in columns."""

import contextlib
from collections.abc import Generator, Sequence
from itertools import chain

from markdown_it import MarkdownIt
from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rlhf.chat.conversation import Piece

_BLOCKS = MarkdownIt()


def printable(text: str) -> str:
    """`text` without control characters: a model must not steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))


def as_markdown(text: str) -> Markdown:
    """Rendered text; line breaks stay, and links are written out instead of hidden."""
    made = Markdown(text, hyperlinks=False)
    for token in made.parsed:
        for child in token.children or []:
            if child.type == "softbreak":
                child.type = "hardbreak"
    return made


def settled(text: str) -> int:
    """How much of a Markdown text no further character changes: all before its last block."""
    starts = [token.map[0] for token in _BLOCKS.parse(text) if token.level == 0 and token.map]
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: starts[-1]]) if starts else 0


class Renderer:
    """Where answers are shown. A terminal that cannot move its cursor gets plain text."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._plain = not console.is_terminal or console.is_dumb_terminal

    def note(self, text: str, style: str = "dim") -> None:
        """A line of ours."""
        self.console.print(printable(text), style=style, markup=False)

    def one(self, pieces: Generator[Piece]) -> bool:
        """Show one answer as it comes; False where Ctrl-C ended it."""
        with contextlib.closing(pieces):
            return self._stream(pieces) if self._plain else self._stream_markdown(pieces)

    def side_by_side(
        self, pieces: Generator[Piece], titles: Sequence[str], order: Sequence[int]
    ) -> bool:
        """Show several answers in columns; order: the model of each column."""
        thoughts, texts = [""] * len(order), [""] * len(order)
        finished = True
        with contextlib.closing(pieces), contextlib.ExitStack() as stack:
            live = None if self._plain else stack.enter_context(self._live())
            try:
                for piece in pieces:
                    thoughts[order.index(piece.model)] += printable(piece.thought)
                    texts[order.index(piece.model)] += printable(piece.text)
                    if live is not None:
                        live.update(_columns(titles, thoughts, texts))
            except KeyboardInterrupt:
                finished = False
        if self._plain:
            for title, thought, text in zip(titles, thoughts, texts, strict=True):
                if thought:
                    self.note(f"{title} thought> {thought}")
                self.console.print(f"{title}> {text}", markup=False, soft_wrap=True)
        else:
            self.console.print(_columns(titles, thoughts, texts))
        return finished

    def after_thought(self, pieces: Generator[Piece]) -> Generator[Piece]:
        """The pieces of the response; a thought before it is shown as it comes, dimmed."""
        thinking = False
        try:
            for piece in pieces:
                if piece.thought:
                    label = "" if thinking else "thought> "
                    thinking = True
                    said = label + printable(piece.thought)
                    self.console.print(said, end="", style="dim", markup=False, soft_wrap=True)
                if piece.text:
                    if thinking:
                        self.console.print()
                    thinking = False
                    yield piece
        finally:
            if thinking:
                self.console.print()

    def _live(self) -> Live:
        return Live(console=self.console, transient=True, vertical_overflow="ellipsis")

    def _stream(self, pieces: Generator[Piece]) -> bool:
        try:
            for number, piece in enumerate(self.after_thought(pieces)):
                if number == 0:
                    self.console.print("bot> ", style="bold cyan", end="")
                self.console.print(printable(piece.text), end="", markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            self.console.print()
            return False
        self.console.print()
        return True

    def _stream_markdown(self, pieces: Generator[Piece]) -> bool:
        """Finished blocks are printed for good; the last one is drawn anew as it grows."""
        text, finished = "", True
        try:
            spoken = self.after_thought(pieces)
            first = next(spoken, None)
            self.console.print("bot>", style="bold cyan")
            with self._live() as live:
                for piece in chain([first] if first else [], spoken):
                    text += printable(piece.text)
                    done = settled(text)
                    if done:
                        self.console.print(as_markdown(text[:done]))
                        text = text[done:]
                    live.update(as_markdown(text))
        except KeyboardInterrupt:
            finished = False
        if text:
            self.console.print(as_markdown(text))
        return finished


def _columns(titles: Sequence[str], thoughts: Sequence[str], texts: Sequence[str]) -> Table:
    table = Table.grid(expand=True)
    panels = []
    for title, thought, text in zip(titles, thoughts, texts, strict=True):
        table.add_column(ratio=1)
        before = [Text(f"{thought}\n", style="dim")] if thought else []
        said = Group(*before, as_markdown(text))
        panels.append(Panel(said, title=Text(printable(title)), title_align="left"))
    table.add_row(*panels)
    return table
