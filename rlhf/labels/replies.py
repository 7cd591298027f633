"""What an annotator sees after a label: feedback on a gold item, a reward model's ranks."""

from rlhf.labels import pre_labels, qualification
from rlhf.labels.queue import Queue
from rlhf.labels.selection import goal_of


def feedback_of(queue: Queue, annotator: str, claim_id: int) -> qualification.Feedback | None:
    """The feedback on a label of the qualification round; None for other labels."""
    goal = goal_of(queue.config)
    if goal is None:
        return None
    with queue.store.read() as connection:
        return qualification.feedback(connection, annotator, claim_id, goal)


def second_look_of(queue: Queue, annotator: str, claim_id: int) -> pre_labels.SecondLook | None:
    """The reward model's ranks for the label of a claim; None if they are not shown."""
    if queue.config.pre_label_share is None:
        return None
    with queue.store.read() as connection:
        return pre_labels.second_look(connection, annotator, claim_id)
