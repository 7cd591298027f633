"""The file of `rlhf label serve --projects`: several stores on one server."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.runtime.config_yaml import read_yaml
from rlhf.runtime.yaml_keys import check_keys, text_of

KEYS = ("name", "title", "store", "form", "guideline", "pictures")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, kw_only=True)
class ProjectEntry:
    """One project of the file."""

    name: str  # part of its address
    title: str
    store: str
    form: str | None
    guideline: Path | None
    pictures: Path | None = None  # folder of the pictures that prompts name


def load_projects(path: str | Path) -> Sequence[ProjectEntry]:
    """The projects of a YAML file with a list `projects`.

    Files are relative to the folder of this one.

    Raises:
        ConfigError: an unreadable file, an unknown or missing key, or a name or store that occurs
            twice.
    """
    content = read_yaml(Path(path))
    check_keys(path, content, ("projects",))
    listed = content.get("projects")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{path}: list the projects under `projects:`.", code="missing-key")
    entries = [_entry(Path(path), number, one) for number, one in enumerate(listed, 1)]
    for key in ("name", "store"):
        values = [getattr(entry, key) for entry in entries]
        repeated = [value for value in values if values.count(value) > 1]
        if repeated:
            raise ConfigError(
                f"{path}: two projects have the {key} {repeated[0]}; each needs its own.",
                code="repeated-key",
            )
    return entries


def _entry(path: Path, number: int, keys: object) -> ProjectEntry:
    place = f"{path}: project {number}"
    if not isinstance(keys, dict):
        raise ConfigError(f"{place} has no keys; write name: and store:.", code="missing-key")
    check_keys(place, keys, KEYS)
    texts = {name: text_of(place, keys, name) for name in KEYS}
    if not NAME.fullmatch(texts["name"]):
        raise ConfigError(
            f"{place}: name={texts['name']!r} is part of the address; use a to z, 0 to 9 and -.",
            code="bad-value",
        )
    if not texts["store"]:
        raise ConfigError(f"{place}: store is missing.", code="missing-key")
    store, form = texts["store"], texts["form"]
    pictures = path.parent / texts["pictures"] if texts["pictures"] else None
    if pictures is not None and not pictures.is_dir():
        raise ConfigError(f"{place}: pictures={pictures} is not a folder.", code="missing-file")
    return ProjectEntry(
        name=texts["name"],
        title=texts["title"] or texts["name"],
        store=store if "://" in store else str(path.parent / store),
        form=_form(path.parent, form) if form else None,
        guideline=path.parent / texts["guideline"] if texts["guideline"] else None,
        pictures=pictures,
    )


def _form(folder: Path, form: str) -> str:
    """A file next to the list, or the name of a form of the package."""
    return str(folder / form) if (folder / form).is_file() else form
