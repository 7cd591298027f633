"""Names the ranks that are gone when a run on several nodes loses a connection.

A launcher names the failed rank of its own node only. On the other nodes the failure looks like an
error of a collective operation, in the middle of anything.
"""

from rlhf.errors import TrainingError
from rlhf.runtime.hang_watchdog import running_watchdog
from rlhf.runtime.nodes import spans_nodes


def lost_rank_error(error: Exception) -> TrainingError | None:
    """What to report in place of `error`, if ranks on this or other nodes are gone.

    It waits a few seconds for reports of the other ranks. None if all of them report, in a run on
    one node, and without the watchdog (`RLHF_HANG_SECONDS=0`).
    """
    watchdog = running_watchdog()
    if watchdog is None or not spans_nodes() or not isinstance(error, RuntimeError):
        return None
    lost = watchdog.lost_ranks()
    if not lost:
        return None
    verb = "is" if len(lost) == 1 else "are"
    return TrainingError(
        f"{', '.join(lost[:8])} {verb} gone, and this rank cannot continue alone; its launcher has "
        "the reason. Start all nodes again with --resume_from_checkpoint latest.",
        code="process-lost",
    )
