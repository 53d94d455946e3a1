"""Docstrings are written to be read in editors; this turns what Markdown would not understand into what it does."""

from __future__ import annotations

import re
from typing import Any

import griffe

_REWRITES = [
    # :class:`~package.Name` -> `Name`
    (re.compile(r":(?:class|func|meth|mod|attr|data|exc|ref):`~?(?:[\w.]+\.)?([^`.]+)`"), r"`\1`"),
    # The mark of a literal block; its indentation says as much.
    (re.compile(r"^\s*::\n(?=\s*\n)|(?<=:):(?=\n\s*\n)", re.MULTILINE), ""),
    # A section of doctests has this name, and is not run through Markdown.
    (re.compile(r"^(\s*)Example:$", re.MULTILINE), r"\1Examples:"),
]


class DocstringRoles(griffe.Extension):
    """Rewrites the docstring of every object that is collected."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        del kwargs
        if obj.docstring is not None:
            for pattern, replacement in _REWRITES:
                obj.docstring.value = pattern.sub(replacement, obj.docstring.value)
