"""Terminal input with a history across sessions, over several lines if needed."""

import contextlib
import os
from pathlib import Path
from types import ModuleType

HISTORY_LENGTH = 1000  # lines
BLOCK = '"""'


class LineEditor:
    """Input of a terminal.

    A line that ends with a backslash continues on the next one; three quotes begin and end a text
    of several lines.
    """

    def __init__(self, history: Path) -> None:
        self._history = history
        self._readline: ModuleType | None = None
        with contextlib.suppress(ImportError):  # Python can be built without it
            import readline

            self._readline = readline
            readline.set_history_length(HISTORY_LENGTH)
            with contextlib.suppress(OSError):
                readline.read_history_file(history)

    def read(self, prompt: str, prefilled: str = "") -> str:
        """One text; raises `EOFError` and `KeyboardInterrupt` as `input` does."""
        readline = self._readline
        if prefilled and readline is not None:
            readline.set_startup_hook(lambda: readline.insert_text(prefilled))
        try:
            line = input(prompt)
        finally:
            if readline is not None:
                readline.set_startup_hook(None)
        text = _with_following_lines(line)
        self._write_history()
        return text.strip()

    def _write_history(self) -> None:
        """Write the history after every line: a session may be killed."""
        if self._readline is None:
            return
        with contextlib.suppress(OSError):  # without a writable home there is no history
            self._history.parent.mkdir(parents=True, exist_ok=True)
            # Only the owner may read what was typed.
            os.close(os.open(self._history, os.O_CREAT | os.O_WRONLY, 0o600))
            self._readline.write_history_file(self._history)


def history_file() -> Path:
    """The history's path: `rlhf/chat_history` in the user's state folder (XDG)."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "rlhf" / "chat_history"


def _with_following_lines(line: str) -> str:
    """The text that begins with `line`: one line, continued lines, or a quoted block."""
    continuation = "...> "
    if line.startswith(BLOCK):
        lines = [line.removeprefix(BLOCK)]
        while not lines[-1].rstrip().endswith(BLOCK):
            lines.append(input(continuation))
        return "\n".join(lines).rstrip().removesuffix(BLOCK)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1].removesuffix("\\")
        lines.append(input(continuation))
    return "\n".join(lines)
