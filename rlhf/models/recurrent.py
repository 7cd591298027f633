"""Models that carry a state from token to token, which the sampling here does not."""

from pathlib import Path

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig

from rlhf.errors import CheckpointError
from rlhf.models.load import load_config

LAYERS_WITH_STATE = {"linear_attention", "conv"}  # of a configuration's layer_types


def is_recurrent(config: PretrainedConfig) -> bool:
    """Whether the language model of this configuration keeps more than keys and values."""
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if any(getattr(one, "_is_stateful", False) for one in kinds):
        return True
    layers = getattr(config.get_text_config(), "layer_types", None) or []
    return bool(LAYERS_WITH_STATE & set(layers))


def check_not_recurrent(
    path: str | Path, next_step: str = "use a model with attention alone"
) -> None:
    """Reject a model with a recurrent state where answers are to be sampled. Reads no weights.

    The sampling here keeps keys and values in a cache of its own, whose rows are repeated and
    dropped; a state (Mamba, linear attention, convolutions) has no place in it.

    Raises:
        CheckpointError: the model, and the next step.
    """
    config = load_config(path)
    if is_recurrent(config):
        raise CheckpointError(
            f"{path} ({config.model_type}) has layers with a recurrent state, which sampling here "
            f"does not support; {next_step}."
        )
