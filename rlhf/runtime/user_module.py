"""Python files of the user, loaded as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from rlhf.errors import ConfigError, ErrorCode
from rlhf.manifest import hash_text


def load_module(file: Path, *, prefix: str, code: ErrorCode) -> ModuleType:
    """The module of a Python file.

    The file's folder is on sys.path while it loads, so that it can import its neighbours.

    Args:
        file: the file.
        prefix: of the module's name, which no installed module has.
        code: of the error.

    Raises:
        ConfigError: an error in the file.
    """
    name = f"{prefix}_{file.stem}_{hash_text(str(file.resolve()))[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(
            f"{file} does not load: {type(error).__name__}: {error}", code=code
        ) from error
    finally:
        sys.path.remove(folder)
    return module
