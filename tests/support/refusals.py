"""Assertions about :class:`~ssr_hydra.errors.InputError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ssr_hydra.errors import InputError


@contextmanager
def refused(field: str, kind: type[InputError] = InputError, match: str | None = None) -> Iterator[Any]:
    """Check that the block raises ``kind``, which names ``field`` and fits on one line."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert caught.value.field == field
    assert len(str(caught.value).splitlines()) == 1
