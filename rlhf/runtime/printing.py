"""Terminal output of this package, and of the libraries that it uses."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console

from rlhf.runtime.distributed import is_main_process


def plain_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that prints every text unchanged.

    rich reads `[…]` as markup and `:name:` as an emoji, and both occur in the names of folders and
    annotators. Colours come from styles, which are passed separately.
    """
    return Console(markup=False, emoji=False, highlight=False, stderr=stderr, soft_wrap=soft_wrap)


def counted(number: int, noun: str, plural: str = "") -> str:
    """The number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def rlhf_command(*words: object) -> str:
    """`rlhf WORDS` to paste into this shell: quoted, with rlhf's path if it is not on PATH."""
    program = "rlhf" if shutil.which("rlhf") else str(Path(sys.executable).with_name("rlhf"))
    return shlex.join([program, *map(str, words)])


def quiet_logs() -> None:
    """Limit libraries to errors, and to progress bars on the main process's terminal."""
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # datasets and pandas take 80 MB; if they are imported later, they read these.
    os.environ |= {"DATASETS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if "datasets" in sys.modules:
        sys.modules["datasets"].logging.set_verbosity_error()
        sys.modules["datasets"].disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)
    if not is_main_process() or not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
