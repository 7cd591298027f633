"""The inputs of a stage: settings by value, files and models by content."""

import json
from collections.abc import Mapping
from pathlib import Path

from rlhf.manifest import MANIFEST, hash_file, hash_files, hash_text
from rlhf.rewards.function import is_generative
from rlhf.rewards.kinds import JUDGE
from rlhf.runtime.config import read_yaml

_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model")


def fingerprint(
    settings: Mapping[str, object], sources: Mapping[str, object]
) -> Mapping[str, object]:
    """Settings by value and sources by content, as `Stage.inputs`.

    A source is represented by its content: a run folder that was copied elsewhere is still
    complete. A source (or a list of them) is a file, a model's folder, a hub id, or
    `file.py:function`, and may have the prefix `WEIGHT*` or `NAME=`.
    """
    hashes = {key: _hash_sources(source) for key, source in sources.items()}
    values = {key: value for key, value in settings.items() if key not in sources}
    inputs: Mapping[str, object] = json.loads(json.dumps(values | hashes))
    return inputs


def settings_of(config: str | None, overrides: Mapping[str, object]) -> dict[str, object]:
    """The keys of a stage's YAML file, overridden by `overrides`.

    Raises:
        ConfigError: the file cannot be read as `key: value` lines.
    """
    if config is None:
        return dict(overrides)
    return {**read_yaml(Path(config)), **overrides}


def hash_source(source: str) -> str:
    """A hash of the source's content; a hub id represents itself."""
    name, equals, named = source.partition("=")
    if equals and not Path(source).exists():
        return f"{name}={hash_source(named)}"
    weight, star, rest = source.partition("*")
    if star:
        return f"{weight}*{hash_source(rest)}"
    if source.startswith(JUDGE):
        return JUDGE + hash_source(source.removeprefix(JUDGE))
    file, colon, function = source.rpartition(":")
    if colon and file.endswith(".py") and Path(file).is_file():
        # A function may import the modules next to its file.
        modules = sorted(Path(file).parent.rglob("*.py"))
        text = "".join(f"{path.name} {hash_file(path)}\n" for path in modules)
        return f"{function} {hash_text(text)}"
    path = Path(source)
    if path.is_file():
        return _hash_generative(path) or hash_file(path)
    if (path / MANIFEST).is_file():
        return hash_file(path / MANIFEST)
    if path.is_dir():
        return hash_files([file for pattern in _MODEL_FILES for file in path.glob(pattern)])
    return source


def _hash_generative(path: Path) -> str | None:
    """A hash of a generative reward model's settings, rubric and model; None for other files."""
    if not is_generative(path.name):
        return None
    content = read_yaml(path)
    if not {"model", "verdicts"} <= content.keys():
        return None
    parts = [str(content[key]) for key in ("model", "rubric") if content.get(key)]
    return hash_text("\n".join([hash_file(path), *map(hash_source, parts)]))


def _hash_sources(source: object) -> object:
    if isinstance(source, str):
        return hash_source(source)
    return [hash_source(item) for item in source] if isinstance(source, list) else source
