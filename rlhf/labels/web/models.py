"""The models behind a live source, loaded once and asked one prompt at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlhf.errors import ConfigError
from rlhf.labels.web.config import LabelServerConfig

if TYPE_CHECKING:
    from rlhf.labels.web.live_sampling import Sampler


def load_sampler(config: LabelServerConfig) -> "Sampler":
    """A function from a prompt to (answer, model) pairs, answers shared out over the models.

    Raises:
        ConfigError: fewer answers than models.
        CheckpointError: a folder that is no policy.
    """
    # Loaded here alone: a server without models starts without torch.
    from rlhf.data.tokenization.tokenizer import load_tokenizer
    from rlhf.labels.candidates import on_device
    from rlhf.models.generation.generate import sample_responses

    if len(config.models) > config.num_responses:
        raise ConfigError(f"num_responses={config.num_responses} is fewer than the models.")
    loaded: list[tuple[str, Any, Any]] = [
        (name, on_device(name), load_tokenizer(name, "auto")) for name in config.models
    ]
    asked = 0

    def sample(prompt: str) -> Sequence[tuple[str, str]]:
        nonlocal asked
        asked += 1
        answers: list[tuple[str, str]] = []
        for index, (name, model, chat) in enumerate(loaded):
            [written] = sample_responses(
                model,
                chat,
                [prompt],
                num_responses=len(range(index, config.num_responses, len(loaded))),
                max_new_tokens=config.max_new_tokens,
                temperature=1.0,
                seed=1_000_003 * asked + index,
                batch_size=config.num_responses,
            )
            answers += [(answer.response, name) for answer in written]
        return answers

    return sample
