"""Adds the recipes, the bundled model and the launch settings to the wheel, as rlhf/shipped/.

An editable installation reads them from the checkout (rlhf/runtime/shipped.py) and copies nothing,
as a static `force-include` in pyproject.toml would.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("recipes", "data/pocket", "accelerate_config.yaml")


class ShippedFiles(BuildHookInterface):
    """Hatchling calls it because [tool.hatch.build.targets.wheel.hooks.custom] exists."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a standard wheel."""
        if version == "standard":
            build_data["force_include"] |= {path: f"rlhf/shipped/{path}" for path in SHIPPED}
