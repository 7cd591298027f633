"""`rlhf recipes`: what it lists and copies, and that it overwrites nothing."""

from pathlib import Path

import yaml

from rlhf.recipes.shipped import RECIPES, copy_recipe, main
from tests.errors import raises


def test_every_folder_of_recipes_is_listed(root: Path, capsys):
    endings = (".yaml", ".py", ".sh")
    files = [path for path in (root / "recipes").glob("*/**/*") if path.suffix in endings]
    folders = {path.relative_to(root / "recipes").parts[0] for path in files}
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == folders == set(RECIPES)


def test_copied_recipe_has_the_files_that_it_names(tmp_path: Path):
    files = copy_recipe("pocket", tmp_path)
    assert all(path.is_file() for path in files)
    keys = yaml.safe_load((tmp_path / "recipes/pocket/align.yaml").read_text())
    words = [word.partition(":")[0] for word in keys.values() if isinstance(word, str)]
    paths = [word for word in words if word.startswith(("data/", "recipes/"))]
    assert len(paths) > 8
    assert all((tmp_path / path).exists() for path in paths)
    assert not list(tmp_path.rglob("__pycache__"))


def test_copy_never_overwrites_a_file_that_differs(tmp_path: Path, capsys):
    path = tmp_path / "recipes/qwen2.5-0.5b/ppo.yaml"
    copy_recipe("qwen2.5-0.5b", tmp_path)
    path.with_name("evaluate.yaml").unlink()
    assert main(["copy", "qwen2.5-0.5b", str(tmp_path)]) == 0  # equal files are left alone
    path.write_text("learning_rate: 1\n")
    path.with_name("evaluate.yaml").unlink()
    with raises("file-exists", path):
        copy_recipe("qwen2.5-0.5b", tmp_path)
    assert path.read_text() == "learning_rate: 1\n"
    assert not path.with_name("evaluate.yaml").exists()


def test_unknown_recipe_names_the_nearest(tmp_path: Path):
    with raises("unknown-name", "poket", "pocket"):
        copy_recipe("poket", tmp_path)
    with raises("unknown-name", "toy_tasks"):
        copy_recipe("xyz", tmp_path)


def test_copy_to_a_file_is_rejected(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with raises("file-exists", tmp_path / "file"):
        copy_recipe("accelerate", tmp_path / "file")
    with raises("bad-value", tmp_path / "file"):
        copy_recipe("accelerate", tmp_path / "file" / "below")
