"""The errors a user can meet. Each is also the stdlib error a caller would expect."""

# What a command ends with: done, failed while it ran, asked for what cannot be, stopped by a
# signal with a checkpoint to go on from (EX_TEMPFAIL of sysexits.h).
STATUS_DONE, STATUS_FAILED, STATUS_USER, STATUS_STOPPED = 0, 1, 2, 75


class RLHFError(Exception):
    """A mistake in what was asked for: printed in a line or two, exit status 2, no traceback."""


class ConfigError(RLHFError, ValueError):
    """A key, a value or a combination of keys that cannot be run."""


class DataError(RLHFError, ValueError):
    """A file or a row that cannot be used as it is."""


class CheckpointError(RLHFError, OSError):
    """A folder that is not the model, run or checkpoint it was taken for."""


class TrainingError(RLHFError, RuntimeError):
    """A run that had to stop: non-finite numbers, a failed rank. Exit status 1."""


def status_of(error: RLHFError | None) -> int:
    """The exit status of a process that ends with `error`; 0 where there is none."""
    if error is None:
        return STATUS_DONE
    return STATUS_FAILED if isinstance(error, TrainingError) else STATUS_USER
