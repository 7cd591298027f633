"""`import rlhf`: every exported name, and nothing heavy until one is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rlhf


@pytest.mark.parametrize("name", rlhf.__all__)
def test_exported_name_can_be_imported(name):
    assert getattr(rlhf, name) is not None
    assert name in dir(rlhf)


def test_type_checkers_see_the_exports():
    """The names under TYPE_CHECKING are those that __getattr__ serves."""
    tree = ast.parse(Path(rlhf.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.dump(node)]
    typed = {alias.asname for node in block.body for alias in node.names}
    assert typed == set(rlhf.__all__) - {"__version__"}


def test_import_loads_no_library():
    code = "import rlhf, sys; print([m for m in ('torch', 'numpy', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="SomethingElse"):
        rlhf.SomethingElse  # noqa: B018


def test_reference_lists_every_export():
    page = (Path(__file__).parent.parent / "docs" / "reference" / "api.md").read_text("utf-8")
    listed = {line.removeprefix("::: rlhf.") for line in page.splitlines() if ":::" in line}
    listed |= {name for name in vars(rlhf.errors) if name.endswith("Error")}  # ::: rlhf.errors
    assert set(rlhf.__all__) - {"__version__", "ops"} <= listed
