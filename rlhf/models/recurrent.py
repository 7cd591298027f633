"""Models with a recurrent state, which sampling does not support."""

from pathlib import Path

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig

from rlhf.errors import CheckpointError
from rlhf.models.load import load_config

LAYERS_WITH_STATE = {"linear_attention", "conv"}  # in a configuration's layer_types


def is_recurrent(config: PretrainedConfig) -> bool:
    """Whether the language model of this configuration has a state besides keys and values."""
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if any(getattr(cls, "_is_stateful", False) for cls in kinds):
        return True
    layers = getattr(config.get_text_config(), "layer_types", None) or []
    return bool(LAYERS_WITH_STATE & set(layers))


def check_not_recurrent(
    path: str | Path, next_step: str = "use a model with attention alone"
) -> None:
    """Check that a model to sample from has no recurrent state. Reads no weights.

    Sampling has its own cache of keys and values, whose rows are repeated and dropped. It cannot
    hold a state (Mamba, linear attention, convolutions).

    Raises:
        CheckpointError: naming the model and the next step.
    """
    config = load_config(path)
    if is_recurrent(config):
        raise CheckpointError(
            f"{path} ({config.model_type}) has layers with a recurrent state, which sampling does "
            f"not support; {next_step}.",
            code="unsupported",
        )
