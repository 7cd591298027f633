"""All keys of a PPO run together."""

from dataclasses import dataclass
from typing import Any

from rlhf.data.config import PromptDataConfig
from rlhf.models.config import BackboneConfig
from rlhf.rewards.config import RewardConfig
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.validation import check_together


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """All keys of a PPO run. The order of the fields is that of `config.yaml`."""

    run: RunConfig
    model: BackboneConfig
    data: PromptDataConfig
    reward: RewardConfig
    ppo: PPOConfig

    def __post_init__(self) -> None:
        check_together(self)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The five dataclasses, for a file of settings and for hashes."""
        return self.run, self.model, self.data, self.reward, self.ppo


PPO_CLASSES = (RunConfig, BackboneConfig, PromptDataConfig, RewardConfig, PPOConfig)


def settings_of(configs: tuple[Any, ...]) -> PPOSettings:
    """The settings of what `parse_config(*PPO_CLASSES)` returns."""
    run, model, data, reward, ppo = configs
    return PPOSettings(run=run, model=model, data=data, reward=reward, ppo=ppo)
