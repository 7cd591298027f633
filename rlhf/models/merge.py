"""Merge a LoRA adapter into its base."""

from dataclasses import replace
from pathlib import Path

import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import (
    MANIFEST,
    check_folder,
    hash_chat_template,
    hash_file,
    hash_tokenizer,
    hash_weights,
    read_manifest,
    write_manifest,
)
from rlhf.models.adapter_folder import adapter_base
from rlhf.models.lineage import check_base
from rlhf.models.load import load_config, load_policy
from rlhf.models.save import save_policy


def merge(folder: Path, output: Path, moved_base: str | None = None) -> str:
    """Write the adapter in `folder`, merged into its base, to `output`; return the base's name.

    The sum is computed in float32 and saved in the base's dtype. The adapter's manifest is copied,
    with the new weights' hash and the adapter as what it was built on.

    moved_base: the base of an adapter whose configuration names an old path.

    Raises:
        CheckpointError: no adapter, one that changed after its manifest was written, a base that
            does not load or has other weights, or an output folder that is not empty.
    """
    base = adapter_base(folder)
    if base is None:
        raise CheckpointError(
            f"{folder} is not a LoRA adapter (it has no adapter_config.json); name one.",
            code="not-a-model",
        )
    if output.exists() and any(output.iterdir()):
        raise CheckpointError(f"{output} is not empty; name a new folder.", code="run-exists")
    base = moved_base or base
    manifest = read_manifest(folder)
    if manifest is not None:
        check_folder(folder, manifest)
    check_base(folder, base)
    chat = load_tokenizer(str(folder))
    dtype = getattr(load_config(folder, base), "dtype", None) or torch.float32
    save_policy(output, load_policy(folder, base=base).to(dtype), chat)  # type: ignore[arg-type]
    if manifest is not None:
        merged = replace(
            manifest,
            weights_sha256=hash_weights(output),
            tokenizer_sha256=hash_tokenizer(output),
            chat_template_sha256=hash_chat_template(output),
            built_on={str(folder): hash_file(folder / MANIFEST)},
        )
        write_manifest(output, merged)
    return base
