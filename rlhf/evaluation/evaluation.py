"""A finished evaluation: its results, to look up, print and write."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from rlhf.errors import ConfigError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.contamination import ContaminationReport
from rlhf.evaluation.core.examples import write_examples
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record, write_records
from rlhf.evaluation.core.results import Result, result_tables, write_results
from rlhf.manifest import MANIFEST, DataUse, hash_file
from rlhf.runtime.disk import disk_errors
from rlhf.types import PromptRow

WIDTH = 120  # characters of a printed table, at most


class ResultError(ConfigError, KeyError):
    """A result that an evaluation does not have, or has several times."""

    __str__ = Exception.__str__  # KeyError's would quote the message


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Records of an evaluation and all their metrics.

    `evaluation["win_rate"]` is the only result of this metric, `evaluation.find(...)` selects one
    by model, judge and other fields, iteration yields all of them.
    """

    rows: Sequence[PromptRow]
    records: Sequence[Record]
    spec: MetricSpec
    contamination: ContaminationReport
    results: Sequence[Result]
    content: Mapping[str, object] = field(default_factory=dict)  # other parts of evaluation.json
    num_examples: int = 10  # prompts in each file of samples/

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __contains__(self, item: object) -> bool:
        """Whether there is a result of this metric; or whether this `Result` is among them."""
        return any(item in (result.metric, result) for result in self.results)

    def __getitem__(self, metric: str) -> Result:
        return self.find(metric=metric)

    def find(
        self,
        *,
        metric: str,
        model: str | None = None,
        judge: str | None = None,
        baseline: str | None = None,
        axis: str | None = None,
        subset: str | None = None,
        with_contaminated: bool = True,
    ) -> Result:
        """The only result with these fields: value, low, high, n and others.

        Args:
            metric: win_rate, score, kl, length, ….
            model: name of the model; default any evaluated model (not a null baseline).
            judge: gold, reward_model, llm, human, or the name of one of several reward models;
                default any.
            baseline: of a win rate; default the evaluation's baseline.
            axis: name of an axis; default any.
            subset: category of the prompts; default all prompts.
            with_contaminated: False for the result without contaminated prompts.

        Raises:
            ResultError: no result has these fields, or several have. It is a KeyError too.
        """
        matches = [
            result
            for result in self.results
            if result.metric == metric
            and result.model in ([model] if model is not None else self.spec.models)
            and (judge is None or judge in (result.judge, result.judge_source))
            and result.baseline in ([baseline] if baseline else [None, self.spec.baseline])
            and (axis is None or result.axis == axis)
            and result.subset == subset
            and result.with_contaminated == with_contaminated
        ]
        if len(matches) > 1:
            fields = "; ".join(_fields(result) for result in matches)
            raise ResultError(
                f"{metric}: {len(matches)} results; select one with find(...): {fields}",
                code="bad-value",
            )
        if not matches:
            wanted = {
                "model": model,
                "judge": judge,
                "baseline": baseline,
                "axis": axis,
                "subset": subset,
            }
            raise ResultError(self._missing(metric, wanted), code="unknown-name")
        return matches[0]

    def _missing(self, metric: str, wanted: Mapping[str, str | None]) -> str:
        """Which of the wanted fields no result of the metric has, and the values that there are."""
        of_metric = [result for result in self.results if result.metric == metric]
        if not of_metric:
            known = ", ".join(dict.fromkeys(result.metric for result in self.results))
            return f"metric={metric!r}: no such result; metrics: {known}"
        for name, value in wanted.items():
            values = [getattr(result, name) for result in of_metric]
            if name == "judge":
                values += [result.judge_source for result in of_metric]
            if value is not None and value not in values:
                known = ", ".join(dict.fromkeys(one for one in values if one is not None))
                known = f"those of {metric}: {known}" if known else f"{metric} has none"
                return f"{name}={value!r}: no such result; {known}"
        fields = "; ".join(_fields(result) for result in of_metric)
        return f"{metric}: no result has all of these fields; there are: {fields}"

    def __str__(self) -> str:
        """The tables that the recipe prints: a row per metric, a column per model."""
        text = io.StringIO()
        console = Console(file=text, width=WIDTH, markup=False, emoji=False, highlight=False)
        for table in result_tables(self.results, self.spec.models, self.title):
            console.print(table)
        return text.getvalue().rstrip()

    @property
    def title(self) -> str:
        """The title of the table."""
        return f"{len(self.rows)} held-out prompts"

    def write(self, folder: str | Path) -> None:
        """Write evaluation.json, answers.jsonl and samples/ into `folder`.

        Raises:
            ConfigError: the folder cannot be created or written to.
        """
        with disk_errors():
            self._write(Path(folder))

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_records(folder, self.rows, self.records)
        write_examples(
            folder,
            self.rows,
            self.records,
            models=self.spec.models,
            baseline=self.spec.baseline,
            judge=self.spec.judges[0].key if self.spec.judges else None,
            count=self.num_examples,
            seed=self.spec.seed,
        )
        contaminated = self.spec.contaminated
        counts = {
            "prompts": len(self.rows),
            "contaminated_prompts": sum(contaminated) if contaminated else None,
            "contamination": [asdict(source) for source in self.contamination.sources],
        }
        write_results(folder, self.results, {**counts, **self.content})


def provenance_of(config: EvaluateConfig, seed: int, use: DataUse) -> dict[str, object]:
    """What the results are based on: models and their manifests, data, seed, sampling."""
    manifests = {name: Path(path) / MANIFEST for name, path in config.model_paths.items()}
    return {
        "models": config.model_paths,
        "manifests": {name: hash_file(path) for name, path in manifests.items() if path.is_file()},
        "baseline": config.baseline_name,
        "reference": config.reference_name,
        "rollout_engine": config.rollout_engine,
        "data": asdict(use),
        "seed": seed,
        "num_generations": config.num_generations,
        "temperature": config.temperature,
        "max_completion_length": config.max_completion_length,
    }


def _fields(result: Result) -> str:
    names = ("model", "judge", "judge_source", "baseline", "axis", "precision")
    values = vars(result)
    return " ".join(f"{name}={values[name]}" for name in names if values[name] is not None)
