"""Keys of PPO beside those of every run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.sources import list_sources, split_weight
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.models.memory import tokens_at_once
from rlhf.ops.kl import KLEstimator
from rlhf.rewards.ensemble import Aggregation
from rlhf.rewards.reward import OnError
from rlhf.rewards.templates import KWARGS_HELP, TEMPLATE_HELP, JudgeTemplate, judge_templates
from rlhf.training.ppo.validation import check_config

Mode = Literal["separate", "shared_trunk", "lora"]
Advantage = Literal["gae", "rloo", "grpo"]


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """A `step` is one iteration: rollouts, scores, `num_ppo_epochs` passes of updates."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs", "reward_chat_template_kwargs")
    INSTEAD_OF: ClassVar[Mapping[str, Sequence[str]]] = {
        "total_episodes": ["num_train_epochs"],
        "rollout_batch_size": ["per_device_train_batch_size"],
        "max_tokens_per_microbatch": ["gradient_accumulation_steps"],
        "max_prompt_length": ["max_length"],
        "mode": ["use_peft", "load_in_4bit"],
    }

    model_name_or_path: str = field(
        metadata={"help": "Policy to start from, and the frozen reference: a folder or hub id."}
    )
    train_data: list[str] = field(
        metadata={
            "help": "Prompts: one or more of .jsonl/.json/.csv (.gz), .parquet, "
            "hub_id[:config][:split], each optionally WEIGHT*SOURCE."
        }
    )
    eval_data: list[str] | None = field(
        default=None, metadata={"help": "Held-out prompts, for eval_ figures and samples/."}
    )
    chat_template: str = field(
        default="auto",
        metadata={
            "help": "auto (the tokenizer's, or a supplied one), none (raw prompts), or a FILE."
        },
    )
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    reward_chat_template: list[str] | None = field(default=None, metadata={"help": TEMPLATE_HELP})
    reward_chat_template_kwargs: str | None = field(default=None, metadata={"help": KWARGS_HELP})
    show_rows: int = field(
        default=1, metadata={"help": "Rows printed at the start as the model reads them."}
    )
    drop_bad_rows: bool = field(
        default=False,
        metadata={"help": "Drop rows that cannot be used, count and list them, and go on."},
    )

    mode: Mode = field(
        default="separate",
        metadata={
            "help": "separate models; shared_trunk: policy and critic on one trunk; lora: "
            "adapters on one frozen backbone, which is the reference too."
        },
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the LoRA matrices (mode lora)."})
    lora_alpha: int = field(default=32, metadata={"help": "LoRA scale is lora_alpha / lora_r."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the layers that get LoRA; default is every linear layer."},
    )
    advantage: Advantage = field(
        default="gae",
        metadata={
            "help": "gae: with a critic; rloo, grpo: K answers to a prompt judge each other."
        },
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
    reward_aggregation: Aggregation = field(
        default="sum",
        metadata={
            "help": "sum adds reward models up; mean, worst, uncertainty (mean - coef * variance) "
            "take them and their heads as members of one ensemble."
        },
    )
    reward_uncertainty_coef: float | None = field(
        default=None, metadata={"help": "Of reward_aggregation=uncertainty; default 0.5."}
    )
    on_reward_error: OnError = field(
        default="stop",
        metadata={
            "help": "stop at an answer without a usable reward, or skip it, at most one in a "
            "hundred of an iteration, and count them."
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
    max_tokens_per_microbatch: int | None = field(
        default=None,
        metadata={
            "help": "Prompt + response tokens of one forward: memory, never results. Default: "
            "4096 on a GPU; on a CPU 512, and up to 4096 for small models."
        },
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
    kl_estimator: KLEstimator | None = field(
        default=None,
        metadata={"help": "Of the KL penalty; default k1, and k3 in grpo's loss."},
    )
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

    importance_weight_cap: float | None = field(
        default=None,
        metadata={
            "help": "Weigh tokens by min(p_train / p_rollout, this), where sampling and training "
            "compute in different ways; one more forward pass."
        },
    )
    ptx_data: str | None = field(
        default=None,
        metadata={"help": 'Pretraining texts, {"text"} rows, to keep learning beside the reward.'},
    )
    ptx_coef: float | None = field(
        default=None, metadata={"help": "Weight of the language-model loss on ptx_data."}
    )

    bf16: bool | None = field(
        default=None,
        metadata={"help": "bf16 autocast; default is where the device is fast at it."},
    )
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "Recompute activations backwards: less memory, slower."}
    )
    compile: bool = field(
        default=False,
        metadata={
            "help": "torch.compile the decoder layers of the update: minutes at the start; a CPU "
            "needs a C++ compiler."
        },
    )
    cuda_graphs: bool = field(
        default=False,
        metadata={"help": "Decode with recorded CUDA graphs; not measured on a GPU yet."},
    )
    save_steps: int = field(default=50, metadata={"help": "Iterations between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    eval_steps: int = field(default=25, metadata={"help": "Iterations between held-out figures."})
    num_eval_prompts: int = field(
        default=64, metadata={"help": "Prompts answered for held-out figures and samples/."}
    )
    best_kl: float | None = field(
        default=None,
        metadata={
            "help": "best/ holds the highest eval_score whose eval_kl is at most this; "
            "default is kl_budget, else any."
        },
    )
    logging_steps: int = field(
        default=1, metadata={"help": "Iterations between lines of metrics.jsonl."}
    )

    def __post_init__(self) -> None:
        list_sources(self)
        check_config(self)
        parse_template_kwargs(self.chat_template_kwargs)
        self.reward_templates(raw=False)

    @property
    def template_kwargs(self) -> dict[str, Any] | None:
        """Variables of the chat template; None where none were given."""
        return parse_template_kwargs(self.chat_template_kwargs)  # type: ignore[no-any-return]

    def reward_templates(self, *, raw: bool) -> dict[str, JudgeTemplate]:
        """Each reward model's chat template; none where prompts are `raw` in every stage."""
        return judge_templates(
            [split_weight(source)[1] for source in self.reward],
            self.reward_chat_template,
            self.reward_chat_template_kwargs,
            default="none" if raw else "auto",
        )

    @property
    def has_critic(self) -> bool:
        """Whether a value function is trained; the group estimators need none."""
        return self.advantage == "gae"

    @property
    def kl_in_loss(self) -> bool:
        """Whether the KL penalty stands in the loss (GRPO) and not in the rewards."""
        return self.advantage == "grpo"

    @property
    def penalty_estimator(self) -> KLEstimator:
        """Of the KL penalty, wherever it stands."""
        return self.kl_estimator or ("k3" if self.kl_in_loss else "k1")

    @property
    def microbatch_tokens(self) -> int:
        """`max_tokens_per_microbatch`, or what suits device and policy."""
        return self.max_tokens_per_microbatch or tokens_at_once(self.model_name_or_path)

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
