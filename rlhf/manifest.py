"""`manifest.json`, which a stage writes next to its weights and the next stage checks.

Most faults of RLHF runs arise between stages: a chat template, an EOS id or a reward scale that
changed. Every stage records what it used, and the next one compares.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from rlhf.errors import CheckpointError

MANIFEST = "manifest.json"
PACKAGES = ("rlhf", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")
WEIGHTS = ("*.safetensors",)
CRITIC_WEIGHTS = "critic.safetensors"  # which PPO saves next to a checkpoint's policy
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class DataUse:
    """One source of data as it was used."""

    role: str  # train, eval, prompts, normalization, …
    path: str  # a file or hub dataset; "rows" for rows in memory
    sha256: str
    rows: int  # rows used: with a weight of 2 each counts twice
    dropped: int = 0
    weight: float = 1.0  # of the source in a list of several


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Provenance of one stage's output folder."""

    stage: str  # sft, reward_model, ppo, …
    base_model: str
    base_model_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    chat_template_sha256: str
    chat_template_source: str  # tokenizer | supplied | FILE | none
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
    seed: int
    world_size: int
    data: tuple[DataUse, ...] = ()
    reward_mean: float | None = None
    reward_std: float | None = None
    config_sha256: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    built_on: dict[str, str] = field(default_factory=dict)  # folder -> sha256 of its manifest
    chat_template_kwargs: dict[str, object] = field(default_factory=dict)  # its variables
    reads_thoughts: bool = False  # whether a reward model reads the thoughts before responses
    chat_notes: tuple[str, ...] = ()  # how responses and thoughts are written: see load_tokenizer


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json`, whole or not at all."""
    write_atomically(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, or None where it has none (a model of another program).

    Raises:
        CheckpointError: the file is not a manifest of this project.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["data"] = tuple(DataUse(**use) for use in content["data"])
        content["eos_token_ids"] = tuple(content["eos_token_ids"])
        content["chat_notes"] = tuple(content.get("chat_notes", ()))
        return Manifest(**content)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a manifest this version can read ({error}); "
            "run the stage that wrote it again.",
            code="altered-model",
        ) from error


def check_folder(folder: Path, manifest: Manifest) -> None:
    """Raise for a folder whose weights or tokenizer changed after its manifest was written.

    Raises:
        CheckpointError: which of them changed.
    """
    for name, recorded, current in (
        ("weights", manifest.weights_sha256, hash_weights(folder)),
        ("tokenizer", manifest.tokenizer_sha256, hash_tokenizer(folder)),
        ("chat template", manifest.chat_template_sha256, hash_chat_template(folder)),
    ):
        if recorded != current:
            raise CheckpointError(
                f"{folder}: the {name} changed after {MANIFEST} was written "
                f"({recorded[:12]} then, {current[:12]} now); restore it or run the stage again.",
                code="altered-model",
            )


def hash_file(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hash_stream(file)


def hash_stream(file: BinaryIO) -> str:
    """SHA-256 of the remaining bytes of an open file, in hex."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """SHA-256 of the text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_files(paths: Sequence[Path]) -> str:
    """One SHA-256 over names and contents, in the order of the names; "" without files."""
    if not paths:
        return ""
    lines = [f"{path.name} {hash_file(path)}\n" for path in sorted(paths)]
    return hash_text("".join(lines))


def hash_weights(folder: Path) -> str:
    """Hash of the model's safetensors files at the folder's root, without a PPO critic's."""
    paths = [path for pattern in WEIGHTS for path in folder.glob(pattern)]
    return hash_files([path for path in paths if path.name != CRITIC_WEIGHTS])


def hash_tokenizer(folder: Path) -> str:
    """Hash of tokenizer.json (vocabulary, merges, special tokens); "" without the file."""
    return hash_files(list(folder.glob("tokenizer.json")))


def hash_chat_template(folder: Path) -> str:
    """Hash of chat_template.jinja as `save_pretrained` writes it; "" without the file."""
    path = folder / "chat_template.jinja"
    return hash_text(path.read_text(encoding="utf-8")) if path.is_file() else ""


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that a result depends on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str:
    """Commit of this checkout, with `-dirty` where files differ from it; "" outside git."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def write_atomically(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write the whole content or keep the old file: to a temporary name, synced, then renamed.

    private: with mode 0600, whatever the mode of the old file was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    mode = 0o600 if private else 0o666  # the latter without the bits of the umask
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a full disk names no file
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
