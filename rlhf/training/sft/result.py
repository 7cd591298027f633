"""The result of an SFT run, and the model folder that it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.models.generation.generate import SampledResponse
from rlhf.models.save import save_policy
from rlhf.runtime.printing import rlhf_command
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.common.publish import publish
from rlhf.training.sft.setup import SFTSetup
from rlhf.types import Prompt

Model: TypeAlias = PreTrainedModel | PeftModel


@dataclass(frozen=True, kw_only=True, repr=False)
class SFTResult:
    """A finished run. Losses are in nats per token of the held-out responses or texts."""

    steps: int  # optimizer steps
    eval_loss_before: float | None  # None where nothing is held out
    eval_loss_after: float | None
    stopped_early: str  # the reason; empty where the run went to its end
    end_probability: float | None  # of the end token where held-out responses end
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl
    sample_prompts: Sequence[Prompt]
    samples: Mapping[str, Sequence[SampledResponse]]  # before, after

    def __repr__(self) -> str:
        losses = "nothing held out"
        if self.eval_loss_before is not None and self.eval_loss_after is not None:
            losses = f"held-out loss {self.eval_loss_before:.3f} -> {self.eval_loss_after:.3f}"
        return f"SFTResult(steps={self.steps}, {losses}, stopped_early={self.stopped_early!r})"


def write_policy(
    folder: Path,
    setup: SFTSetup,
    model: Model,
    metrics: Mapping[str, str],
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write the model with tokenizer, model card and manifest; print a table of the metrics.

    Call it on one process.

    Args:
        folder: the folder to write to.
        setup: the run.
        model: the trained model.
        metrics: those of `summary` or `unfinished`.
        weights: whole weights by name, if `model` has only a shard of them.
    """
    save_policy(folder, model, setup.chat, weights)
    samples = folder / "samples" / "random.jsonl"
    publish(
        folder,
        setup.manifest(folder, stage="sft"),
        title="supervised fine-tuning",
        metrics=metrics,
        loads_with="AutoModelForCausalLM",
        places={
            **({"responses before and after": samples} if samples.is_file() else {}),
            "chat with it": rlhf_command("chat", folder),
        },
    )


def summary(result: SFTResult, num_held_out: int) -> dict[str, str]:
    """The run's metrics for people."""
    if result.eval_loss_before is None or result.eval_loss_after is None:
        return {"optimizer steps": str(result.steps), "held-out loss": "nothing was held out"}
    return {
        "optimizer steps": str(result.steps),
        "held-out loss before": f"{result.eval_loss_before:.3f} nats per token",
        "held-out loss after": f"{result.eval_loss_after:.3f} nats per token",
        "held-out rows": str(num_held_out),
        "P(end) on held-out rows": f"{result.end_probability or 0.0:.3f}",
        **({"stopped early": result.stopped_early} if result.stopped_early else {}),
    }


def unfinished(steps: int) -> dict[str, str]:
    """As `summary`, of a run that was interrupted."""
    return {"optimizer steps": str(steps), "stopped early": f"interrupted after step {steps}"}
