"""A suite: a folder with suite.yaml, which names prompts, how they are answered, and figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
from rlhf.runtime.config import read_yaml
from rlhf.runtime.shipped import shipped_folder
from rlhf.runtime.yaml_keys import check_keys, number_of, scale_of, text_of, whole_of

SUITE_FILE = "suite.yaml"
SHIPPED = "recipes/suites"
HIGHER, LOWER = "higher", "lower"
KEYS = ("description", "prompts", "system", "max_completion_length", "temperature",
        "num_generations", "figures", "judge")  # fmt: skip
FIGURE_KEYS = ("score", "rubric", "scale", "where", "turn", "better", "tolerance")
SCALE_ADVICE = "write the lowest and the highest grade, such as [1, 10]"
JUDGE_KEYS = ("judge", "model", "max_tokens", "temperature", "fields")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number of a suite: the mean of a score over responses, or of a judge's grades."""

    name: str
    score: str = ""  # check:NAME, file.py:function or verifier:NAME; "": a judge grades
    rubric: str = ""  # of the judge
    scale: tuple[float, float] = (1.0, 10.0)  # lowest and highest grade
    where: Mapping[str, Sequence[object]] = field(default_factory=dict)  # column -> its values
    turn: int | None = None  # whose response is scored, from 1; None: the last
    better: str = HIGHER
    tolerance: float = 0.0  # a change for the worse up to this is no regression

    @property
    def sign(self) -> float:
        """1 if a higher value is better, else -1."""
        return 1.0 if self.better == HIGHER else -1.0

    def counts(self, columns: Mapping[str, object]) -> bool:
        """Whether a prompt with these columns belongs to the figure."""
        return all(columns.get(column) in values for column, values in self.where.items())


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Prompts, how they are answered, and the figures of the answers."""

    name: str  # of its folder
    folder: Path
    prompts: Path
    figures: Sequence[Figure]
    system: str = ""  # message before each conversation
    max_completion_length: int = 512  # tokens
    temperature: float = 0.0
    num_generations: int = 1
    judge: Mapping[str, object] = field(default_factory=dict)  # as in a judge's file
    description: str = ""

    @property
    def sampling(self) -> str:
        """A hash of how responses are sampled; models differ in nothing else if it is equal."""
        parts = [self.system, self.max_completion_length, self.temperature, self.num_generations]
        return hash_text(json.dumps(parts))


def find_suites(path: str, only: Sequence[str], prompts: Mapping[str, str]) -> list[Suite]:
    """The suites of a folder: its own suite.yaml, or one in each of its folders.

    Args:
        path: the folder, or the name of a suite that comes with rlhf.
        only: names of suites to keep; empty for all.
        prompts: files of prompts by suite, in place of those that suite.yaml names.

    Raises:
        ConfigError: no suite, one that is not there, or a key that cannot be used.
    """
    folder = Path(path)
    if not folder.is_dir() and (shipped_folder() / SHIPPED / path / SUITE_FILE).is_file():
        folder = shipped_folder() / SHIPPED / path
    files = [folder / SUITE_FILE] if (folder / SUITE_FILE).is_file() else []
    files = files or sorted(folder.glob(f"*/{SUITE_FILE}"))
    if not files:
        raise ConfigError(
            f"suite={path}: there is no {SUITE_FILE} in this folder or in the folders in it; "
            "`rlhf recipes copy suites` has examples.",
            code="missing-file",
        )
    names = [file.parent.resolve().name for file in files]
    for key, given in (("only", only), ("prompts", prompts)):
        for name in given:
            if name not in names:
                raise ConfigError(
                    f"{key}: {path} has no suite {name!r}; it has {', '.join(names)}.",
                    code="unknown-name",
                )
    chosen = [file for file, name in zip(files, names, strict=True) if not only or name in only]
    return [read_suite(file, prompts.get(file.parent.resolve().name)) for file in chosen]


def read_suite(file: Path, prompts: str | None = None) -> Suite:
    """The suite of a suite.yaml.

    Raises:
        ConfigError: a key that is unknown, missing or cannot be used, or a file that is not there.
    """
    keys: dict[str, Any] = dict(read_yaml(file))
    check_keys(file, keys, KEYS)
    name = file.parent.resolve().name
    source = prompts or keys.get("prompts")
    if not isinstance(source, str) or not source:
        raise ConfigError(f"{file} has no prompts; name a file of prompts.", code="missing-key")
    path = Path(source) if prompts else file.parent / source
    if not path.is_file():
        raise ConfigError(
            f"{file}: the prompts {path} are not there; put the file there, or give "
            f"--prompts {name}=FILE.",
            code="missing-file",
        )
    judge = keys.get("judge") or {}
    if not isinstance(judge, dict):
        raise ConfigError(f"{file}: judge={judge!r}; write its keys below it.", code="bad-value")
    check_keys(f"{file}: judge", judge, JUDGE_KEYS)
    figures = keys.get("figures")
    if not isinstance(figures, dict) or not figures:
        raise ConfigError(f"{file} has no figures; name one or more.", code="missing-key")
    return Suite(
        name=name,
        folder=file.parent,
        prompts=path,
        figures=[_figure(file, figure, content) for figure, content in figures.items()],
        system=text_of(file, keys, "system"),
        max_completion_length=whole_of(file, keys, "max_completion_length", 512),
        temperature=number_of(file, keys, "temperature", 0.0, least=0),
        num_generations=whole_of(file, keys, "num_generations", 1),
        judge=judge,
        description=text_of(file, keys, "description"),
    )


def _figure(file: Path, name: object, content: object) -> Figure:
    place = f"{file}: figure {name}"
    if not isinstance(content, dict):
        raise ConfigError(f"{place}: write its keys below it.", code="bad-value")
    check_keys(place, content, FIGURE_KEYS)
    score, rubric = text_of(place, content, "score"), text_of(place, content, "rubric").strip()
    if bool(score) == bool(rubric):
        raise ConfigError(
            f"{place}: give score or rubric, {'not both' if score else 'one of them'}.",
            code="key-conflict" if score else "missing-key",
        )
    better = content.get("better", HIGHER)
    if better not in (HIGHER, LOWER):
        raise ConfigError(f"{place}: better={better!r}; use {HIGHER} or {LOWER}.", code="bad-value")
    turn = content.get("turn")
    return Figure(
        name=str(name),
        score=_resolved(file.parent, score),
        rubric=rubric,
        scale=scale_of(place, content.get("scale", [1, 10]), SCALE_ADVICE),
        where=_where(place, content.get("where") or {}),
        turn=None if turn is None else whole_of(place, content, "turn", 1),
        better=better,
        tolerance=number_of(place, content, "tolerance", 0.0, least=0),
    )


def _resolved(folder: Path, score: str) -> str:
    """`file.py:function` with the file in the suite's folder; other sources as they are."""
    path, colon, function = score.rpartition(":")
    if not path.endswith(".py") or Path(path).is_absolute():
        return score
    return f"{folder / path}{colon}{function}"


def _where(place: str, value: object) -> dict[str, list[object]]:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{place}: where={value!r}; write columns with their values.", code="bad-value"
        )
    return {
        str(column): list(values) if isinstance(values, list) else [values]
        for column, values in value.items()
    }
