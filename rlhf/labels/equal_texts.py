"""Equal responses of one item share a rank."""

from collections.abc import Sequence

from rlhf.data.source_formats.parts import mean_of_text, rank


def one_rank_per_text(responses: Sequence[str], ranks: Sequence[int]) -> list[int]:
    """`ranks`; equal texts that were ranked apart share the rank of their mean.

    Annotators may rank one text above its copy; the data loader would reject such a row.
    """
    means = mean_of_text(ranks, responses)
    return list(ranks) if means == list(ranks) else rank([-mean for mean in means])
