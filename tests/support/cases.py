"""Run a table of cases in one test, because pytest takes more time for a test than a case takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def each(names: str, cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator like ``pytest.mark.parametrize`` that runs all cases in one test; an error names its case.

    The cases share their fixtures, so a case must not change a fixture that later cases read.

    Args:
        names: The parameters that a case sets, with commas in between.
        cases: The values of a single parameter, or tuples with a value for each parameter.
    """
    parameters, table = names.split(","), list(cases)
    assert table

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            for case in table:
                values = dict(zip(parameters, case if len(parameters) > 1 else (case,), strict=True))
                try:
                    test(**fixtures, **values)
                except Exception as error:
                    raise AssertionError(f"{test.__name__} fails for {values}: {error}") from error

        own = inspect.signature(test)
        left = [each for name, each in own.parameters.items() if name not in parameters]
        run.__signature__ = own.replace(parameters=left)  # type: ignore[attr-defined]
        return run

    return decorate
