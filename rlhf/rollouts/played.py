"""Episodes that are over, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.data.collate import left_pad, right_pad
from rlhf.models.generation.decoder import Generated
from rlhf.rollouts.episode import Episode
from rlhf.types import Episodes, PromptBatch


@dataclass(frozen=True, kw_only=True)
class Played:
    """The episodes of a batch as tensors."""

    batch: PromptBatch  # with the conversations that the environments began with
    generated: Generated  # all turns; log-probs and entropies 0 where the model did not write
    action_mask: Tensor  # bool [B, R], the tokens that the model wrote
    texts: Sequence[str]  # B, all turns
    thought_lengths: Sequence[int]  # B, tokens of the thoughts in all turns
    episodes: Episodes


def as_played(
    batch: PromptBatch, episodes: Sequence[Episode], pad_token_id: int, *, has_entropies: bool
) -> Played:
    """The episodes of the rows of a batch.

    Args:
        batch: the prompts.
        episodes: B, each with a turn of the model.
        pad_token_id: fills conversations on the left and responses on the right.
        has_entropies: whether the engine computed entropies.
    """
    device = batch.input_ids.device
    input_ids, attention_mask = left_pad([each.prompt_ids for each in episodes], pad_token_id)
    response_ids, response_mask = right_pad([each.ids for each in episodes], pad_token_id)

    def columns(rows: Sequence[Sequence[float]]) -> Tensor:
        values = torch.zeros(response_mask.shape)
        flat = [float(value) for row in rows for value in row]
        values[response_mask] = torch.tensor(flat)
        return values.to(device)

    def column(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=device)

    turns = [(each.messages, each.last_turn_at) for each in episodes]
    return Played(
        batch=PromptBatch(
            input_ids=input_ids.to(device),
            attention_mask=attention_mask.to(device),
            prompts=[each.prompt for each in episodes],
            group_ids=batch.group_ids,
            row_ids=batch.row_ids,
            columns=batch.columns,
        ),
        generated=Generated(
            response_ids=response_ids.to(device),
            response_mask=response_mask.to(device),
            logprobs=columns([each.logprobs for each in episodes]),
            entropies=columns([each.entropies for each in episodes]) if has_entropies else None,
            ended_with_eos=torch.tensor([each.finished for each in episodes], device=device),
        ),
        action_mask=columns([each.written for each in episodes]).bool(),
        texts=[each.transcript() for each in episodes],
        thought_lengths=[each.thought_tokens for each in episodes],
        episodes=Episodes(
            rewards=columns([each.rewards for each in episodes]),
            num_turns=column([each.num_turns for each in episodes]),
            num_calls=column([each.num_calls for each in episodes]),
            last_prompts=[messages[:last] for messages, last in turns],
            last_turns=[messages[last]["content"] for messages, last in turns],
            failures=[each.failure for each in episodes],
        ),
    )
