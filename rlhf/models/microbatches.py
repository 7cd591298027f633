"""Which rows go through a forward pass together, and on which process."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rlhf.models.sequences import SharedPrompts


def microbatches(
    lengths: Tensor, max_tokens: int, shared: SharedPrompts | None = None
) -> list[Tensor]:
    """Row indices in groups of at most `max_tokens` tokens each, the longest rows first.

    A group of rows that are not packed has rows * longest tokens. A longer row is a group by
    itself.

    Args:
        lengths: long [B], prompt and response.
        max_tokens: of a group.
        shared: equal prompts, where the rows are packed and share them: their rows follow each
            other, and a prompt is counted once in a group.
    """
    # Longest first: a batch that does not fit into memory fails at the start.
    order: list[int] = lengths.argsort(descending=True, stable=True).tolist()
    if shared is not None:
        return _shared_microbatches(order, lengths.tolist(), max_tokens, shared)
    groups: list[list[int]] = []
    for row in order:
        if groups and (len(groups[-1]) + 1) * int(lengths[groups[-1][0]]) <= max_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [torch.tensor(group, device=lengths.device) for group in groups]


def _shared_microbatches(
    order: list[int], lengths: list[int], max_tokens: int, shared: SharedPrompts
) -> list[Tensor]:
    prompts, prompt_lengths = shared.first_rows.tolist(), shared.lengths.tolist()
    rank: dict[int, int] = {}
    for row in order:
        rank.setdefault(prompts[row], len(rank))
    groups: list[list[int]] = []
    tokens, held = 0, -1  # tokens of the last group, and the prompt of its last row
    for row in sorted(order, key=lambda row: rank[prompts[row]]):
        new = lengths[row] - (prompt_lengths[row] if prompts[row] == held else 0)
        if groups and tokens + new <= max_tokens:
            groups[-1].append(row)
            tokens += new
        else:
            groups.append([row])
            tokens = lengths[row]
        held = prompts[row]
    return [torch.tensor(group, device=shared.lengths.device) for group in groups]


def partition_rows(
    lengths: Tensor, num_processes: int, max_tokens: int, shared: SharedPrompts | None = None
) -> list[list[Tensor]]:
    """The microbatches of each process: rows are dealt by length, so that shares are similar.

    Every process knows all shares, and so the number of microbatches of the others.
    """
    by_length = lengths.argsort(descending=True, stable=True)
    dealt = [by_length[process::num_processes] for process in range(num_processes)]
    return [
        [rows[group] for group in microbatches(lengths[rows], max_tokens, _of(shared, rows))]
        for rows in dealt
    ]


def _of(shared: SharedPrompts | None, rows: Tensor) -> SharedPrompts | None:
    return None if shared is None else shared.select(rows)


def microbatch_schedule(
    dealt: list[list[Tensor]], process: int, *, alike: bool
) -> Iterator[tuple[Tensor, float, bool]]:
    """(rows, weight, whether it is the last) of each microbatch of a process.

    Args:
        dealt: the microbatches of all processes, from `partition_rows`.
        process: index of this process.
        alike: whether all processes make the same number of microbatches; a process with fewer
            repeats a row with weight 0.
    """
    own = dealt[process]
    count = max(map(len, dealt)) if alike else len(own)
    for index in range(count):
        repeated = index >= len(own)
        rows = own[-1][:1] if repeated else own[index]
        yield rows, 0.0 if repeated else 1.0, index == count - 1
