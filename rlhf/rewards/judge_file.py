"""The settings of an LLM judge as a reward: a YAML file, named `judge:FILE`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError
from rlhf.rewards.kinds import JUDGE
from rlhf.runtime.config import read_yaml
from rlhf.runtime.yaml_keys import check_keys, number_of, scale_of, text_of, whole_of

KEYS = ("judge", "model", "rubric", "scale", "compare_with", "fields", "max_tokens", "temperature")
MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class JudgeFile:
    """Who judges, by which rubric, on which scale.

    Raises:
        ConfigError: a value that cannot be used.
    """

    name: str  # of the file
    judge: str  # an address, …/v1, or a model's folder or hub id
    rubric: str
    low: float
    high: float
    model: str = ""  # of a server
    compare_with: str = ""  # column of a response to compare with; "": the response alone is scored
    max_tokens: int = MAX_TOKENS
    temperature: float = 0.0
    fields: Mapping[str, object] = field(default_factory=dict)  # in addition, of each request

    @property
    def is_remote(self) -> bool:
        """Whether the judge is behind an address."""
        return self.judge.startswith(("http://", "https://"))


def judge_path(source: str) -> Path:
    """The file of `judge:FILE`."""
    return Path(source.removeprefix(JUDGE))


def read_judge(source: str) -> JudgeFile:
    """The settings that `judge:FILE` names.

    Raises:
        ConfigError: no such file, an unknown or missing key, or a value that cannot be used; the
            message has the file and the key.
    """
    path = judge_path(source)
    if not path.is_file():
        raise ConfigError(
            f"{source}: no such file; name a YAML file with judge, rubric and scale.",
            code="missing-file",
        )
    keys: dict[str, Any] = dict(read_yaml(path))
    check_keys(path, keys, KEYS)
    for key in ("judge", "rubric", "scale"):
        if not keys.get(key):
            raise ConfigError(f"{path} has no {key}; {_ADVICE[key]}.", code="missing-key")
    low, high = scale_of(path, keys["scale"], _ADVICE["scale"])
    read = JudgeFile(
        name=path.name,
        judge=text_of(path, keys, "judge"),
        rubric=text_of(path, keys, "rubric").strip(),
        low=low,
        high=high,
        model=text_of(path, keys, "model"),
        compare_with=text_of(path, keys, "compare_with"),
        max_tokens=whole_of(path, keys, "max_tokens", MAX_TOKENS),
        temperature=number_of(path, keys, "temperature", 0.0, least=0),
        fields=_fields(path, keys.get("fields")),
    )
    _check_judge(path, read)
    return read


_ADVICE = {
    "judge": "name the address of an OpenAI-compatible server, http://HOST:PORT/v1, or a folder or "
    "hub id",
    "rubric": "describe what makes a response good",
    "scale": "write the lowest and the highest score, such as scale: [1, 10]",
}


def _check_judge(path: Path, read: JudgeFile) -> None:
    if read.is_remote and not read.model:
        raise ConfigError(f"{path}: judge is a server; name its model.", code="missing-key")
    if not read.is_remote and (read.model or read.fields):
        key = "model" if read.model else "fields"
        raise ConfigError(
            f"{path}: {key} is for servers, but judge is {read.judge}; leave it out.",
            code="key-conflict",
        )


def _fields(path: Path, value: object) -> Mapping[str, object]:
    if value is not None and not isinstance(value, dict):
        raise ConfigError(
            f"{path}: fields={value!r}; write the names of request fields with their values.",
            code="bad-value",
        )
    return {} if value is None else value
