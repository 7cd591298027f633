"""rlhf: take a pretrained language model through RLHF and back again.

The names below are imported when they are first used, so that `import rlhf` is instant.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# TRL trainers report usage to their hub unless this is set before huggingface_hub is imported.
# We switch it off for every command and recipe; set it to 0 yourself to switch it on again.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Threads that wait for each other spin by default, which on a busy machine takes the processor
# from the very thread that they wait for. OpenMP, GNU's or LLVM's, reads this when torch is
# imported, so recipes import rlhf before torch. Any of the three that is set stays unchanged.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

STARTED_BY = os.getppid()  # read before seconds of imports, in which a launcher may end

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rlhf import ops as ops
    from rlhf.chat.model import ChatModel as ChatModel
    from rlhf.data.config import DataConfig as DataConfig
    from rlhf.data.config import DataOptions as DataOptions
    from rlhf.data.config import PromptOptions as PromptOptions
    from rlhf.errors import CheckpointError as CheckpointError
    from rlhf.errors import ConfigError as ConfigError
    from rlhf.errors import DataError as DataError
    from rlhf.errors import RLHFError as RLHFError
    from rlhf.errors import TrainingError as TrainingError
    from rlhf.evaluation.api import evaluate as evaluate
    from rlhf.evaluation.evaluation import Evaluation as Evaluation
    from rlhf.labels.store import LabelStore as LabelStore
    from rlhf.models.config import BackboneConfig as BackboneConfig
    from rlhf.models.config import ModelConfig as ModelConfig
    from rlhf.rewards.config import RewardConfig as RewardConfig
    from rlhf.rewards.generative import GenerativeReward as GenerativeReward
    from rlhf.rewards.model import RewardModel as RewardModel
    from rlhf.rewards.spec import RewardSpec as RewardSpec
    from rlhf.training.dpo.config import DPOConfig as DPOConfig
    from rlhf.training.dpo.result import DPOResult as DPOResult
    from rlhf.training.dpo.trainer import DPOTrainer as DPOTrainer
    from rlhf.training.kto.config import KTOConfig as KTOConfig
    from rlhf.training.kto.result import KTOResult as KTOResult
    from rlhf.training.kto.trainer import KTOTrainer as KTOTrainer
    from rlhf.training.ppo.config import PPOConfig as PPOConfig
    from rlhf.training.ppo.result import PPOResult as PPOResult
    from rlhf.training.ppo.trainer import PPOTrainer as PPOTrainer
    from rlhf.training.rating.result import RatingResult as RatingResult
    from rlhf.training.rating.trainer import RatingTrainer as RatingTrainer
    from rlhf.training.reward.config import RewardModelConfig as RewardModelConfig
    from rlhf.training.reward.result import RewardResult as RewardResult
    from rlhf.training.reward.trainer import RewardTrainer as RewardTrainer
    from rlhf.training.sft.config import SFTConfig as SFTConfig
    from rlhf.training.sft.result import SFTResult as SFTResult
    from rlhf.training.sft.trainer import SFTTrainer as SFTTrainer

_EXPORTS = {
    "evaluate": "rlhf.evaluation.api",
    "LabelStore": "rlhf.labels.store",
    "ChatModel": "rlhf.chat.model",
    "BackboneConfig": "rlhf.models.config",
    "CheckpointError": "rlhf.errors",
    "ConfigError": "rlhf.errors",
    "DPOConfig": "rlhf.training.dpo.config",
    "DPOResult": "rlhf.training.dpo.result",
    "DPOTrainer": "rlhf.training.dpo.trainer",
    "DataConfig": "rlhf.data.config",
    "DataError": "rlhf.errors",
    "DataOptions": "rlhf.data.config",
    "Evaluation": "rlhf.evaluation.evaluation",
    "GenerativeReward": "rlhf.rewards.generative",
    "KTOConfig": "rlhf.training.kto.config",
    "KTOResult": "rlhf.training.kto.result",
    "KTOTrainer": "rlhf.training.kto.trainer",
    "ModelConfig": "rlhf.models.config",
    "PPOConfig": "rlhf.training.ppo.config",
    "PPOResult": "rlhf.training.ppo.result",
    "PPOTrainer": "rlhf.training.ppo.trainer",
    "PromptOptions": "rlhf.data.config",
    "RLHFError": "rlhf.errors",
    "RatingResult": "rlhf.training.rating.result",
    "RatingTrainer": "rlhf.training.rating.trainer",
    "RewardConfig": "rlhf.rewards.config",
    "RewardModel": "rlhf.rewards.model",
    "RewardModelConfig": "rlhf.training.reward.config",
    "RewardResult": "rlhf.training.reward.result",
    "RewardSpec": "rlhf.rewards.spec",
    "RewardTrainer": "rlhf.training.reward.trainer",
    "SFTConfig": "rlhf.training.sft.config",
    "SFTResult": "rlhf.training.sft.result",
    "SFTTrainer": "rlhf.training.sft.trainer",
    "TrainingError": "rlhf.errors",
}
_MODULES = ("ops",)
__all__ = ["__version__", *_MODULES, *_EXPORTS]


def __getattr__(name: str) -> Any:
    """The exported class, function or module, imported now."""
    if name in _MODULES:
        return importlib.import_module(f"rlhf.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'rlhf' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
