"""Score texts with a reward model, through its own tokenizer and chat template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlhf.data.chat import judged_ids
from rlhf.data.collate import right_pad
from rlhf.data.tokenizer import load_tokenizer
from rlhf.models.forward import microbatches
from rlhf.models.load import load_reward_model, reward_scale
from rlhf.types import Prompt


class RewardModel:
    """A trained reward model, frozen. Policies of any tokenizer may be scored: texts come in.

    mean, std: of the raw logit on demonstrations; 0 and 1 where the model was not normalised.

    Raises:
        CheckpointError: nothing at `path` that loads as a reward model.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        chat_template: str = "auto",
        device: torch.device | str = "cpu",
        bf16: bool = False,
        max_tokens: int = 8192,
    ) -> None:
        self.path = str(path)
        self.chat = load_tokenizer(self.path, chat_template, judges=True)
        model: Any = load_reward_model(path)
        self.mean, self.std = reward_scale(model)
        self._model = model.to(device).eval().requires_grad_(False)
        self._bf16 = bf16
        self._max_tokens = max_tokens

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """Raw logits, one an answer: what plain transformers gives for the same ids."""
        encoded = [
            judged_ids(self.chat, prompt, response)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        logits = torch.zeros(len(encoded))
        lengths = torch.tensor([len(ids) for ids in encoded], dtype=torch.long)
        device = self._model.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bf16):
            for rows in microbatches(lengths, self._max_tokens):
                logits[rows] = self._logits([encoded[row] for row in rows.tolist()]).cpu()
        return logits.tolist()

    def _logits(self, encoded: Sequence[list[int]]) -> Tensor:
        """Read at each row's last token; no mask, nothing real stands behind padding."""
        ids, mask = right_pad(encoded, self.chat.pad_token_id)
        hidden = self._model.base_model(input_ids=ids.to(self._model.device), use_cache=False)
        last = hidden.last_hidden_state[torch.arange(len(ids)), mask.sum(1) - 1]
        with torch.autocast(last.device.type, enabled=False):
            return self._model.score(last.float())[:, 0]  # type: ignore[no-any-return]
