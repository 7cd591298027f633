"""What is sampled, on disk while it is sampled, so that an interrupted command continues."""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Generic, Self, TypeVar

from rlhf.errors import ConfigError
from rlhf.manifest import MANIFEST, hash_file

SUFFIX = ".partial"  # after the name of the output file
# Weights, configuration, tokenizer and chat template of a model without a manifest.
VERSIONED = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
T = TypeVar("T")  # a JSON value


class SampleJournal(Generic[T]):
    """The samples by (prompt index, part), appended to a file as they come.

    A part is what is sampled at a time: the responses of one model, or one response of a server.
    The first line holds the settings. A line that a kill or a full disk cut off is dropped, and
    what follows it. `with` closes the file; it stays for the next call.

    Args:
        path: the file; None keeps the samples in memory only.
        settings: what the samples depend on.
        log: told that samples of other settings are replaced; without it such a file raises.
        instead: what the user may do instead of continuing a file of other settings.

    Raises:
        ConfigError: the file has samples of other settings, and there is no `log`.
    """

    def __init__(
        self,
        path: Path | None,
        settings: Mapping[str, object],
        log: Callable[[str], None] | None = None,
        *,
        instead: str = "delete the file",
    ) -> None:
        self._samples: dict[int, dict[int, list[T]]] = {}  # prompt -> part -> samples
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        if path is None:
            return
        as_read = json.loads(json.dumps(settings))
        self._read(path, as_read, log, instead)
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
    def num_samples(self) -> int:
        """How many samples there are."""
        return sum(len(each) for parts in self._samples.values() for each in parts.values())

    def prompts_with(self, part: int) -> set[int]:
        """The prompts whose part is there."""
        return {prompt for prompt, parts in self._samples.items() if part in parts}

    def get(self, prompt: int, part: int) -> list[T] | None:
        """The samples of a part of a prompt; None if they are not there."""
        return self._samples.get(prompt, {}).get(part)

    def of_prompt(self, prompt: int) -> list[T]:
        """The samples of all parts of a prompt, in the order of the parts."""
        return [one for _, samples in sorted(self._samples[prompt].items()) for one in samples]

    def add(self, prompt: int, part: int, samples: Sequence[T]) -> None:
        """Store the samples of a part of a prompt. Threads may call it."""
        with self._lock:
            self._samples.setdefault(prompt, {})[part] = list(samples)
            self._write([prompt, part, *samples])

    def _write(self, content: object) -> None:
        if self._file is not None:
            self._file.write(json.dumps(content) + "\n")
            self._file.flush()

    def _read(
        self, path: Path, settings: object, log: Callable[[str], None] | None, instead: str
    ) -> None:
        """Read the samples of an earlier run, and end the file after its last whole line."""
        if not path.is_file():
            return
        whole, length = _whole_lines(path.read_bytes())
        first, *lines = whole or [settings]
        if first != settings and not lines:  # the first request failed: nothing would be lost
            path.unlink()
            return
        if first != settings:
            found = f"{path} has responses that were sampled with {_difference(first, settings)}; "
            if log is None:
                raise ConfigError(
                    f"{found}repeat that command to continue it, or {instead}.",
                    code="other-run",
                )
            log(f"{found}all are sampled again")
            path.unlink()
            return
        for prompt, part, *samples in lines:
            self._samples.setdefault(prompt, {})[part] = samples
        os.truncate(path, length)


def _whole_lines(content: bytes) -> tuple[list[Any], int]:
    """The values of the lines before the first one that was cut off, and their length in bytes."""
    values: list[Any] = []
    length = 0
    for line in content.splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        values.append(value)
        length += len(line)
    return values, length


def has_samples(path: Path) -> bool:
    """Whether an interrupted command left samples in this file."""
    return path.is_file() and len(_whole_lines(path.read_bytes())[0]) > 1


def model_version(model: str) -> str:
    """What changes with the model: its manifest's hash, else its files and times."""
    folder = Path(model)
    if (folder / MANIFEST).is_file():
        return hash_file(folder / MANIFEST)
    paths = sorted(path for pattern in VERSIONED for path in folder.glob(pattern))
    stats = [(path.name, path.stat()) for path in paths]
    return " ".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)


def _difference(first: object, settings: object) -> str:
    """The first setting that differs, with its value in the file."""
    if isinstance(first, dict) and isinstance(settings, dict):
        for name, value in first.items():
            if settings.get(name) != value:
                return f"{name}={str(value)[:60]}"
    return "other settings"
