"""What this project prints to a terminal, and what libraries may print there."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console

from rlhf.runtime.distributed import is_main_process


def plain_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that prints every text as it is.

    rich reads `[…]` in a text as markup and `:name:` as an emoji, and both occur in the names of
    folders and people. Colours come from styles, which are given apart from the text.
    """
    return Console(markup=False, emoji=False, highlight=False, stderr=stderr, soft_wrap=soft_wrap)


def rlhf_command(*words: object) -> str:
    """`rlhf WORDS` as one types it into this shell: quoted, with rlhf's path where it needs one."""
    program = "rlhf" if shutil.which("rlhf") else str(Path(sys.executable).with_name("rlhf"))
    return shlex.join([program, *map(str, words)])


def quiet_logs() -> None:
    """Libraries report errors only, and show progress bars on the main process's terminal only."""
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # datasets and pandas are 80 MB; where they come later they read these.
    os.environ |= {"DATASETS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if "datasets" in sys.modules:
        sys.modules["datasets"].logging.set_verbosity_error()
        sys.modules["datasets"].disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)
    if not is_main_process() or not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
