"""The checkpoint that a run resumes from, with metrics.jsonl cut back to it."""

from pathlib import Path

from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.run_folder import RunConfig, step_of
from rlhf.training.common.checkpoint import checkpoint_of_run
from rlhf.training.common.metrics import forget_after


def resume_point(run: RunConfig) -> Path | None:
    """The checkpoint to resume from, verified; None to start at the beginning. Prints which.

    Call it on all processes.

    Raises:
        CheckpointError: the named checkpoint is missing or torn.
    """
    checkpoint, notes = checkpoint_of_run(run)
    last = step_of(checkpoint) if checkpoint else -1
    on_main_process(lambda: forget_after(Path(run.output_dir), last))
    print_once(*notes)
    return checkpoint
