"""Match an error by its code, and by the keys, files or values that it names; not by its prose."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rlhf.errors import ErrorCode, RLHFError


@contextmanager
def raises(code: ErrorCode, *names: object) -> Iterator[pytest.ExceptionInfo[RLHFError]]:
    """Passes where the block raises an `RLHFError` of this code whose message has every name."""
    with pytest.raises(RLHFError) as caught:
        yield caught
    assert caught.value.code == code, f"[{caught.value.code}] {caught.value}"
    for name in names:
        assert str(name) in str(caught.value), f"{name!r} is not in: {caught.value}"
