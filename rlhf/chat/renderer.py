"""Responses in a terminal: streamed Markdown, or several responses in columns."""

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

from rlhf.chat.conversation import ResponsePiece

_BLOCKS = MarkdownIt()


def printable(text: str) -> str:
    """`text` without control characters: a model must not control the terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))


def as_markdown(text: str) -> Markdown:
    """Rendered Markdown that keeps line breaks and writes the addresses of links out."""
    markdown = Markdown(text, hyperlinks=False)
    for token in markdown.parsed:
        for child in token.children or []:
            if child.type == "softbreak":
                child.type = "hardbreak"
    return markdown


def settled_length(text: str) -> int:
    """Length of the part of a Markdown text that is final: all but its last block."""
    starts = [token.map[0] for token in _BLOCKS.parse(text) if token.level == 0 and token.map]
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: starts[-1]]) if starts else 0


class Renderer:
    """Prints responses. A terminal that cannot move its cursor gets plain text."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._plain = not console.is_terminal or console.is_dumb_terminal

    def note(self, text: str, style: str = "dim") -> None:
        """Print a message of the program."""
        self.console.print(printable(text), style=style, markup=False)

    def stream(self, pieces: Generator[ResponsePiece]) -> bool:
        """Print one response as it is generated; False if Ctrl-C stopped it."""
        with contextlib.closing(pieces):
            return self._stream_plain(pieces) if self._plain else self._stream_markdown(pieces)

    def side_by_side(
        self, pieces: Generator[ResponsePiece], titles: Sequence[str], order: Sequence[int]
    ) -> bool:
        """Print several responses in columns; order: the model of each column."""
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

    def print_thoughts(self, pieces: Generator[ResponsePiece]) -> Generator[ResponsePiece]:
        """Print the thought dimmed, as it is generated; yields the pieces of the response."""
        thinking = False
        try:
            for piece in pieces:
                if piece.thought:
                    label = "" if thinking else "thought> "
                    thinking = True
                    text = label + printable(piece.thought)
                    self.console.print(text, end="", style="dim", markup=False, soft_wrap=True)
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

    def _stream_plain(self, pieces: Generator[ResponsePiece]) -> bool:
        try:
            for number, piece in enumerate(self.print_thoughts(pieces)):
                if number == 0:
                    self.console.print("bot> ", style="bold cyan", end="")
                self.console.print(printable(piece.text), end="", markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            self.console.print()
            return False
        self.console.print()
        return True

    def _stream_markdown(self, pieces: Generator[ResponsePiece]) -> bool:
        """Finished blocks are printed once; the last block is redrawn as it grows."""
        text, finished = "", True
        try:
            response = self.print_thoughts(pieces)
            first = next(response, None)
            self.console.print("bot>", style="bold cyan")
            with self._live() as live:
                for piece in chain([first] if first else [], response):
                    text += printable(piece.text)
                    settled = settled_length(text)
                    if settled:
                        self.console.print(as_markdown(text[:settled]))
                        text = text[settled:]
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
        dimmed = [Text(f"{thought}\n", style="dim")] if thought else []
        content = Group(*dimmed, as_markdown(text))
        panels.append(Panel(content, title=Text(printable(title)), title_align="left"))
    table.add_row(*panels)
    return table
