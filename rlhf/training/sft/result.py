"""The result of an SFT run, and the model folder that it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.models.generation.generate import SampledResponse
from rlhf.models.save import save_policy
from rlhf.runtime.printing import rlhf_command
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.common.publish import publish
from rlhf.training.sft.setup import SFTSetup
from rlhf.types import Prompt

Model: TypeAlias = PreTrainedModel | PeftModel


@dataclass(frozen=True, kw_only=True)
class SFTResult:
    """A finished run. Losses are in nats per token of the held-out responses."""

    steps: int  # optimizer steps
    eval_loss_before: float | None  # None where nothing is held out
    eval_loss_after: float | None
    stopped_early: bool
    end_probability: float | None  # of the end token where held-out responses end
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl
    sample_prompts: Sequence[Prompt]
    samples: Mapping[str, Sequence[SampledResponse]]  # before, after


def write_policy(folder: Path, setup: SFTSetup, model: Model, result: SFTResult) -> None:
    """Write the model with tokenizer, model card and manifest; print a table of the metrics.

    Call it on one process.
    """
    save_policy(folder, model, setup.chat)
    publish(
        folder,
        setup.manifest(folder, stage="sft"),
        title="supervised fine-tuning",
        metrics=summary(result, len(setup.rows.held_out)),
        loads_with="AutoModelForCausalLM",
        places={
            "responses before and after": setup.folder / "samples" / "random.jsonl",
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
        **({"stopped early": "the held-out loss stopped falling"} if result.stopped_early else {}),
    }
