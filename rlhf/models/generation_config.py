"""Repair the generation settings of a public model, which transformers may load and not save."""

import copy
from functools import cache
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from rlhf.runtime.distributed import print_once

# What ends an answer, and is no setting of how it is sampled.
_KEPT = ("bos_token_id", "eos_token_id", "transformers_version", "_from_model_config")


def repair_generation_config(model: PreTrainedModel, name: str) -> None:
    """Change `model.generation_config` so that `save_pretrained` accepts it, and say what changed.

    transformers warns of settings that contradict each other when it loads them and raises when it
    saves them, which would be after the training. A classifier has none.
    """
    found = getattr(model, "generation_config", None)
    if not isinstance(found, GenerationConfig):
        return
    repaired = valid(found)
    changes = _differences(found, repaired)
    model.generation_config = repaired
    if changes:
        _say_once(
            f"{name}: transformers does not save its generation settings as they are; changed: "
            f"{', '.join(changes)}. Training and sampling here do not read them."
        )


def valid(config: GenerationConfig) -> GenerationConfig:
    """`config` itself where it can be saved, else a copy with as few changes as make it so.

    A temperature or top_p without do_sample was meant for sampling, so that do_sample is set.
    Otherwise the settings that contradict those before them go back to their defaults.
    """
    if _is_valid(config):
        return config
    sampling = copy.deepcopy(config)
    if config.do_sample is None and config.temperature != 0:
        sampling.do_sample = True
    if _is_valid(sampling):
        return sampling
    repaired, given = copy.deepcopy(config), config.to_diff_dict()
    keys = [key for key in given if key not in _KEPT]
    make: Any = GenerationConfig
    for key in keys:
        setattr(repaired, key, getattr(make(), key, None))
    for key in keys:
        default = getattr(repaired, key)
        setattr(repaired, key, getattr(config, key))
        if not _is_valid(repaired):
            setattr(repaired, key, default)
    return repaired


def _is_valid(config: GenerationConfig) -> bool:
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True


def _differences(before: GenerationConfig, after: GenerationConfig) -> list[str]:
    old, new = before.to_dict(), after.to_dict()
    return [
        f"{key} {old.get(key)} -> {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


@cache
def _say_once(sentence: str) -> None:
    # Policy, reference and critic are loaded from the same files.
    print_once(sentence)
