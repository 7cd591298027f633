"""Score texts with a reward model, through its own tokenizer and chat template."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from rlhf.data.collate import right_pad
from rlhf.data.rows.parse_rated import CORRECT
from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.axes import OBJECTIVE_KEY, Axis, load_axes
from rlhf.models.cpu_kernels.linear import hold_in_bf16, use_fast_cpu_linear
from rlhf.models.heads import load_heads
from rlhf.models.load import load_reward_model, reward_head, reward_scale
from rlhf.models.microbatches import microbatches
from rlhf.models.scorer import TOKENS_ON_CPU
from rlhf.rewards.pairs import check_pairs, check_templates, check_tools
from rlhf.types import Prompt, Tools

Trunk = Callable[[Tensor], Tensor]
"""Hidden states [B, T, D] of ids [B, T], right-padded and read without a mask."""
COMPARED = 32  # tokens of a row on which two trunks have to agree
ROUNDED, ROUNDED_TO_BF16 = 2**-9, 2**-4  # relative differences that rounding alone may make


class RewardModel:
    """A frozen reward model. It reads texts, so it scores responses of any policy.

    A response is scored without its thought, unless the model was trained with `read_thoughts`.
    mean, std: of the raw logit on demonstrations; 0 and 1 where the model was not normalised.
    num_heads: of an ensemble on one backbone; 1 of any other model.
    objective: rankings, outcome or axes: the labels that it was trained on.
    axes: of a model of ratings, whose weighted sum is the reward; `correct` of a model of verdicts.

    Raises:
        CheckpointError: nothing at `path` that loads as a reward model.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        chat_template: str = "auto",
        template_kwargs: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
        bf16: bool = False,
        max_tokens: int | None = None,
    ) -> None:
        self.path = str(path)
        self.chat = load_tokenizer(
            self.path, chat_template, template_kwargs=template_kwargs, judges=True
        )
        model = load_reward_model(path)
        self.mean, self.std = reward_scale(model)
        module: nn.Module = model  # whose `to` has types
        module.to(device).eval().requires_grad_(False)
        self._trunk: Trunk = partial(_states, model.base_model)
        if bf16:
            hold_in_bf16(model.base_model)
        else:
            use_fast_cpu_linear(model)
        self._heads = load_heads(path, model)
        self.num_heads = len(self._heads.weight)
        self.objective = str(getattr(model.config, OBJECTIVE_KEY, "rankings"))
        self.axes, self._axis_heads = load_axes(path, model)
        if self.objective == "outcome":
            self.axes, self._axis_heads = [Axis(name=CORRECT)], self._heads.weight
        self._head, self._device, self._bf16 = reward_head(model), model.device, bf16
        on_cpu = self._device.type == "cpu"
        self._max_tokens = max_tokens or (TOKENS_ON_CPU if on_cpu else 8192)

    def read_through(self, trunk: Trunk) -> bool:
        """Take hidden states from `trunk` from now on, and free this model's own trunk.

        Returns False, and changes nothing, if the two do not agree on a row of ids.
        """
        ids = torch.arange(COMPARED, device=self._device)[None] % len(self.chat.tokenizer)
        with torch.no_grad(), self._autocast():
            own, other = self._trunk(ids).float(), trunk(ids).float()
        rounding = ROUNDED_TO_BF16 if self._bf16 else ROUNDED
        if own.shape != other.shape or (own - other).norm() > rounding * own.norm():
            return False
        self._trunk = trunk
        return True

    def score(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> list[float]:
        """The raw logit of each response, as plain transformers gives it for the same ids.

        tools: what each prompt offers; left out where the model's template has no place for them.

        Raises:
            DataError: prompts or responses of another type or number, or a conversation for a
                model without a chat template.
        """
        return self._read(prompts, responses, self._head, tools)[:, 0].tolist()

    def score_heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        """Raw logits of every head, float32 [B, heads], each shifted to the zero of their mean.

        Their mean is `score`. A head's own zero says nothing: rankings leave it open.
        """
        if self.num_heads == 1:
            return torch.tensor(self.score(prompts, responses, tools))[:, None]
        weight = self._heads.weight.to(self._device)

        def heads(last: Tensor) -> Tensor:
            return last @ weight.T

        return self._read(prompts, responses, heads, tools) - self._heads.offset

    def score_axes(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        """The output of each axis's head, float32 [B, A]; their weighted sum is `score`.

        `axis.mean + axis.std * output` is the predicted rating. Of a model of verdicts it is the
        logit of the probability that the response is correct.

        Raises:
            ConfigError: the model has no axes.
        """
        if not self.axes:
            raise ConfigError(
                f"{self.path} has no axes; train a reward model with objective=axes.",
                code="unsupported",
            )
        weight = self._axis_heads.to(self._device)
        return self._read(prompts, responses, lambda last: last @ weight.T, tools)

    def probabilities(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> list[float]:
        """The probability that each response is correct, σ(logit), by a model of verdicts.

        Raises:
            ConfigError: the model was not trained with objective=outcome.
        """
        check_verifier(self.path, self.objective)
        return torch.tensor(self.score(prompts, responses, tools)).sigmoid().tolist()

    def encode(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> list[list[int]]:
        """The ids that the model reads of each prompt and response; arguments as in `score`.

        Raises:
            DataError: as in `score`.
        """
        check_pairs(prompts, responses)
        check_tools(prompts, tools)
        check_templates(self.path, self.chat, prompts)
        if tools is None or self.chat.raw or not self.chat.format.renders_tools:
            tools = [()] * len(prompts)
        return [
            judged_ids(self.chat, prompt, response, offered)
            for prompt, response, offered in zip(prompts, responses, tools, strict=True)
        ]

    def score_ids(self, encoded: Sequence[list[int]]) -> list[float]:
        """The raw logit at the last id of each row, as `score` has it for the ids of `encode`."""
        return self._read_ids(encoded, self._head)[:, 0].tolist()

    def _read(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        head: Callable[[Tensor], Tensor],
        tools: Sequence[Tools] | None,
    ) -> Tensor:
        """float32 [B, outputs of head] of the last hidden states."""
        return self._read_ids(self.encode(prompts, responses, tools), head)

    @torch.no_grad()
    def _read_ids(self, encoded: Sequence[list[int]], head: Callable[[Tensor], Tensor]) -> Tensor:
        lengths = torch.tensor([len(ids) for ids in encoded], dtype=torch.long)
        groups = microbatches(lengths, self._max_tokens)
        if not groups:
            return torch.zeros(0, self.num_heads)
        with self._autocast():
            parts = [self._logits([encoded[row] for row in g.tolist()], head) for g in groups]
        return torch.cat(parts).cpu()[torch.cat(groups).argsort()]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    def _logits(self, encoded: Sequence[list[int]], head: Callable[[Tensor], Tensor]) -> Tensor:
        """Read at each row's last token; no mask, nothing real stands behind padding."""
        ids, mask = right_pad(encoded, self.chat.pad_token_id)
        last = self._trunk(ids.to(self._device))[torch.arange(len(ids)), mask.sum(1) - 1]
        with torch.autocast(last.device.type, enabled=False):
            return head(last.float())


def check_verifier(path: str, objective: str) -> None:
    """Check that the logit of a reward model is that of a probability.

    Raises:
        ConfigError: it is not.
    """
    if objective != "outcome":
        raise ConfigError(
            f"{path} was trained on {objective}: its score is not the logit of a probability; "
            "train a reward model with objective=outcome, or use another normalize_reward.",
            code="key-conflict",
        )


def _states(trunk: nn.Module, ids: Tensor) -> Tensor:
    states: Tensor = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return states
