"""The result of a DPO run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.models.generation.generate import SampledResponse
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.dpo.metrics import PairHealth
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True, repr=False)
class DPOResult:
    """A finished run."""

    steps: int  # optimizer steps
    stopped_early: str  # the reason; empty where the run went to its end
    before: PairHealth | None  # held-out pairs; None where nothing is held out
    after: PairHealth | None
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl
    sample_prompts: Sequence[Prompt]
    samples: Mapping[str, Sequence[SampledResponse]]  # before, after

    def __repr__(self) -> str:
        lines = summary(self)
        return f"DPOResult({', '.join(f'{name}: {text}' for name, text in lines.items())})"


def summary(result: DPOResult) -> dict[str, str]:
    """The run's metrics for people."""
    before, after = result.before, result.after
    lines = {"optimizer steps": str(result.steps)}
    if after is None:
        lines["held-out accuracy"] = "nothing was held out"
    else:
        interval = f"{after.low:.3f} to {after.high:.3f}"
        lines["held-out accuracy"] = f"{after.accuracy:.3f} ({interval}, {after.pairs} pairs)"
        lines["held-out reward margin"] = f"{after.reward_margin:.3f}"
        if before is not None:
            lines["held-out loss"] = f"{before.loss:.4f} -> {after.loss:.4f}"
            lines["log-prob of chosen responses"] = _change(
                before.chosen_logprob, after.chosen_logprob
            )
            lines["log-prob of rejected responses"] = _change(
                before.rejected_logprob, after.rejected_logprob
            )
    return lines | ({"stopped early": result.stopped_early} if result.stopped_early else {})


def _change(before: float, after: float) -> str:
    return f"{before:.2f} -> {after:.2f} nats"
