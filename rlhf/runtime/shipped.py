"""Files that the package carries next to its code: recipes, the bundled model, launch settings."""

from pathlib import Path

import rlhf


def shipped_folder() -> Path:
    """The folder with recipes/, data/pocket/ and accelerate_config.yaml.

    It is rlhf/shipped in an installed wheel, and the root of the repository in a checkout.
    """
    package = Path(rlhf.__file__).resolve().parent
    return package / "shipped" if (package / "shipped").is_dir() else package.parent
