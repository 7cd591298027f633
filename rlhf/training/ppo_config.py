"""Keys of PPO beside those of every run."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.errors import ConfigError
from rlhf.ops.kl import KLEstimator


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """A `step` is one iteration: rollouts, scores, `num_ppo_epochs` passes of updates."""

    model_name_or_path: str = field(
        metadata={"help": "Policy to start from, and the frozen reference: a folder or hub id."}
    )
    train_data: str = field(
        metadata={"help": "Prompts: .jsonl/.json/.csv (.gz), .parquet, or hub_id[:split]."}
    )
    eval_data: str | None = field(
        default=None, metadata={"help": "Held-out prompts, for eval_ figures and samples/."}
    )
    chat_template: str = field(
        default="auto",
        metadata={
            "help": "auto (the tokenizer's, or a supplied one), none (raw prompts), or a FILE."
        },
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Drop rows that cannot be used, count and list them, and go on."},
    )

    reward: list[str] = field(
        default_factory=list,
        metadata={
            "help": "One or more of: a reward model's folder or hub id, file.py:function; "
            "each may be WEIGHT*SOURCE."
        },
    )
    normalize_reward: Literal["none", "mean", "mean_std"] = field(
        default="mean_std",
        metadata={
            "help": "Reward models: subtract their mean on demonstrations, and divide by std."
        },
    )
    reward_clip: float | None = field(
        default=None, metadata={"help": "Scores are clipped to ± this, after everything else."}
    )
    missing_eos_penalty: float | None = field(
        default=None, metadata={"help": "Subtracted from the score of an unfinished response."}
    )
    missing_eos_score: float | None = field(
        default=None, metadata={"help": "The score of an unfinished response, instead of its own."}
    )
    value_model_path: str | None = field(
        default=None,
        metadata={
            "help": "Critic's start: a reward model with the policy's tokenizer; `fresh` for the "
            "policy's trunk and a new head. Default: the reward model where it fits, else fresh."
        },
    )

    total_episodes: int | None = field(
        default=None, metadata={"help": "Responses in all; this or max_steps."}
    )
    max_steps: int | None = field(
        default=None, metadata={"help": "Iterations in all; this or total_episodes."}
    )
    rollout_batch_size: int = field(
        default=128, metadata={"help": "Responses per iteration, over all processes."}
    )
    num_generations: int = field(default=1, metadata={"help": "Responses to each prompt (K)."})
    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt, in tokens."})
    max_completion_length: int = field(
        default=128, metadata={"help": "Longest response, in tokens, its EOS included."}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Of sampling, and of every log-prob."}
    )

    num_ppo_epochs: int = field(default=4, metadata={"help": "Passes over each rollout batch."})
    num_minibatches: int = field(
        default=4, metadata={"help": "Optimizer steps per pass over the rollouts."}
    )
    max_tokens_per_microbatch: int = field(
        default=4096,
        metadata={"help": "Prompt + response tokens of one forward: memory, never results."},
    )
    learning_rate: float = field(default=3e-6, metadata={"help": "Of the policy."})
    value_learning_rate: float | None = field(
        default=None, metadata={"help": "Of the critic; default is learning_rate."}
    )
    lr_scheduler_type: Literal["linear", "constant"] = field(
        default="linear", metadata={"help": "Linear decay to 0 over the run, or none."}
    )
    critic_warmup_steps: int = field(
        default=0, metadata={"help": "Iterations at the start that train the critic alone."}
    )
    max_grad_norm: float = field(
        default=1.0, metadata={"help": "Gradients of policy and critic are clipped to this, each."}
    )
    clip_range: float = field(default=0.2, metadata={"help": "Of the probability ratio."})
    dual_clip: float | None = field(
        default=None, metadata={"help": "Bound c > 1 on the loss where the advantage is negative."}
    )
    value_clip_range: float = field(default=0.2, metadata={"help": "Of the value, around its old."})
    vf_coef: float = field(default=0.1, metadata={"help": "Weight of the value loss."})
    gamma: float = field(default=1.0, metadata={"help": "Discount per token."})
    lam: float = field(default=0.95, metadata={"help": "Lambda of advantage estimation."})
    whiten_rewards: bool = field(
        default=False, metadata={"help": "Scale per-token rewards to std 1, mean kept."}
    )

    kl_coef: float = field(default=0.05, metadata={"help": "Weight of the per-token KL penalty."})
    kl_estimator: KLEstimator = field(default="k1", metadata={"help": "Of the KL penalty."})
    target_kl: float | None = field(
        default=None,
        metadata={"help": "Adapt kl_coef to hold this KL, in nats per sequence."},
    )
    kl_horizon: int = field(
        default=10000, metadata={"help": "Responses over which kl_coef adapts by about 1.2."}
    )
    kl_budget: float | None = field(
        default=None, metadata={"help": "Stop the run above this KL, in nats per sequence."}
    )

    bf16: bool | None = field(
        default=None,
        metadata={"help": "bf16 autocast; default is where the device is fast at it."},
    )
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "Recompute activations backwards: less memory, slower."}
    )
    save_steps: int = field(default=50, metadata={"help": "Iterations between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    eval_steps: int = field(default=25, metadata={"help": "Iterations between held-out figures."})
    num_eval_prompts: int = field(
        default=64, metadata={"help": "Prompts answered for held-out figures and samples/."}
    )
    logging_steps: int = field(
        default=1, metadata={"help": "Iterations between lines of metrics.jsonl."}
    )

    def __post_init__(self) -> None:
        self._check_length_of_run()
        self._check_batches()
        self._check_ranges()
        if not self.reward:
            raise ConfigError(
                "reward is missing: name a reward model's folder or hub id, or file.py:function."
            )
        if self.missing_eos_penalty is not None and self.missing_eos_score is not None:
            raise ConfigError(
                "missing_eos_penalty and missing_eos_score both say what an unfinished response "
                "gets; set one of them."
            )

    @property
    def num_prompts(self) -> int:
        """Prompts per iteration, over all processes."""
        return self.rollout_batch_size // self.num_generations

    @property
    def minibatch_size(self) -> int:
        """Responses per optimizer step, over all processes."""
        return self.rollout_batch_size // self.num_minibatches

    @property
    def num_steps(self) -> int:
        """Iterations of the run."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.total_episodes is not None
        return -(-self.total_episodes // self.rollout_batch_size)

    def _check_length_of_run(self) -> None:
        if (self.total_episodes is None) == (self.max_steps is None):
            given = "both" if self.max_steps is not None else "neither"
            raise ConfigError(
                f"{given} of total_episodes (responses) and max_steps (iterations of "
                f"{self.rollout_batch_size} responses) are set; set one."
            )

    def _check_batches(self) -> None:
        for name, count in (
            ("num_minibatches", self.num_minibatches),
            ("num_generations", self.num_generations),
        ):
            if count < 1 or self.rollout_batch_size % count:
                raise ConfigError(
                    f"rollout_batch_size={self.rollout_batch_size} does not split into "
                    f"{name}={count} equal parts; use a multiple of it."
                )

    def _check_ranges(self) -> None:
        for name in (
            "num_ppo_epochs", "max_prompt_length", "max_completion_length", "save_steps",
            "save_total_limit", "eval_steps", "logging_steps", "num_eval_prompts", "kl_horizon",
            "max_tokens_per_microbatch", "rollout_batch_size",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; use 1 or more.")
        for name in (
            "temperature", "clip_range", "value_clip_range", "max_grad_norm", "learning_rate",
            "value_learning_rate", "reward_clip", "target_kl", "kl_budget",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}; use a number above 0.")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}; use a number from 0 to 1.")
        for name in ("kl_coef", "vf_coef", "critic_warmup_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}; use 0 or more.")
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ConfigError(f"dual_clip={self.dual_clip}; use a number above 1.")
