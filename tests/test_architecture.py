"""The folders of rlhf/ import only what this table and the architecture page allow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rlhf"
GUIDE = ROOT / "docs" / "explanation" / "architecture.md"

# folder or file -> what it may import; each brings along what its own line names.
IMPORTS = {
    "errors": [],
    "types": ["errors"],
    "manifest": ["errors", "types"],
    "runtime": ["manifest"],
    "ops": ["types"],
    "data/files": ["runtime"],
    "data/tokenization": ["runtime"],
    "data/source_formats": ["data/files"],
    "data/rows": ["data/source_formats", "data/tokenization"],
    "data": ["data/rows"],
    "models/cpu_kernels": ["errors"],
    "models/protocols": [],
    "models/generation": ["data", "models/protocols", "models/cpu_kernels"],
    "models": ["ops", "models/generation", "models/cpu_kernels"],
    "rollouts": ["models"],
    "planning": ["models"],
    "rewards": ["models"],
    "training/common": ["models"],
    "training/sft": ["training/common", "planning"],
    "training/reward": ["training/common", "rewards", "planning"],
    "training/rating": ["training/reward"],
    "training/dpo": ["training/common", "planning"],
    "training/kto": ["training/common", "planning"],
    "training/ppo": ["training/common", "rewards", "planning", "rollouts"],
    "web": ["runtime"],
    "evaluation/stats": ["ops"],
    "labels": ["rewards", "rollouts", "web", "evaluation/stats"],
    "chat": ["labels", "web"],
    "evaluation/core": ["evaluation/stats", "rewards", "rollouts"],
    "evaluation/judges": ["evaluation/core", "labels"],
    "evaluation/reward_model": ["evaluation/core"],
    "evaluation/studies": ["evaluation/judges", "evaluation/reward_model"],
    "evaluation/benchmarks": ["evaluation/judges"],
    "evaluation/suites": ["evaluation/core"],
    "evaluation": ["evaluation/studies", "evaluation/benchmarks", "evaluation/suites"],
    "report": ["runtime"],
    "pipeline": [
        *(
            "training/sft",
            "training/reward",
            "training/rating",
            "training/dpo",
            "training/kto",
            "training/ppo",
            "evaluation",
        )
    ],
    "recipes": ["pipeline", "report"],
}
UNCHECKED = {"__init__", "__main__", "cli", "completion"}  # the entry points may import everything


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


def _folder_of(parts: tuple[str, ...]) -> str | None:
    """The line of IMPORTS that a file or a module belongs to: the longest that fits."""
    for length in range(len(parts), 0, -1):
        if (name := "/".join(parts[:length])) in IMPORTS:
            return name
    return None


def _allowed(folder: str) -> set[str]:
    return {folder}.union(*(_allowed(name) for name in IMPORTS[folder]))


def _modules() -> list[tuple[Path, tuple[str, ...]]]:
    files = sorted(PACKAGE.rglob("*.py"))
    return [(path, path.relative_to(PACKAGE).with_suffix("").parts) for path in files]


def test_every_file_belongs_to_a_folder_of_the_table():
    lost = [path for path, parts in _modules() if _folder_of(parts) is None]
    assert {path.stem for path in lost} <= UNCHECKED


@pytest.mark.parametrize("folder", IMPORTS)
def test_folder_imports_only_what_its_line_allows(folder):
    files = [path for path, parts in _modules() if _folder_of(parts) == folder]
    assert files, f"rlhf/{folder} holds no file"
    allowed = _allowed(folder)
    for path in files:
        modules = [name.split(".")[1:] for name in _imports(path) if name.startswith("rlhf.")]
        used = {_folder_of(tuple(parts)) for parts in modules} - {None}
        assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}"


def test_guide_has_a_row_for_every_folder():
    guide = GUIDE.read_text(encoding="utf-8")
    for folder in IMPORTS:
        name = f"{folder}.py" if (PACKAGE / f"{folder}.py").exists() else f"{folder}/"
        assert f"| `{name}` |" in guide, f"{GUIDE.name} has no row for {name}"


def test_trl_is_imported_only_where_it_is_wrapped():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path, _ in _modules()
        if any(name.split(".")[0] == "trl" for name in _imports(path))
    }
    assert users <= {
        "training/sft/fine_tune.py",
        "training/sft/trl_trainer.py",
        "data/tokenization/tool_calls.py",  # its table of the formats of tool calls
    }


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
