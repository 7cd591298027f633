"""What a person types: with history across sessions, over several lines where they want it."""

import contextlib
import os
from pathlib import Path
from typing import Any

LINES_KEPT = 1000
BLOCK = '"""'


class Lines:
    """Input of a terminal. A line that ends with a backslash goes on with the next; three quotes
    begin a text of several lines, and end it."""

    def __init__(self, history: Path) -> None:
        self._history = history
        self._readline: Any = None
        with contextlib.suppress(ImportError):  # Python can be built without it
            import readline

            self._readline = readline
            self._read_history()

    @property
    def edits(self) -> bool:
        """Whether a text can be put into the line for the person to change."""
        return self._readline is not None

    def read(self, prompt: str, prefilled: str = "") -> str:
        """One text; raises `EOFError` and `KeyboardInterrupt` as `input` does."""
        if prefilled and self._readline is not None:
            self._readline.set_startup_hook(lambda: self._readline.insert_text(prefilled))
        try:
            line = input(prompt)
        finally:
            if self._readline is not None:
                self._readline.set_startup_hook(None)
        text = self._rest_of(line)
        self._remember()
        return text.strip()

    def _rest_of(self, line: str) -> str:
        more = "...> "
        if line.startswith(BLOCK):
            lines = [line.removeprefix(BLOCK)]
            while not lines[-1].rstrip().endswith(BLOCK):
                lines.append(input(more))
            return "\n".join(lines).rstrip().removesuffix(BLOCK)
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1].removesuffix("\\")
            lines.append(input(more))
        return "\n".join(lines)

    def _read_history(self) -> None:
        self._readline.set_history_length(LINES_KEPT)
        with contextlib.suppress(OSError):
            self._readline.read_history_file(self._history)

    def _remember(self) -> None:
        """Write the history now: a session may end without an end."""
        if self._readline is None:
            return
        with contextlib.suppress(OSError):  # a home that cannot be written has no history
            self._history.parent.mkdir(parents=True, exist_ok=True)
            # What was asked is nobody else's to read.
            os.close(os.open(self._history, os.O_CREAT | os.O_WRONLY, 0o600))
            self._readline.write_history_file(self._history)


def history_file() -> Path:
    """Where lines are kept: `chat_history` in the user's state folder (XDG)."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "rlhf" / "chat_history"
