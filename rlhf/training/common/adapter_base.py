"""A base that loads by itself, for an adapter that a run starts on top of another adapter."""

from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import Manifest, read_manifest, write_manifest
from rlhf.models.adapter_folder import adapter_base, name_base
from rlhf.models.lineage import MERGED_BASE, has_another_base
from rlhf.models.load import load_policy
from rlhf.models.save import save_policy
from rlhf.runtime.distributed import on_main_process, print_once


def keep_own_base(
    model: PreTrainedModel | PeftModel,
    source: str,
    folder: Path,
    chat: ChatTokenizer,
    *,
    dtype: torch.dtype,
    manifest_of: Callable[[Path], Manifest],
) -> None:
    """Let the adapters of `model` name a base that plain transformers and peft load.

    A base on this disk is named by its whole path. A LoRA folder is no model by itself: merged, in
    the type that it is trained on, it goes to `folder/merged_base`, once, and is what they name.
    Nothing happens to a model that has no adapters. Call it on all processes.

    dtype: of the frozen weights that the adapters are trained on.
    manifest_of: of a folder with the merged model, its stage MERGED_BASE.

    Raises:
        CheckpointError: a resumed run's `merged_base` was merged from other weights.
    """
    if not isinstance(model, PeftModel):
        return
    if adapter_base(source) is None:
        if Path(source).is_dir():
            name_base(model, str(Path(source).absolute()))
        return
    base = folder / MERGED_BASE

    def write() -> None:
        if read_manifest(base) is None:
            save_policy(base, load_policy(source, dtype=dtype), chat)
            write_manifest(base, manifest_of(base))
            print_once(
                f"{source} is a LoRA adapter: merged into {base}, the base of the new adapter."
            )
        elif has_another_base(base, source):
            raise CheckpointError(
                f"{base} was merged from {source} as it was when this run began, and {source} "
                "holds other weights now; restore it, or start again with --overwrite."
            )

    on_main_process(write)
    name_base(model, str(base.absolute()))
