"""The engine that samples the responses of an evaluated model."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlhf.data.tokenization.chat import prompt_text
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.models.adapter_folder import adapter_base
from rlhf.models.load import load_config
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.rollouts.engine import RolloutEngine
from rlhf.rollouts.load import load_engine
from rlhf.rollouts.server import check_tokens, connected
from rlhf.rollouts.trial import try_engine
from rlhf.types import PromptRow

SHAPE = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"),
    *("num_attention_heads", "num_key_value_heads", "head_dim"),
)


@contextlib.contextmanager
def engine_of(
    evaluated: EvaluatedModel,
    path: str,
    row: PromptRow,
    config: EvaluateConfig,
    *,
    seed: int,
    folder: Path,
) -> Iterator[RolloutEngine]:
    """An engine that samples with the model's weights; what it started ends with the block.

    Call it on all processes.

    Args:
        evaluated: the model.
        path: the folder or hub id that it was loaded from.
        row: a prompt, which a server has to tokenize as the model does.
        config: keys of the engine and of sampling.
        seed: of the evaluation.
        folder: for the log of a server that is started.

    Raises:
        ConfigError: a server that cannot be reached or started.
        CheckpointError: a server with another tokenizer.
        TrainingError: a server that samples from other weights.
    """
    chat = evaluated.chat
    text = prompt_text(chat, row.prompt, row.tools)
    engine = load_engine(
        config,
        model=adapter_base(path) or path,  # the weights of an adapter are sent merged
        max_length=_longest(config, path),
        bf16=config.bf16,
        seed=seed,
        folder=folder,
        cuda_graphs=False,
        copies=False,
        texts=[text],
        ids=[_ids(chat, text)],
    )
    try:
        engine.update_weights(evaluated.model)
        try_engine(
            engine,
            evaluated.model,
            chat,
            row,
            longest=config.max_completion_length,
            place=f"model {evaluated.name}",
        )
        yield engine
    finally:
        engine.close()


def check_engine(config: EvaluateConfig, row: PromptRow) -> None:
    """Check that a server that runs already can take the weights of every model.

    Args:
        config: the models that are loaded, and the keys of the engine.
        row: a prompt.

    Raises:
        ConfigError: the server cannot be reached, or models of several shapes.
        CheckpointError: a model that reads the prompt as other tokens than the server.
    """
    if config.rollout_server is None:
        return
    shapes = {name: _shape(path) for name, path in config.loaded_paths.items()}
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise ConfigError(
                f"rollout_server={config.rollout_server} takes the weights of models of one shape, "
                f"and {name} has another shape than {first} ({_differences(shape, shapes[first])})"
                "; leave the key out, and a server is started for each model.",
                code="unsupported",
            )
    server = connected(config.rollout_server)
    for path in config.loaded_paths.values():
        chat = tokenizer_of_model(
            path, config.chat_template, template_kwargs=config.template_kwargs
        )
        text = prompt_text(chat, row.prompt, row.tools)
        check_tokens(server, [text], [_ids(chat, text)])


def _longest(config: EvaluateConfig, path: str) -> int:
    """Tokens of the longest prompt and response together; vLLM takes no more than positions."""
    wanted = config.max_prompt_length + config.max_completion_length
    positions = getattr(load_config(path).get_text_config(), "max_position_embeddings", None)
    return min(wanted, positions or wanted)


def _ids(chat: ChatTokenizer, text: str) -> list[int]:
    return list(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def _shape(path: str) -> dict[str, object]:
    config = load_config(path).get_text_config()
    return {name: getattr(config, name, None) for name in SHAPE}


def _differences(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {one[name]} and {other[name]}" for name in SHAPE if one[name] != other[name]
    )
