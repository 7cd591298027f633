"""The result of an SFT run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.models.generation.generate import SampledResponse
from rlhf.training.common.metrics import MetricsLine
from rlhf.types import Prompt


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


def summary(result: SFTResult, num_held_out: int) -> dict[str, str]:
    """The run's metrics for people."""
    if result.eval_loss_before is None or result.eval_loss_after is None:
        return {"optimizer steps": str(result.steps), "held-out loss": "nothing was held out"}
    end = result.end_probability
    return {
        "optimizer steps": str(result.steps),
        "held-out loss before": f"{result.eval_loss_before:.3f} nats per token",
        "held-out loss after": f"{result.eval_loss_after:.3f} nats per token",
        "held-out rows": str(num_held_out),
        **({} if end is None else {"P(end) on held-out rows": f"{end:.3f}"}),
        **({"stopped early": result.stopped_early} if result.stopped_early else {}),
    }
