"""Which rows go through a forward pass together, and on which process."""

from bisect import bisect_left
from collections.abc import Iterator

import torch
from torch import Tensor

from rlhf.models.sequences import SharedPrompts

GROWTH = 4  # a limit that may grow becomes at most so many times as large
WORTH_GROWING = 0.1  # share of all tokens; a smaller saving is not worth the memory


def microbatches(
    lengths: Tensor, max_tokens: int, shared: SharedPrompts | None = None, *, grows: bool = False
) -> list[Tensor]:
    """Row indices in as few groups of at most `max_tokens` tokens as their order allows.

    The groups are then made as small as their number allows: a last group of a few rows would be
    slow, and the largest one determines the memory. The longest rows come first: a batch that does
    not fit into memory fails at the start. A row that is longer is a group by itself.

    Args:
        lengths: long [B], prompt and response.
        max_tokens: of a group. Rows that are not packed have rows * longest tokens.
        shared: equal prompts, where the rows are packed and share them: their rows follow each
            other, and a prompt is counted once in a group.
        grows: whether groups may have more tokens where so many more rows share a long prompt that
            it saves tokens; see `GROWTH`.
    """
    order: list[int] = lengths.argsort(descending=True, stable=True).tolist()
    tokens: list[int] = lengths.tolist()

    def groups(limit: int) -> list[list[int]]:
        if shared is not None:
            return _shared_groups(order, tokens, limit, shared)
        return _padded_groups(order, tokens, limit)

    if grows and shared is not None:
        prompts = shared.first_rows.tolist(), shared.lengths.tolist()
        read = {
            limit: sum(_tokens(group, tokens, *prompts) for group in groups(limit))
            for limit in (max_tokens * factor for factor in range(1, GROWTH + 1))
        }
        enough = min(read.values()) / (1 - WORTH_GROWING)
        max_tokens = next(limit for limit, number in read.items() if number <= enough)
    fewest = len(groups(max_tokens))
    limit = bisect_left(range(max_tokens), -fewest, key=lambda limit: -len(groups(limit)))
    return [torch.tensor(group, device=lengths.device) for group in groups(limit)]


def _tokens(
    group: list[int], lengths: list[int], prompts: list[int], prompt_lengths: list[int]
) -> int:
    """Tokens of a group whose rows share their prompts."""
    own = sum(lengths[row] - prompt_lengths[row] for row in group)
    return own + sum({prompts[row]: prompt_lengths[row] for row in group}.values())


def _padded_groups(order: list[int], lengths: list[int], max_tokens: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for row in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _shared_groups(
    order: list[int], lengths: list[int], max_tokens: int, shared: SharedPrompts
) -> list[list[int]]:
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
    return groups


def partition_rows(
    lengths: Tensor,
    num_processes: int,
    max_tokens: int,
    shared: SharedPrompts | None = None,
    *,
    grows: bool = False,
) -> list[list[Tensor]]:
    """The microbatches of each process: rows are dealt by length, so that shares are similar.

    Every process knows all shares, and so the number of microbatches of the others.
    """
    by_length = lengths.argsort(descending=True, stable=True)
    dealt = [by_length[process::num_processes] for process in range(num_processes)]
    return [
        [
            rows[group]
            for group in microbatches(lengths[rows], max_tokens, _of(shared, rows), grows=grows)
        ]
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
