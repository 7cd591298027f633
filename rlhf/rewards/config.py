"""Keys of the reward."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rlhf.errors import ConfigError
from rlhf.rewards.judge_file import read_judge
from rlhf.rewards.options import CallOptions
from rlhf.rewards.spec import RewardSpec, parse_rewards
from rlhf.rewards.templates import KWARGS_HELP, TEMPLATE_HELP, JudgeTemplate, judge_templates
from rlhf.rewards.verifiers.load import checked_source
from rlhf.runtime.field_types import check_field_types

Normalization = Literal["none", "mean", "mean_std", "probability"]
OnError = Literal["stop", "skip"]
Aggregation = Literal["sum", "normalized_sum", "mean", "worst", "uncertainty"]
ENSEMBLES = ("mean", "worst", "uncertainty")  # aggregations of reward models and their heads
UNCERTAINTY_COEF = 0.5
# Keys of sources that are called: servers, judges, async functions and verifier:code.
OF_CALLS = ("reward_concurrency", "reward_timeout", "reward_retries", "reward_cache")


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What responses are scored with, and how scores of several sources are combined."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("reward_chat_template_kwargs",)

    reward: list[str] = field(
        default_factory=list,
        metadata={
            "help": "One or more of: a reward model's folder or hub id; file.py:function, async or "
            "not; the YAML file of a generative reward model; a server's address, "
            "http://HOST:PORT/v1/score; judge:FILE.yaml; verifier:NAME. Each may be WEIGHT*SOURCE. "
            "Required, except with an environment."
        },
    )
    normalize_reward: Normalization = field(
        default="mean_std",
        metadata={
            "help": "mean: subtract a reward model's mean on the demonstrations. mean_std: also "
            "divide by its standard deviation there. none: use the raw logits. probability: of a "
            "model of verdicts, the probability that the response is correct."
        },
    )
    reward_aggregation: Aggregation = field(
        default="sum",
        metadata={
            "help": "sum: add the sources up. normalized_sum: add them up after each is "
            "standardised over the iteration's responses. mean, worst, uncertainty (mean - coef * "
            "variance): treat reward models and their heads as the members of one ensemble."
        },
    )
    reward_uncertainty_coef: float | None = field(
        default=None,
        metadata={"help": "Coefficient of reward_aggregation=uncertainty. Default: 0.5."},
    )
    on_reward_error: OnError = field(
        default="stop",
        metadata={
            "help": "At a response without a usable reward: stop the run, or skip and count the "
            "response (at most one in a hundred of an iteration)."
        },
    )
    reward_concurrency: int = field(
        default=32,
        metadata={
            "help": "Calls of each server, judge, async function and verifier:code at a time, on "
            "each process."
        },
    )
    reward_timeout: float = field(
        default=60.0, metadata={"help": "Seconds that one attempt of such a call may take."}
    )
    reward_retries: int = field(
        default=3,
        metadata={"help": "Attempts after a failed one, with waits of 0.5 s, 1 s, 2 s and so on."},
    )
    reward_cache: str | None = field(
        default=None,
        metadata={
            "help": "SQLite file that stores the scores of such calls by source, prompt, response "
            "and columns, for later iterations and runs."
        },
    )
    reward_run_code: bool = field(
        default=False,
        metadata={
            "help": "Allow verifier:code to run the programs that the policy writes, on this "
            "machine. Use a container."
        },
    )
    reward_chat_template: list[str] | None = field(default=None, metadata={"help": TEMPLATE_HELP})
    reward_chat_template_kwargs: str | None = field(default=None, metadata={"help": KWARGS_HELP})

    def __post_init__(self) -> None:
        check_field_types(self)
        coef = self.reward_uncertainty_coef
        if coef is not None and not 0 < coef < float("inf"):
            raise ConfigError(
                f"reward_uncertainty_coef={coef}; use a number above 0.", code="bad-value"
            )
        if coef is not None and self.reward_aggregation != "uncertainty":
            raise ConfigError(
                f"reward_uncertainty_coef={coef} has no effect with reward_aggregation="
                f"{self.reward_aggregation}; leave it out or use uncertainty.",
                code="key-conflict",
            )
        self._check_calls()
        if self.reward:
            specs = parse_rewards(self.reward)
            self.templates(specs, raw=False)
            self._check_files(specs)

    def _check_calls(self) -> None:
        if self.reward_concurrency < 1:
            raise ConfigError(
                f"reward_concurrency={self.reward_concurrency}; use 1 or more.", code="bad-value"
            )
        if not 0 < self.reward_timeout < float("inf"):
            raise ConfigError(
                f"reward_timeout={self.reward_timeout}; use a number of seconds above 0.",
                code="bad-value",
            )
        if self.reward_retries < 0:
            raise ConfigError(
                f"reward_retries={self.reward_retries}; use 0 or more.", code="bad-value"
            )

    def _check_files(self, specs: Sequence[RewardSpec]) -> None:
        """Check what the names of verifiers and the files of judges say; nothing is loaded."""
        for spec in specs:
            if spec.kind == "verifier":
                checked_source(str(spec.source))
            elif spec.kind == "judge":
                read_judge(str(spec.source))
        if self.reward_run_code and not any(spec.runs_code for spec in specs):
            raise ConfigError(
                "reward_run_code=true, but the reward has no verifier:code; leave it out.",
                code="key-conflict",
            )

    @property
    def calls(self) -> CallOptions:
        """Limits of calls, and whether programs may run."""
        return CallOptions(
            concurrency=self.reward_concurrency,
            timeout=self.reward_timeout,
            retries=self.reward_retries,
            cache=self.reward_cache,
            run_code=self.reward_run_code,
        )

    @property
    def uncertainty_coef(self) -> float:
        """`reward_uncertainty_coef`, or its default."""
        return self.reward_uncertainty_coef or UNCERTAINTY_COEF

    def templates(self, specs: Sequence[RewardSpec], *, raw: bool) -> dict[str, JudgeTemplate]:
        """Each reward model's chat template by name; none where prompts are `raw` in every stage.

        Raises:
            ConfigError: another number of templates than reward models, or text that is not JSON.
        """
        return judge_templates(
            [spec.name for spec in specs if spec.is_model],
            self.reward_chat_template,
            self.reward_chat_template_kwargs,
            default="none" if raw else "auto",
        )
