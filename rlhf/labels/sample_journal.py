"""Responses on disk while they are sampled, so that an interrupted `rlhf sample` continues."""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from rlhf.errors import ConfigError
from rlhf.labels.records import Candidate
from rlhf.manifest import MANIFEST, hash_file
from rlhf.types import PromptRow

SUFFIX = ".partial"  # after the name of the output file


class SampleJournal:
    """The texts by (prompt index, part), appended to a file as they come.

    A part is what is sampled at a time: the responses of one model, or one response of a server.
    The first line holds the settings; a line that a kill cut off is dropped. `with` closes the
    file; it stays for the next call.

    Args:
        path: the file; None keeps the texts in memory only.
        settings: what the texts depend on. A file with other settings raises.

    Raises:
        ConfigError: the file has responses of other settings.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, object]) -> None:
        self._texts: dict[int, dict[int, list[str]]] = {}  # prompt -> part -> texts
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        if path is None:
            return
        as_read = json.loads(json.dumps(settings))
        self._read(path, as_read)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        if not self._file.tell():
            self._write(as_read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def num_texts(self) -> int:
        """How many texts there are."""
        return sum(len(texts) for parts in self._texts.values() for texts in parts.values())

    def prompts_with(self, part: int) -> set[int]:
        """The prompts whose part is there."""
        return {prompt for prompt, parts in self._texts.items() if part in parts}

    def texts_of(self, prompt: int) -> list[str]:
        """The texts of all parts of a prompt, in the order of the parts."""
        return [text for _, texts in sorted(self._texts[prompt].items()) for text in texts]

    def candidates(self, rows: Sequence[PromptRow], models: Sequence[str]) -> list[Candidate]:
        """Each prompt with its texts; `models` are the models of a prompt's texts."""
        return [
            Candidate(
                prompt=row.prompt, responses=self.texts_of(n), models=models, columns=row.columns
            )
            for n, row in enumerate(rows)
        ]

    def add(self, prompt: int, part: int, texts: Sequence[str]) -> None:
        """Store the texts of a part of a prompt. Threads may call it."""
        with self._lock:
            self._texts.setdefault(prompt, {})[part] = list(texts)
            self._write([prompt, part, *texts])

    def _write(self, content: object) -> None:
        if self._file is not None:
            self._file.write(json.dumps(content) + "\n")
            self._file.flush()

    def _read(self, path: Path, settings: object) -> None:
        """Read the texts of an earlier run, and cut off a line without its end."""
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        first, *lines = [json.loads(line) for line in whole.splitlines()] or [settings]
        if first != settings:
            raise ConfigError(
                f"{path} has responses that were sampled with {_difference(first, settings)}; "
                "repeat that command to continue it, or delete the file.",
                code="other-run",
            )
        for prompt, part, *texts in lines:
            self._texts.setdefault(prompt, {})[part] = texts
        if whole != content:
            path.write_bytes(whole)


def model_version(model: str) -> str:
    """What changes with the model's weights: its manifest's hash, else its files and times."""
    folder = Path(model)
    if (folder / MANIFEST).is_file():
        return hash_file(folder / MANIFEST)
    stats = [(path.name, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
    return " ".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)


def _difference(first: object, settings: object) -> str:
    """The first setting that differs, with its value in the file."""
    if isinstance(first, dict) and isinstance(settings, dict):
        for name, value in first.items():
            if settings.get(name) != value:
                return f"{name}={str(value)[:60]}"
    return "other settings"
