"""How good a reward model is on answers it never saw, and where its zero lies."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.data.chat import judged_ids
from rlhf.data.split import group_key
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.models.scorer import Scorer, score_ids
from rlhf.ops.ranking import pairs_in_order, ranking_loss, share_with_interval
from rlhf.rewards.word_salad import shuffled
from rlhf.types import Demonstration, Prompt, Ranking


@dataclass(frozen=True, kw_only=True)
class TokenRanking:
    """A ranking whose answers are token ids."""

    prompt: Prompt
    group: str  # rankings of one prompt, by several people, are no independent evidence
    ids: Sequence[Sequence[int]]  # K rows: prompt, answer, end of turn
    ranks: Sequence[int]  # K


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the model orders held-out answers. Ties are no pairs."""

    loss: float  # mean over prompts of their mean over pairs
    accuracy: float  # share of pairs in the people's order
    low: float  # 95%, clustered by prompt
    high: float
    pairs: int
    longer_wins: float  # the accuracy of "the answer with more tokens wins" on the same pairs
    longer_low: float  # 95%, clustered by prompt
    longer_high: float

    def metrics(self) -> dict[str, float]:
        """The figures under their names in metrics.jsonl."""
        return {
            "eval_loss": self.loss,
            "eval_accuracy": self.accuracy,
            "eval_accuracy_low": self.low,
            "eval_accuracy_high": self.high,
            "eval_pairs": self.pairs,
            "eval_longer_wins": self.longer_wins,
            "eval_longer_wins_low": self.longer_low,
            "eval_longer_wins_high": self.longer_high,
        }


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """The raw logit on demonstrations: what is subtracted, what is divided by."""

    mean: float
    std: float
    rows: int
    above_shuffled: float  # share of demonstrations scored above their own words in random order


def tokenize(chat: ChatTokenizer, rows: Sequence[Ranking]) -> list[TokenRanking]:
    """Rankings as token ids, by the one function that every stage renders answers with."""
    return [
        TokenRanking(
            prompt=row.prompt,
            group=group_key(row),
            ids=[judged_ids(chat, row.prompt, answer) for answer in row.responses],
            ranks=row.ranks,
        )
        for row in rows
    ]


def flatten(
    rankings: Sequence[TokenRanking],
) -> tuple[list[Sequence[int]], Tensor, Tensor]:
    """The answers of all rankings in one row of N; their ranks [N] and rankings' numbers [N]."""
    ids = [answer for ranking in rankings for answer in ranking.ids]
    ranks = torch.tensor([r for ranking in rankings for r in ranking.ranks], dtype=torch.long)
    sizes = torch.tensor([len(ranking.ids) for ranking in rankings], dtype=torch.long)
    return ids, ranks, torch.arange(len(rankings)).repeat_interleave(sizes)


def measure(scorer: Scorer, held_out: Sequence[TokenRanking], pad_token_id: int) -> Health:
    """The health on `held_out`, whose rows all processes share out. At least one row."""
    state = PartialState()
    mine = held_out[state.process_index :: state.num_processes]
    ids, ranks, groups = flatten(mine)
    scores = score_ids(scorer, ids, pad_token_id)
    lengths = torch.tensor([float(len(row)) for row in ids])
    correct, pairs = pairs_in_order(scores, ranks, groups)
    longer, _ = pairs_in_order(lengths, ranks, groups)
    columns = torch.stack([ranking_loss(scores, ranks, groups), correct, pairs, longer], dim=1)
    loss, correct, pairs, longer = torch.tensor(_gathered(columns.tolist())).unbind(dim=1)
    everyones = [held_out[rank :: state.num_processes] for rank in range(state.num_processes)]
    prompts = [ranking.group for rows in everyones for ranking in rows]
    correct, pairs, longer = (_by_prompt(column, prompts) for column in (correct, pairs, longer))
    share, low, high = share_with_interval(correct, pairs)
    longer_wins, longer_low, longer_high = share_with_interval(longer, pairs)
    return Health(
        loss=float(loss.mean()),
        accuracy=share,
        low=low,
        high=high,
        pairs=int(pairs.sum()),
        longer_wins=longer_wins,
        longer_low=longer_low,
        longer_high=longer_high,
    )


def normalization(
    scorer: Scorer, chat: ChatTokenizer, rows: Sequence[Demonstration], *, seed: int
) -> Normalization:
    """Mean and std (Bessel-corrected) of the raw logit over `rows`, shared out over processes.

    A std of one row, or of rows that all score alike, is 1: there is nothing to divide by.
    """
    state = PartialState()
    mine = rows[state.process_index :: state.num_processes]
    said = [judged_ids(chat, row.prompt, row.completion) for row in mine]
    words = [judged_ids(chat, row.prompt, shuffled(row.completion, seed)) for row in mine]
    scores = score_ids(scorer, said, chat.pad_token_id)
    salad = score_ids(scorer, words, chat.pad_token_id)
    both = torch.tensor(_gathered(torch.stack([scores, salad], dim=1).tolist()))
    changed = both[:, 0] != both[:, 1]  # an answer of one word has no other order
    std = float(both[:, 0].std()) if len(rows) > 1 else 0.0
    return Normalization(
        mean=float(both[:, 0].mean()),
        std=std if std > 1e-6 else 1.0,
        rows=len(rows),
        above_shuffled=float((both[:, 0] > both[:, 1])[changed].float().mean()),
    )


def _by_prompt(column: Tensor, prompts: Sequence[str]) -> Tensor:
    """Sums over the rankings of each prompt: float [prompts] of [rankings]."""
    sums: defaultdict[str, float] = defaultdict(float)
    for prompt, value in zip(prompts, column.tolist(), strict=True):
        sums[prompt] += value
    return torch.tensor(list(sums.values()))


def _gathered(rows: list[list[float]]) -> list[list[float]]:
    """The rows of all processes on each of them."""
    together: list[list[float]] = gather_object(rows)
    return together
