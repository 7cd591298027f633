"""What every trainer on rows checks first: processes, sharding, optimizer, precision, revision."""

from rlhf.data.held_out import TrainAndHeldOut
from rlhf.errors import ConfigError
from rlhf.models.config import ModelConfig
from rlhf.models.four_bit import check_four_bit
from rlhf.models.revision import at_revision
from rlhf.runtime.distributed import Sharding
from rlhf.runtime.run_folder import RunConfig, begin_run
from rlhf.training.common.config import TrainingConfig
from rlhf.training.common.optimizer import check_optim
from rlhf.training.common.setup import Row
from rlhf.training.common.sharding import check_sharding


def begin_training(
    run: RunConfig, model: ModelConfig, config: TrainingConfig, *, sharding: Sharding = "fsdp"
) -> tuple[int, ModelConfig]:
    """The number of processes, and the model at its revision. Call it on all processes.

    Args:
        run: the run folder and how the run starts.
        model: the model to start from.
        config: keys of the training.
        sharding: what the trainer can shard its model with.

    Raises:
        ConfigError: keys that do not go together or with this launch, a folder that holds a run.
    """
    world_size = begin_run(run, sharding=sharding)
    check_sharding(model, config)
    check_optim(config.optim)
    check_four_bit(model.load_in_4bit)
    return world_size, at_revision(model)


def check_early_stopping(config: TrainingConfig, rows: TrainAndHeldOut[Row], kind: str) -> None:
    """Check that there are held-out rows if the run may stop early by them.

    kind: of the rows, for the message.

    Raises:
        ConfigError: there are none.
    """
    if config.early_stopping_patience is not None and not rows.held_out:
        raise ConfigError(
            f"early_stopping_patience needs held-out {kind}; give eval_data or eval_fraction.",
            code="key-conflict",
        )
