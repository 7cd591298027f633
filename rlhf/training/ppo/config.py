"""Keys of PPO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rlhf.rollouts.environment_config import EnvironmentConfig
from rlhf.runtime.field_types import check_field_types
from rlhf.training.common.config import OPTIM_HELP, Optim
from rlhf.training.ppo.correction_config import CorrectionConfig
from rlhf.training.ppo.validation import check_ppo
from rlhf.types import ImportanceLevel, KLEstimator, LossType

CUT = (
    "it would cut the distribution that responses are sampled from, and the log-probs of ratio, KL "
    "and gradient would be those of another policy than the sampler; leave it out (temperature "
    "applies to all of them)."
)
Mode = Literal["separate", "shared_trunk", "lora"]
Advantage = Literal[
    "gae", "rloo", "grpo", "dr_grpo", "reinforce++", "reinforce++_baseline", "remax"
]
# Estimators that compare the responses to a prompt with each other.
OF_GROUPS = ("rloo", "grpo", "dr_grpo", "reinforce++_baseline")
# Estimators whose papers put the KL penalty into the loss.
KL_IN_LOSS = ("grpo", "dr_grpo", "reinforce++_baseline")
# Keys that define advantages and losses; another value of one makes another run.
RUN_KEYS = (
    *("mode", "advantage", "rollout_batch_size", "num_generations", "temperature", "rollout_lag"),
    *("environment", "max_turns"),
    *("gamma", "lam", "whiten_rewards", "kl_coef", "kl_estimator", "kl_in"),
    *("surrogate", "importance_level", "importance_weight_cap", "loss_type", "mask_truncated"),
    *("importance_weight_floor", "importance_correction", "importance_correction_level"),
    *("clip_range", "clip_range_high", "dual_clip", "value_clip_range", "vf_coef", "entropy_coef"),
)


@dataclass(frozen=True, kw_only=True)
class PPOConfig(EnvironmentConfig, CorrectionConfig):
    """Keys of PPO. A `step` is one iteration: rollouts, scores, `num_ppo_epochs` of updates."""

    INSTEAD_OF: ClassVar[Mapping[str, Sequence[str]]] = {
        "total_episodes": ["num_train_epochs"],
        "rollout_batch_size": ["per_device_train_batch_size"],
        "max_tokens_per_microbatch": ["gradient_accumulation_steps"],
        "max_prompt_length": ["max_length"],
        "mode": ["use_peft"],
    }
    REFUSED: ClassVar[Mapping[str, str]] = dict.fromkeys(("top_p", "top_k", "min_p"), CUT)

    mode: Mode = field(
        default="separate",
        metadata={
            "help": "separate: policy and critic are two models. shared_trunk: they share one. "
            "lora: both are adapters on one frozen backbone, which is also the reference."
        },
    )
    advantage: Advantage = field(
        default="gae",
        metadata={
            "help": "gae: estimate advantages with a critic. rloo, grpo, dr_grpo, "
            "reinforce++_baseline: compare the K responses to a prompt with each other. "
            "reinforce++: compare all responses. remax: compare with the likeliest response."
        },
    )
    reward_clip: float | None = field(
        default=None,
        metadata={
            "help": "Clip scores to ± this, after normalisation, weights and the missing-EOS rule."
        },
    )
    missing_eos_penalty: float | None = field(
        default=None, metadata={"help": "Subtract this from the score of an unfinished response."}
    )
    missing_eos_score: float | None = field(
        default=None, metadata={"help": "Score that replaces that of an unfinished response."}
    )
    overlong_buffer: int | None = field(
        default=None,
        metadata={
            "help": "Subtract from the score of a response that ends within this many tokens of "
            "max_completion_length: linearly from 0 to overlong_penalty."
        },
    )
    overlong_penalty: float = field(
        default=1.0, metadata={"help": "What a response of the longest length loses."}
    )
    mask_truncated: bool = field(
        default=False,
        metadata={"help": "Leave unfinished responses out of the policy's loss."},
    )
    value_model_path: str | None = field(
        default=None,
        metadata={
            "help": "Model that the critic starts from: a reward model with the policy's "
            "tokenizer, or `fresh` for the policy's trunk with a new head. Default: the reward "
            "model where it fits, else fresh."
        },
    )

    total_episodes: int | None = field(
        default=None, metadata={"help": "Responses in total; give this or max_steps."}
    )
    max_steps: int | None = field(
        default=None, metadata={"help": "Iterations in total; give this or total_episodes."}
    )
    rollout_batch_size: int = field(
        default=128, metadata={"help": "Responses per iteration, over all processes."}
    )
    num_generations: int = field(default=1, metadata={"help": "Responses per prompt (K)."})
    dynamic_sampling: int = field(
        default=0,
        metadata={
            "help": "Replace prompts whose K responses have equal scores by other prompts, up to "
            "this many times per iteration."
        },
    )
    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt, in tokens."})
    max_completion_length: int = field(
        default=128, metadata={"help": "Longest response, in tokens, including its EOS."}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Temperature of sampling and of every log-prob."}
    )

    num_ppo_epochs: int = field(default=4, metadata={"help": "Passes over each rollout batch."})
    num_minibatches: int = field(
        default=4, metadata={"help": "Optimizer steps per pass over the rollouts."}
    )
    max_tokens_per_microbatch: int | None = field(
        default=None,
        metadata={
            "help": "Prompt and response tokens of one forward pass. It changes memory, never "
            "results. Default: 4096 on a GPU; on a CPU 1024, up to 4096 for small models, and up "
            "to four times as many where the responses of a group share a long prompt."
        },
    )
    learning_rate: float = field(default=3e-6, metadata={"help": "Learning rate of the policy."})
    value_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the critic. Default: learning_rate."}
    )
    optim: Optim = field(default="adamw_torch", metadata={"help": OPTIM_HELP})
    lr_scheduler_type: Literal["linear", "constant"] = field(
        default="linear",
        metadata={"help": "Learning rate over the run: linear decay to 0, or constant."},
    )
    critic_warmup_steps: int = field(
        default=0, metadata={"help": "Iterations at the start that train only the critic."}
    )
    max_grad_norm: float = field(
        default=1.0,
        metadata={"help": "Clip the gradient norms of policy and critic to this, each."},
    )
    surrogate: Literal["clipped", "cispo"] = field(
        default="clipped",
        metadata={
            "help": "clipped: PPO's loss, where clipped tokens have no gradient. cispo: log-probs "
            "weighted by the ratio, which is capped at 1 + clip_range_high."
        },
    )
    importance_level: ImportanceLevel = field(
        default="token",
        metadata={
            "help": "token: each token has its own ratio. sequence: that of its response, the "
            "geometric mean over its tokens (GSPO)."
        },
    )
    clip_range: float = field(
        default=0.2, metadata={"help": "Clip range of the probability ratio."}
    )
    clip_range_high: float | None = field(
        default=None,
        metadata={"help": "Clip range above 1 (clip-higher). Default: clip_range."},
    )
    loss_type: LossType = field(
        default="token-mean",
        metadata={
            "help": "What the policy's loss is a mean over. token-mean: tokens of the minibatch. "
            "sequence-mean: responses, of means over their tokens. dr_grpo: responses times "
            "max_completion_length. dapo: tokens of the iteration."
        },
    )
    entropy_coef: float = field(
        default=0.0,
        metadata={"help": "Weight of the entropy bonus in the policy's loss, per nat."},
    )
    dual_clip: float | None = field(
        default=None,
        metadata={"help": "Bound c > 1 of a token's loss where its advantage is negative."},
    )
    value_clip_range: float = field(
        default=0.2, metadata={"help": "Clip range of the value around its old estimate."}
    )
    vf_coef: float = field(default=0.1, metadata={"help": "Weight of the value loss."})
    gamma: float = field(default=1.0, metadata={"help": "Discount per token."})
    lam: float = field(default=0.95, metadata={"help": "Lambda of the advantage estimation."})
    whiten_rewards: bool = field(
        default=False,
        metadata={"help": "Scale per-token rewards to standard deviation 1; keep their mean."},
    )

    kl_coef: float = field(default=0.05, metadata={"help": "Weight of the per-token KL penalty."})
    kl_estimator: KLEstimator | None = field(
        default=None,
        metadata={
            "help": "Estimator of the KL penalty. Default: k1 in the rewards; in the loss k2, with "
            "the gradient of the KL. k3 in the loss is the GRPO paper's."
        },
    )
    kl_in: Literal["rewards", "loss"] | None = field(
        default=None,
        metadata={
            "help": "Where the KL penalty is. Default: rewards; loss with grpo, dr_grpo and "
            "reinforce++_baseline."
        },
    )
    target_kl: float | None = field(
        default=None,
        metadata={"help": "Adapt kl_coef to hold this KL, in nats per response."},
    )
    kl_horizon: int = field(
        default=10000,
        metadata={"help": "Responses over which kl_coef changes by a factor of up to about 1.2."},
    )
    kl_budget: float | None = field(
        default=None, metadata={"help": "Stop the run above this KL, in nats per response."}
    )

    ptx_data: str | None = field(
        default=None,
        metadata={"help": 'Pretraining texts, {"text"} rows, to train on in addition.'},
    )
    ptx_coef: float | None = field(
        default=None, metadata={"help": "Weight of the language-model loss on ptx_data."}
    )

    compile: bool = field(
        default=False,
        metadata={
            "help": "Compile the decoder layers of the update with torch.compile. The first update "
            "is slower; a CPU needs a C++ compiler."
        },
    )
    cuda_graphs: bool = field(
        default=False,
        metadata={"help": "Decode with recorded CUDA graphs; not measured on a GPU yet."},
    )
    save_steps: int = field(default=50, metadata={"help": "Iterations between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Number of checkpoints to keep."})
    eval_steps: int = field(
        default=25, metadata={"help": "Iterations between evaluations on held-out prompts."}
    )
    num_eval_prompts: int = field(
        default=64, metadata={"help": "Prompts for the held-out metrics and samples/."}
    )
    best_kl: float | None = field(
        default=None,
        metadata={
            "help": "best/ holds the policy with the highest eval_score whose eval_kl is at most "
            "this. Default: kl_budget, else any."
        },
    )
    logging_steps: int = field(
        default=1, metadata={"help": "Iterations between lines of metrics.jsonl."}
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        check_ppo(self)

    @property
    def has_critic(self) -> bool:
        """Whether a value function is trained; only GAE needs one."""
        return self.advantage == "gae"

    @property
    def compares_groups(self) -> bool:
        """Whether the advantages compare the responses to a prompt with each other."""
        return self.advantage in OF_GROUPS

    @property
    def kl_in_loss(self) -> bool:
        """Whether the KL penalty is part of the loss instead of the rewards."""
        if self.kl_in is None:
            return self.advantage in KL_IN_LOSS
        return self.kl_in == "loss"

    @property
    def penalty_estimator(self) -> KLEstimator:
        """Estimator of the KL penalty, in the loss or in the rewards."""
        return self.kl_estimator or ("k2" if self.kl_in_loss else "k1")

    @property
    def num_prompts(self) -> int:
        """Prompts per iteration, over all processes."""
        return self.rollout_batch_size // self.num_generations

    @property
    def minibatch_size(self) -> int:
        """Responses per optimizer step, over all processes."""
        return self.rollout_batch_size // self.num_minibatches

    @property
    def max_length(self) -> int:
        """Longest prompt and response together, in tokens."""
        return self.max_prompt_length + self.max_completion_length

    @property
    def num_steps(self) -> int:
        """Iterations of the run."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.total_episodes is not None
        return -(-self.total_episodes // self.rollout_batch_size)
