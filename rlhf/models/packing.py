"""Whether a model reads packed rows, one after another, as if each were alone."""

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.errors import ConfigError
from rlhf.models.protocols import CausalLM, evaluation_mode
from rlhf.models.save import inner_model

FIRST, SECOND = 7, 6  # tokens of the two rows
USE = "use --packing false."
# Largest difference of logits over their spread that rounding may make, by bytes of a number.
ROUNDING = {4: 1e-3, 2: 0.1}


@torch.no_grad()
def check_packing(model: PreTrainedModel | PeftModel, name: str) -> None:
    """Check that a model reads a row behind another one as it reads the row alone.

    Only position ids separate packed rows. An architecture that builds its mask without them
    lets each row see those before it, without an error. Two rows of a few tokens reveal it.

    Raises:
        ConfigError: the second row's logits differ, or the model cannot read packed rows.
    """
    try:
        with evaluation_mode(model):
            difference = _difference(model)
    except (ValueError, TypeError, RuntimeError) as error:  # architectures raise different ones
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"packing=true: {name} cannot read packed rows ({reason}); {USE}", code="unsupported"
        ) from error
    parameter = next(p for p in model.parameters() if p.is_floating_point())
    if difference > ROUNDING.get(parameter.element_size(), ROUNDING[2]):
        raise ConfigError(
            f"packing=true: {type(inner_model(model)).__name__} ({name}) lets packed rows see each "
            f"other: the logits of a row behind another differ by {difference:.2g} of their spread "
            f"from those of the row alone; {USE}",
            code="unsupported",
        )


def _difference(model: CausalLM) -> float:
    """Largest difference of the second row's logits, packed and alone, over their std."""
    vocabulary = model.config.get_text_config().vocab_size
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (FIRST + SECOND,), generator=draw).to(model.device)
    positions = torch.cat([torch.arange(FIRST), torch.arange(SECOND)]).to(model.device)
    packed = _logits(model, ids, positions)[FIRST:]
    alone = _logits(model, ids[FIRST:], positions[FIRST:])
    return float((packed - alone).abs().max() / alone.std().clamp(min=1e-12))


def _logits(model: CausalLM, ids: Tensor, positions: Tensor) -> Tensor:
    output = model(input_ids=ids[None], position_ids=positions[None], use_cache=False)
    logits: Tensor = output.logits[0].float()
    return logits
