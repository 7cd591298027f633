"""Rows that begin alike, such as responses to one prompt: what they share is read once."""

from collections.abc import Sequence
from itertools import pairwise, takewhile

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rlhf.data.collate import right_pad

WORTH_SHARING = 1e9  # tokens that are left out, times weights: more than a further call costs
ALIKE = 0.8  # of the longest prefix that a row shares with a neighbour
MAX_TOKENS = 4096  # of the rows of one group, each with its prefix


def can_share_prefixes(model: PreTrainedModel) -> bool:
    """Whether rows are read faster in parts: on a CPU, if all layers have full attention.

    A GPU is faster with few large batches.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        model.device.type == "cpu"
        and not getattr(model, "_is_stateful", False)
        and kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
    )


def prefix_groups(rows: Sequence[Sequence[int]], num_weights: int) -> list[tuple[list[int], int]]:
    """(indices of rows, length of their prefix) of rows that are worth reading as a group.

    Neighbours in alphabetical order share the longest prefixes. A group ends where two neighbours
    share clearly less than one of them shares with its other neighbour: a system prompt is common
    to all rows, but the responses to one prompt share more.
    """
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    common = [0, *(_common(rows[a], rows[b]) for a, b in pairwise(order)), 0]
    groups: list[tuple[list[int], int]] = []
    for place, row in enumerate(order):
        shared = common[place]
        clear = shared >= ALIKE * max(common[max(place - 1, 0)], common[place + 1])
        if groups and shared and clear:
            group, prefix = [*groups[-1][0], row], min(groups[-1][1], shared)
            if len(group) * max(len(rows[member]) for member in group) <= MAX_TOKENS:
                groups[-1] = group, prefix
                continue
        groups.append(([row], len(rows[row])))
    return [
        (group, prefix)
        for group, prefix in groups
        if _saved([len(rows[row]) for row in group], prefix) * num_weights >= WORTH_SHARING
    ]


def _saved(lengths: Sequence[int], prefix: int) -> int:
    """Tokens that are not read if rows of these lengths are read with one prefix."""
    return sum(lengths) - prefix - len(lengths) * (max(lengths) - prefix)


def last_states(model: PreTrainedModel, rows: Sequence[Sequence[int]], prefix: int) -> Tensor:
    """The hidden states [B, D] at the last tokens of rows with the same first `prefix` ids.

    A row is longer than the prefix. The prefix has no padding, and padding after a row cannot
    change what is read, so that no mask is needed.
    """
    device = model.device
    start = torch.tensor([list(rows[0][:prefix])], device=device)
    cache = DynamicCache(config=model.config)
    model.base_model(input_ids=start, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(rows))
    ids, mask = right_pad([row[prefix:] for row in rows], 0)
    states: Tensor = model.base_model(
        input_ids=ids.to(device), past_key_values=cache, use_cache=True
    ).last_hidden_state
    return states[torch.arange(len(rows)), mask.sum(1) - 1]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix that leaves at least a token of each row."""
    pairs = zip(first[:-1], second[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
