"""Keys of the rounds of `rlhf align`, and the keys of the pipeline in each round."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from rlhf.errors import ConfigError
from rlhf.pipeline.config import SAMPLED, AlignConfig, key_values
from rlhf.pipeline.rounds import FIRST, complete_rounds
from rlhf.runtime.field_types import check_field_types
from rlhf.runtime.run_folder import RunConfig

VOTES = "votes"  # `labels` of a round whose only labels are votes and thumbs of chats
DEFAULT_FLOOR = 0.2
# Keys that may change between rounds. SFT is trained once, and the evaluation has to measure all
# rounds in the same way.
ROUND_KEYS = (
    *("labels", "ranking_prompts", "annotators", "gold", "num_responses", "sample_temperature"),
    *("sample_max_new_tokens", "label_overlap", "label_names", "label_quota", "label_port"),
    *("guideline", "reward_model_config", "reward_model_keys", "ppo_prompts", "ppo_config"),
    *("ppo_keys", "skip_gate"),
)
_ROUND_KEY = re.compile(r"(\d+)\.(\w+)")


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """Rounds: the new policy answers new prompts, and all labels train the next one."""

    ALIASES: ClassVar[Mapping[str, str]] = {"continue": "continue_rounds"}

    rounds: int = field(
        default=1,
        metadata={"help": "Rounds of labels, reward model, PPO and evaluation."},
    )
    continue_rounds: bool = field(
        default=False,
        metadata={
            "help": "Run one more round after the last complete one. Its short form is "
            "`--continue`."
        },
    )
    start_from: Literal["sft", "last"] = field(
        default="sft",
        metadata={
            "help": "Policy that PPO starts from in later rounds: the SFT model, or the policy of "
            "the last round."
        },
    )
    prompts_per_round: int | None = field(
        default=None,
        metadata={
            "help": "Prompts to rank in each later round: those of which the last reward model is "
            "least sure, and some random ones. Default: all ranking_prompts."
        },
    )
    active_floor: float | None = field(
        default=None,
        metadata={
            "help": f"Share of prompts_per_round that is drawn at random. Default: {DEFAULT_FLOOR}."
        },
    )
    round_decay: float = field(
        default=1.0,
        metadata={
            "help": "Weight of a ranking in the loss of the reward model, multiplied by this for "
            "each round that has passed since; below 1 where annotators change their taste."
        },
    )
    round_patience: int = field(
        default=1,
        metadata={
            "help": "Stop after this many rounds in a row that do not beat the best earlier round "
            "by the gold score; 0 never stops."
        },
    )
    votes: str | None = field(
        default=None,
        metadata={
            "help": "Label store with votes and thumbs of chats: those since the last round join "
            "the labels of the next one. Default: votes.sqlite in output_dir, if it exists."
        },
    )
    round_keys: list[str] = field(
        default_factory=list,
        metadata={
            "help": "`N.key=value` items: keys of the pipeline that change from round N on, such "
            "as `2.ranking_prompts=new.jsonl`."
        },
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        for key, least in (("rounds", 1), ("prompts_per_round", 1), ("round_patience", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise ConfigError(f"{key}={value}; use {least} or more.", code="bad-value")
        if not 0 < self.round_decay <= 1:
            raise ConfigError(
                f"round_decay={self.round_decay} is not above 0 and at most 1; with 1 all rounds "
                "count the same.",
                code="bad-value",
            )
        self._check_floor()
        _ = self.changes

    def _check_floor(self) -> None:
        if self.active_floor is None:
            return
        if not 0 <= self.active_floor <= 1:
            raise ConfigError(
                f"active_floor={self.active_floor} is not between 0 and 1.", code="bad-value"
            )
        if self.prompts_per_round is None:
            raise ConfigError(
                f"active_floor={self.active_floor} has no effect without prompts_per_round: all "
                "prompts are ranked; set both, or leave it out.",
                code="key-conflict",
            )

    @property
    def floor(self) -> float:
        """The share of a round's prompts that is drawn at random."""
        return DEFAULT_FLOOR if self.active_floor is None else self.active_floor

    @property
    def changes(self) -> dict[tuple[int, str], Any]:
        """(round, key) -> value of `round_keys`, the earlier rounds first.

        Raises:
            ConfigError: an item that is not N.key=value, or whose key is the same in all rounds.
        """
        changes = {}
        for name, value in key_values("round_keys", self.round_keys).items():
            match = _ROUND_KEY.fullmatch(name)
            if match is None or int(match[1]) <= FIRST:
                raise ConfigError(
                    f"round_keys: {name!r} is not N.key with a round N from {FIRST + 1} on; the "
                    f"keys of round {FIRST} are those of the pipeline.",
                    code="bad-value",
                )
            if match[2] not in ROUND_KEYS:
                raise ConfigError(
                    f"round_keys: {match[2]} cannot differ between rounds; use one of "
                    f"{', '.join(ROUND_KEYS)}.",
                    code="unknown-key",
                )
            changes[int(match[1]), match[2]] = value
        return dict(sorted(changes.items()))


ONE_ROUND = RoundsConfig()


def round_config(config: AlignConfig, rounds: RoundsConfig, number: int) -> AlignConfig:
    """The keys of a round: those of the pipeline, changed by `round_keys` up to this round.

    A FILE of labels serves one round. A later round without a file of its own has only the votes
    of chats as labels.

    Raises:
        ConfigError: a value of another type, or keys that do not go together.
    """
    changes = {key: value for (first, key), value in rounds.changes.items() if first <= number}
    if not changes and (number == FIRST or config.labels in SAMPLED):
        return config
    changed = replace(config, **changes)
    is_file = changed.labels not in (*SAMPLED, VOTES)
    if number > FIRST and is_file and (number, "labels") not in rounds.changes:
        return replace(changed, labels=VOTES)
    return changed


def settled_rounds(run_config: RunConfig, rounds: RoundsConfig) -> RoundsConfig:
    """`rounds` with the number of rounds to run: with `--continue` one more than are complete.

    Raises:
        ConfigError: keys that do not go with several rounds, or no complete round to continue.
    """
    if rounds.continue_rounds:
        complete = complete_rounds(run_config.output_dir)
        if run_config.overwrite:
            raise ConfigError(
                "--continue and --overwrite exclude each other: one keeps the rounds, the other "
                "deletes them; give one of them.",
                code="key-conflict",
            )
        if not complete:
            raise ConfigError(
                f"--continue: {Path(run_config.output_dir)} has no complete round to continue; "
                "run the pipeline without it first.",
                code="no-checkpoint",
            )
        rounds = replace(rounds, rounds=complete + 1)
    if rounds.rounds > FIRST and run_config.push_to_hub:
        raise ConfigError(
            f"push_to_hub={run_config.push_to_hub} uploads the policy of a single round, and the "
            "best of several rounds is known only at the end; leave it out, and upload the "
            "folder that is printed then.",
            code="key-conflict",
        )
    return rounds


def numbers_after_first(rounds: RoundsConfig) -> Sequence[int]:
    """The numbers of the rounds after the first one."""
    return range(FIRST + 1, rounds.rounds + 1)
