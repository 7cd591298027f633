"""Checks of paths before torch and transformers are imported."""

from collections.abc import Sequence

from rlhf.data.files.read import is_local
from rlhf.data.rows.sources import listed, parse_source
from rlhf.runtime.distributed import is_main_process
from rlhf.runtime.run_folder import RunConfig, claim_run_folder


def check_paths(
    run: RunConfig, *keys: str | Sequence[str] | None, continues: str | None = None
) -> None:
    """Check that the output folder is free and that local data files exist.

    The run checks both again, seconds later, when it opens the folder and reads the rows.

    Args:
        run: the keys of the run folder.
        keys: values of keys that name sources of rows, with their weights; None is left out.
        continues: as in `claim_run_folder`.

    Raises:
        ConfigError: as `claim_run_folder`.
        DataError: a file that does not exist, a folder, a file of another kind.
    """
    if not is_main_process():  # the launcher ends the other ranks if this one fails
        return
    claim_run_folder(run, continues=continues)
    check_files(*keys)


def check_files(*keys: str | Sequence[str] | None) -> None:
    """Check that local data files exist.

    Args:
        keys: values of keys that name sources of rows, with their weights; None is left out.

    Raises:
        DataError: a file that does not exist, a folder, a file of another kind.
    """
    for key in keys:
        for text in listed(key or []):
            is_local(parse_source(text).name)
