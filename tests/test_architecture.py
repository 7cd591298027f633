"""The rooms of rlhf/ import only what docs/architecture.md allows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rlhf"

# Rooms from the ground up; a room may import itself and every room before it.
FLOORS = ["errors", "types", "manifest", "ops", "data", "models", "rewards"]
ABOVE_REWARDS = {
    "training": [*FLOORS, "training"],
    "labels": [*FLOORS, "labels"],
    "chat": [*FLOORS, "labels", "chat"],
    "evaluation": [*FLOORS, "labels", "evaluation"],
    "report": ["errors", "types", "manifest", "report"],
    "chain": [*FLOORS, "training", "labels", "evaluation", "chain"],
}
# What surrounds a run (configuration, processes, folders) may be used from every room but ops.
EVERYWHERE = {
    *("config", "launch", "launcher", "orphan", "threads", "activity"),
    *("run_folder", "run_lock", "disk", "printing"),
}
ALLOWED = {
    "errors": ["errors"],
    "types": ["errors", "types"],
    "manifest": ["errors", "types", "manifest"],
    "ops": ["errors", "types", "ops"],
    "data": [*FLOORS[:3], "data"],
    "models": [*FLOORS[:5], "models"],
    "rewards": FLOORS,
    **ABOVE_REWARDS,
}


def _imports(path: Path) -> set[str]:
    """Absolute names of the modules that the file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it from rlhf down"
            module = node.module or ""
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_the_rooms_below_it(room):
    files = [path for path in PACKAGE.rglob("*.py") if _room(path) == room]
    assert files, f"rlhf/{room} holds no file"
    allowed = set(ALLOWED[room]) | (EVERYWHERE if room not in ("ops", "errors", "types") else set())
    for path in files:
        used = {name.split(".")[1] for name in _imports(path) if name.startswith("rlhf.")}
        used = {
            name for name in used if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()
        }
        assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}"


def test_every_room_has_its_directions_and_its_line_in_the_guide():
    guide = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= ALLOWED.keys()
    for room in rooms:
        assert guide.count(f"| `{room}/` |") == 2, (
            f"docs/architecture.md: {room}/ is not in both tables"
        )
    for path in PACKAGE.glob("[a-z]*.py"):
        assert f"`{path.name}`" in guide, f"the guide does not mention {path.name}"


def test_trl_is_imported_only_where_a_trl_class_is_wrapped():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "trl" for name in _imports(path))
    }
    assert users <= {"config.py", "training/sft.py", "training/sft_trainer.py"}


def test_ops_import_nothing_but_torch_and_the_standard_library():
    for path in (PACKAGE / "ops").rglob("*.py"):
        foreign = {name.split(".")[0] for name in _imports(path)} & {
            "transformers",
            "accelerate",
            "peft",
        }
        assert not foreign, f"{path.name} imports {foreign}"


def test_no_weight_is_unpickled_and_no_remote_code_is_trusted():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "recipes").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for word in ("pickle.load", "weights_only=False", "trust_remote_code=True"):
            assert word not in text, f"{path.relative_to(ROOT)} holds {word}"
