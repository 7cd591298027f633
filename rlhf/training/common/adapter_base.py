"""A base that loads by itself, for an adapter that is trained on top of another adapter."""

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

    A base on this disk is named by its absolute path. A LoRA folder is not a model by itself: it is
    merged once into `folder/merged_base`, in the type that it is trained on, and the adapters name
    that folder. A model without adapters is left unchanged. Call it on all processes.

    Args:
        model: the model to train.
        source: the folder or hub id that it was loaded from.
        folder: the folder that the adapters are saved in.
        chat: the tokenizer to save with a merged base.
        dtype: type of the frozen weights that the adapters are trained on.
        manifest_of: returns the manifest of a folder with the merged model, of stage MERGED_BASE.

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
                f"{base} was merged from {source} when this run began, but {source} has other "
                "weights now; restore it, or start again with --overwrite.",
                code="base-mismatch",
            )

    on_main_process(write)
    name_base(model, str(base.absolute()))
