"""The models of live sampling: loaded once, or behind an address; one prompt at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.labels.web.config import LabelServerConfig
from rlhf.rollouts.chat_server import respond, respond_together, served_models

if TYPE_CHECKING:
    from rlhf.labels.web.live_sampling import Sampler


def load_sampler(config: LabelServerConfig) -> "Sampler":
    """A function from a prompt to (response, model) pairs, responses divided among the models.

    Raises:
        ConfigError: fewer responses than models, or a server that cannot be used.
        CheckpointError: a folder that is not a policy.
    """
    if len(config.models) > config.num_responses:
        raise ConfigError(
            f"num_responses={config.num_responses} is less than the number of models, "
            f"{len(config.models)}.",
            code="key-conflict",
        )
    return _local_sampler(config) if config.server is None else _server_sampler(config)


def _local_sampler(config: LabelServerConfig) -> "Sampler":
    # Imported here, so that a server without models of its own starts without torch.
    from rlhf.data.tokenization.tokenizer import load_tokenizer
    from rlhf.labels.candidates import load_on_device
    from rlhf.models.generation.generate import sample_responses

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


def _server_sampler(config: LabelServerConfig) -> "Sampler":
    assert config.server is not None
    served = served_models(config.server, config.models)
    num_prompts = 0

    def sample(prompt: str) -> Sequence[tuple[str, str]]:
        nonlocal num_prompts
        num_prompts += 1

        def ask(index: int) -> tuple[str, str]:
            model = served[index % len(served)]
            response = respond(
                model,
                prompt,
                max_new_tokens=config.max_new_tokens,
                temperature=1.0,
                seed=1_000_003 * num_prompts + index,
            )
            return response.response, model.model

        return respond_together(ask, range(config.num_responses))

    return sample
