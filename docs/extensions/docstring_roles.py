"""Docstrings are read in editors too: their ``:class:`Name``` roles become plain code on the pages."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|ref):`~?(?:[\w.]+\.)?([^`.]+)`")
_LITERAL_BLOCK = re.compile(r"::(?=\n\s*\n)")


class DocstringRoles(griffe.Extension):
    """Rewrites the docstring of every object that is collected."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = _LITERAL_BLOCK.sub(":", _ROLE.sub(r"`\1`", obj.docstring.value))
