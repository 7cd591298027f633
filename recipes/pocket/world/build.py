"""Write the data files of the world: `python -m recipes.pocket.world.build data/pocket`."""

import json
import sys
from pathlib import Path

from .demonstrations import demonstration_rows
from .prompts import HELD_OUT_COUNTS, RANKING_MIX, TRAIN_MIX, counts, draw_items, prompt_rows

SEED = 0
SIZES = {"demonstrations": 1500, "prompts_ranking": 4500, "prompts_ppo": 2000}


def build(seed: int = SEED) -> dict[str, list[dict[str, str]]]:
    """The rows of every data file by its name; deterministic for a seed."""
    files = {"demonstrations": demonstration_rows(seed, SIZES["demonstrations"])}
    for name, mix in (("prompts_ranking", RANKING_MIX), ("prompts_ppo", TRAIN_MIX)):
        items = draw_items(f"{seed} {name}", counts(SIZES[name], mix), held_out=False)
        files[name] = prompt_rows(items)
    held_out = draw_items(f"{seed} prompts_heldout", HELD_OUT_COUNTS, held_out=True)
    return files | {"prompts_heldout": prompt_rows(held_out)}


def main() -> None:
    """Write the files into the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m recipes.pocket.world.build FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in build().items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{folder / name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
