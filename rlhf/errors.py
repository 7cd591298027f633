"""Errors that a user can meet. Each has a stable code and is the stdlib error a caller expects."""

from typing import Literal, NoReturn

# Exit status of a command: done; failed while it ran; the user's mistake; stopped by SIGTERM with
# a checkpoint to resume from (EX_TEMPFAIL of sysexits.h).
STATUS_DONE, STATUS_FAILED, STATUS_USER, STATUS_STOPPED = 0, 1, 2, 75

ErrorCode = Literal[
    # configuration
    "bad-value",  # a key or option has a value of the wrong type or outside its range
    "unknown-key",  # a key, option or command that does not exist
    "missing-key",  # a required key or option without a value
    "repeated-key",  # a key that is given twice
    "key-conflict",  # keys that cannot be combined
    "bad-config-file",  # a YAML or JSON file of settings that cannot be read
    "unsupported",  # a feature that this model, machine or method does not support
    "missing-package",  # an optional package or program that is not installed
    "bad-launch",  # processes, sharding or precision that the command cannot use
    # files and rows
    "missing-file",  # a file or folder that does not exist
    "file-exists",  # a file at the output path has other contents; it is not overwritten
    "unreadable-file",  # a file that cannot be opened or decoded
    "disk-full",  # the disk or quota of the output folder is full
    "bad-row",  # rows that cannot be used; the message lists them with file, line and reason
    "no-rows",  # a file or split without a usable row
    "unknown-format",  # a file with an unknown ending or unknown columns
    "bad-hub-id",  # a hub data set, configuration, split or revision that does not exist
    # models, runs and checkpoints
    "not-a-model",  # a folder or hub id that does not hold the expected model
    "altered-model",  # a model folder whose files do not match its manifest
    "base-mismatch",  # base weights other than those that the model was trained from
    "tokenizer-mismatch",  # two models whose vocabularies or special tokens differ
    "template-mismatch",  # a chat template other than the one that the model was trained with
    "template-error",  # a chat template that cannot be rendered
    "run-exists",  # `output_dir` already holds a run: resume it, or use --overwrite
    "run-locked",  # another process is writing to the same folder
    "no-checkpoint",  # there is no checkpoint to resume from
    "torn-checkpoint",  # a checkpoint whose files do not match its hashes
    "other-run",  # an earlier run or checkpoint with other settings or data
    # a run that had to stop
    "non-finite",  # NaN or infinity in logits, log-probs, scores, values or gradients
    "not-trained",  # a result was requested before `train` was called
    "nothing-trained",  # weights are frozen, or no optimizer step changes them
    "no-reward",  # responses without a usable reward
    "process-lost",  # a process of the run ended, or hangs while the others wait for it
    "engine-lost",  # the program that samples responses ended or cannot be reached
    "engine-mismatch",  # it samples with other weights, tokens or options than asked for
    "out-of-memory",  # the device or the machine has too little memory
    "upload-failed",  # the hub did not accept the model; the local folder is complete
    "regression",  # a figure of a suite is worse than in the baseline run
    "gate-failed",  # a failed gate stopped align or compare; --skip_gate continues anyway
    # rewards, judges
    "bad-reward",  # a source of rewards that cannot be loaded or reached, or is unusable
    "bad-environment",  # an environment that cannot be loaded, or that returns what it must not
    "judge-failed",  # an LLM judge that cannot be reached or rejects the request
    # labels, chat
    "bad-label",  # a label, ranking or form that does not fit its item
    "bad-store",  # a label store that cannot be opened, was closed, or is of another version
    "unknown-name",  # an annotator, item, model or message that does not exist
    "not-allowed",  # an action that this role or configuration does not permit
    "address-in-use",  # another server has the port; give another --port
    "too-long",  # a text or request over the limit of the model or server
    "busy",  # the server or queue is full; try again later
]


class RLHFError(Exception):
    """A mistake of the user: printed in a line or two with its code; exit status 2, no traceback.

    Args:
        message: the place, the offending value, why it matters, and the next step.
        code: a stable name of the kind of mistake, for programs, tests and the docs.
    """

    code: ErrorCode

    def __init__(self, message: str, *, code: ErrorCode = "bad-value") -> None:
        super().__init__(message)
        self.code = code


class ConfigError(RLHFError, ValueError):
    """A key, a value or a combination of keys that cannot run."""


class DataError(RLHFError, ValueError):
    """A file or a row that cannot be used."""


class CheckpointError(RLHFError, OSError):
    """A folder that is not the expected model, run or checkpoint."""


class TrainingError(RLHFError, RuntimeError):
    """A run that had to stop: non-finite numbers, a lost process. Exit status 1."""


def reject_row(reason: str) -> NoReturn:
    """Raise a `DataError` with the reason why a row cannot be used; its place is added later."""
    raise DataError(reason, code="bad-row")


def status_of(error: RLHFError | None) -> int:
    """The exit status of a process that ends with `error`; 0 where there is none."""
    if error is None:
        return STATUS_DONE
    return STATUS_FAILED if isinstance(error, TrainingError) else STATUS_USER
