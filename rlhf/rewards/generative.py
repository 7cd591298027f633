"""A generative reward model: a language model reads a rubric and a response, and judges it."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.data.collate import right_pad
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.template_format import shared_length
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.cpu_kernels.linear import hold_in_bf16, use_fast_cpu_linear
from rlhf.models.load import load_policy, on_device
from rlhf.models.microbatches import microbatches
from rlhf.models.output_head import plain_head
from rlhf.models.scorer import token_budget
from rlhf.models.shared_prefix import can_share_prefixes, last_states, prefix_groups
from rlhf.ops.rating import expected_verdict
from rlhf.rewards.pairs import check_pairs
from rlhf.rewards.rubric import Rubric, read_generative
from rlhf.types import Message, Prompt, Tools

LITTLE_MASS = 0.1  # of the probability: a model that hardly writes any of the verdicts
logger = logging.getLogger(__name__)


class GenerativeReward:
    """A reward: the verdict that a language model is expected to write about a response.

    The model reads the rubric with prompt and response, in one forward pass without sampling. With
    p_v the probability of verdict v as the next token, the reward is Σ value_v p_v / Σ p_v. It is a
    reward function: it goes wherever `file.py:function` does, and its values are not normalised.

    The weights are loaded at the first response.

    Examples:
        >>> reward = rlhf.GenerativeReward("judge.yaml")
        >>> reward(["2 plus 2?"], ["4"])

    Args:
        path: a YAML file with the keys of `GenerativeConfig`.

    Raises:
        ConfigError: a key or the rubric cannot be used, or two verdicts begin alike.
        CheckpointError: there is no such model, or it was altered.
    """

    mean, std = 0.0, 1.0  # of the reward, as `RewardModel` has them
    num_heads = 1

    def __init__(self, path: str | Path) -> None:
        self.path = self.__name__ = str(path)
        self.config = read_generative(path)
        values = self.config.values
        self.rubric = Rubric(self.config.rubric, list(values))
        self.chat: ChatTokenizer = load_checked_tokenizer(
            self.config.model,
            self.config.chat_template,
            template_kwargs=parse_template_kwargs(self.config.chat_template_kwargs),
            samples=False,
        )[0]
        self.words = list(values)
        self.values = torch.tensor([float(value) for value in values.values()])
        self.tokens = verdict_tokens(self.chat, self.rubric, self.words)
        self._device, self._bf16, self._warned = torch.device("cpu"), False, False

    def use(self, device: torch.device | str, *, bf16: bool = False) -> None:
        """Where the model computes; call it before the first response."""
        self._device, self._bf16 = torch.device(device), bf16

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[str | Sequence[Message]]
    ) -> list[float]:
        """The reward of each response, in TRL's signature."""
        responses = [
            text if isinstance(text, str) else str(text[-1]["content"]) for text in completions
        ]
        return self.score(prompts, responses)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """The expected verdict of each response.

        Raises:
            DataError: prompts or responses of another type or number, or a text that is too long
                for the model.
        """
        return self.judge(prompts, responses)[0].tolist()

    def score_heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        """`score` as float32 [B, 1], for a health report; a rubric has no place for tools."""
        return self.judge(prompts, responses)[0][:, None]

    def judge(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Expected verdicts, and the probability that all verdicts have together; float32 [B]."""
        check_pairs(prompts, responses)
        rows = [self.ids(*pair) for pair in zip(prompts, responses, strict=True)]
        if not rows:
            return torch.zeros(0), torch.zeros(0)
        expected, mass = expected_verdict(
            self._logits(rows), torch.tensor(self.tokens), self.values
        )
        if float(mass.mean()) < LITTLE_MASS and not self._warned:
            self._warned = True
            logger.warning(
                "%s: the verdicts %s have %.2g of the probability: the model hardly writes them; "
                "train it on verdicts, or change the rubric",
                self.path,
                ", ".join(self.words),
                float(mass.mean()),
            )
        return expected, mass

    def ids(self, prompt: Prompt, response: str) -> list[int]:
        """The ids that the model reads, up to where the verdicts differ.

        Raises:
            DataError: too many for the model, or a text after which the verdicts have other tokens.
        """
        text = self.rubric.text(prompt, response)
        first, second = (_row(self.chat, text, word) for word in self.words[:2])
        shared = shared_length(first, second)
        if [first[shared], second[shared]] != self.tokens[:2]:
            raise DataError(
                f"{self.path}: after the text about {response[:80]!r} the verdicts have other "
                "tokens; let the rubric end with a line break or a word.",
                code="bad-reward",
            )
        limit = self.chat.max_positions
        if limit is not None and shared >= limit:
            raise DataError(
                f"{self.path}: the rubric with the response {response[:80]!r} has {shared} tokens, "
                f"but the model has {limit} positions.",
                code="too-long",
            )
        return first[:shared]

    @cached_property
    def _model(self) -> PreTrainedModel:
        """The language model, loaded now."""
        model = on_device(load_policy(self.config.model), self._device)
        model.requires_grad_(False)
        if self._bf16:
            hold_in_bf16(model.base_model)
        else:
            use_fast_cpu_linear(model)
        return model

    @torch.no_grad()
    def _logits(self, rows: Sequence[list[int]]) -> Tensor:
        """Logits of the next token, float32 [B, V] on the CPU; equal rows are read once."""
        places: dict[tuple[int, ...], int] = {}
        index = [places.setdefault(tuple(row), len(places)) for row in rows]
        texts, model = [list(row) for row in places], self._model
        head = plain_head(model)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            if head is None:  # the model changes its logits: read them from its own forward
                parts = [
                    model(
                        input_ids=torch.tensor([row], device=self._device),
                        use_cache=False,
                        logits_to_keep=1,
                    ).logits[:, -1]
                    for row in texts
                ]
                return torch.cat(parts).float().cpu()[index]
            states = self._states(texts)
        return head.logits(states.to(head.layer.weight.dtype)).float().cpu()[index]

    def _states(self, rows: Sequence[list[int]]) -> Tensor:
        """The hidden states [B, D] at the last tokens of rows.

        Rows are right-padded and read without a mask: padding after a row cannot change what is
        read. On a CPU a large model reads the common beginning of rows once.
        """
        read: list[int] = []
        states: list[Tensor] = []
        left = set(range(len(rows)))
        if can_share_prefixes(self._model):
            for group, prefix in prefix_groups(rows, self._model.num_parameters()):
                states.append(last_states(self._model, [rows[row] for row in group], prefix))
                read += group
                left -= set(group)
        others = sorted(left)
        lengths = torch.tensor([len(rows[row]) for row in others], dtype=torch.long)
        for places in microbatches(lengths, token_budget(self._device)) if others else []:
            group = [others[place] for place in places.tolist()]
            ids, mask = right_pad([rows[row] for row in group], self.chat.pad_token_id)
            output = self._model.base_model(input_ids=ids.to(self._device), use_cache=False)
            last = mask.sum(1).to(self._device) - 1
            states.append(output.last_hidden_state[torch.arange(len(group)), last])
            read += group
        return torch.cat(states)[torch.tensor(read).argsort().to(self._device)]


def verdict_tokens(chat: ChatTokenizer, rubric: Rubric, words: Sequence[str]) -> list[int]:
    """The token of each verdict where they first differ, after the rubric.

    Raises:
        ConfigError: two verdicts have the same token there.
    """
    text = rubric.text("Hi", "Hello.")
    rows = [_row(chat, text, word) for word in words]
    shared = min(shared_length(rows[0], row) for row in rows[1:])
    tokens = [row[shared] for row in rows]
    for place, token in enumerate(tokens):
        if token in tokens[:place]:
            other = words[tokens.index(token)]
            raise ConfigError(
                f"verdicts {other!r} and {words[place]!r} begin with the same token "
                f"{chat.tokenizer.convert_ids_to_tokens(token)!r}; use words that begin "
                "differently.",
                code="bad-reward",
            )
    return tokens


def _row(chat: ChatTokenizer, text: str, word: str) -> list[int]:
    """The ids of the rubric's text and a verdict, as SFT trains on them."""
    tokens = token_response(chat, text, word)
    return [*tokens.prompt_ids, *tokens.response_ids]
