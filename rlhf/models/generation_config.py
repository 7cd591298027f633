"""Repair generation settings of public models that transformers loads but cannot save."""

import copy
from functools import cache
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from rlhf.runtime.distributed import print_once

# Keys that end a response or describe the file, and are not about sampling.
_NOT_SAMPLING = ("bos_token_id", "eos_token_id", "transformers_version", "_from_model_config")


def repair_generation_config(model: PreTrainedModel, name: str) -> None:
    """Change `model.generation_config` so that `save_pretrained` accepts it; print the changes.

    transformers warns about contradictory settings when it loads them and raises when it saves
    them, which would be after the training. A classifier has none.
    """
    config = getattr(model, "generation_config", None)
    if not isinstance(config, GenerationConfig):
        return
    repaired = valid(config)
    changes = _differences(config, repaired)
    model.generation_config = repaired
    if changes:
        _print_once(
            f"{name}: transformers cannot save its generation settings; changed: "
            f"{', '.join(changes)}. Training and sampling here do not use them."
        )


def valid(config: GenerationConfig) -> GenerationConfig:
    """`config` itself if it can be saved, else a copy with as few changes as necessary.

    A temperature or top_p without do_sample was meant for sampling: do_sample is set. Otherwise
    settings that contradict earlier ones get their defaults.
    """
    if _is_valid(config):
        return config
    sampling = copy.deepcopy(config)
    if config.do_sample is None and config.temperature != 0:
        sampling.do_sample = True
    if _is_valid(sampling):
        return sampling
    repaired = copy.deepcopy(config)
    keys = [key for key in config.to_diff_dict() if key not in _NOT_SAMPLING]
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
def _print_once(sentence: str) -> None:
    # Policy, reference and critic are loaded from the same files.
    print_once(sentence)
