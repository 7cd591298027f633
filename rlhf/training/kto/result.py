"""The result of a KTO run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.models.generation.generate import SampledResponse
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.kto.metrics import ThumbHealth
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True, repr=False)
class KTOResult:
    """A finished run."""

    steps: int  # optimizer steps
    stopped_early: str  # the reason; empty where the run went to its end
    before: ThumbHealth | None  # held-out thumbs; None where nothing is held out
    after: ThumbHealth | None
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl
    sample_prompts: Sequence[Prompt]
    samples: Mapping[str, Sequence[SampledResponse]]  # before, after

    def __repr__(self) -> str:
        lines = summary(self)
        return f"KTOResult({', '.join(f'{name}: {text}' for name, text in lines.items())})"


def summary(result: KTOResult) -> dict[str, str]:
    """The run's metrics for people."""
    before, after = result.before, result.after
    lines = {"optimizer steps": str(result.steps)}
    if before is None or after is None:
        lines["held-out accuracy"] = "nothing was held out"
    else:
        lines["held-out accuracy"] = f"{after.accuracy:.3f} (up against down; chance: 0.5)"
        lines["held-out reward margin"] = f"{after.reward_margin:.3f}"
        lines["held-out loss"] = f"{before.loss:.4f} -> {after.loss:.4f}"
        for kind in ("desirable", "undesirable"):
            first, last = (getattr(each, f"{kind}_logprob") for each in (before, after))
            lines[f"log-prob of {kind} responses"] = f"{first:.2f} -> {last:.2f} nats"
    return lines | ({"stopped early": result.stopped_early} if result.stopped_early else {})
