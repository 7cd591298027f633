"""README.md of a run folder: origin of the model, its metrics, and how to load it."""

import math
from collections.abc import Mapping
from pathlib import Path

import yaml

from rlhf.manifest import Manifest, write_atomically


def write_model_card(
    folder: Path, manifest: Manifest, *, title: str, metrics: Mapping[str, str], usage: str
) -> None:
    """Write `folder/README.md` from the manifest.

    Args:
        folder: the run folder.
        manifest: of the finished stage.
        title: heading of the card.
        metrics: metrics of the run, as text, for a table.
        usage: a line of Python that loads the model.
    """
    data = [
        f"| {use.role} | {_cell(use.path)} | {use.rows} | {use.dropped} | `{use.sha256[:12]}` |"
        for use in manifest.data
    ]
    lines = [
        "---",
        yaml.safe_dump(
            {"base_model": manifest.base_model}, allow_unicode=True, width=math.inf
        ).rstrip("\n"),
        "library_name: transformers",
        "tags: [rlhf]",
        "---",
        f"# {title}",
        "",
        f"Trained from `{manifest.base_model}` by the `{manifest.stage}` recipe of rlhf.",
        "",
        "| metric | value |",
        "|---|---|",
        *[f"| {_cell(name)} | {_cell(value)} |" for name, value in metrics.items()],
        "",
        "| data | source | rows | dropped | sha256 |",
        "|---|---|---|---|---|",
        *data,
        "",
        f"Seed {manifest.seed}, {manifest.world_size} process(es); chat template: "
        f"{manifest.chat_template_source}; stops at ids {list(manifest.eos_token_ids)}. "
        "`config.yaml` holds every setting, `manifest.json` every hash.",
        "",
        "```python",
        usage,
        "```",
    ]
    write_atomically(folder / "README.md", "\n".join(lines) + "\n")


def _cell(text: str) -> str:
    """The text with bars escaped, which would end a cell of a Markdown table."""
    return text.replace("|", "\\|")
