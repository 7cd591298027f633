"""The models of live sampling, loaded once and run on one prompt at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.labels.web.config import LabelServerConfig

if TYPE_CHECKING:
    from rlhf.labels.web.live_sampling import Sampler


def load_sampler(config: LabelServerConfig) -> "Sampler":
    """A function from a prompt to (response, model) pairs, responses divided among the models.

    Raises:
        ConfigError: fewer responses than models.
        CheckpointError: a folder that is not a policy.
    """
    # Imported here, so that a server without models starts without torch.
    from rlhf.data.tokenization.tokenizer import load_tokenizer
    from rlhf.labels.candidates import load_on_device
    from rlhf.models.generation.generate import sample_responses

    if len(config.models) > config.num_responses:
        raise ConfigError(
            f"num_responses={config.num_responses} is less than the number of models, "
            f"{len(config.models)}.",
            code="key-conflict",
        )
    loaded = [(name, load_on_device(name), load_tokenizer(name, "auto")) for name in config.models]
    num_prompts = 0

    def sample(prompt: str) -> Sequence[tuple[str, str]]:
        nonlocal num_prompts
        num_prompts += 1
        responses: list[tuple[str, str]] = []
        for index, (name, model, chat) in enumerate(loaded):
            [samples] = sample_responses(
                model,
                chat,
                [prompt],
                num_responses=len(range(index, config.num_responses, len(loaded))),
                max_new_tokens=config.max_new_tokens,
                temperature=1.0,
                seed=1_000_003 * num_prompts + index,
                batch_size=config.num_responses,
            )
            responses += [(sample.response, name) for sample in samples]
        return responses

    return sample
