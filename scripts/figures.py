"""Draw the pictures of the documentation that show the scale schedule ratio.

    python scripts/figures.py [FOLDER]

The files are checked in. Their bytes depend on nothing but this file, the package and the release of matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra.previews import preview
from ssr_hydra.schedulers import CosineAnnealingWithWarmupScheduler

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"


def main(folder: Path = FOLDER) -> None:
    """Write ``ssr.svg`` and ``ssr.png``: one schedule at four ratios."""
    cosine = CosineAnnealingWithWarmupScheduler("0.1dur")
    for path in preview(cosine, max_duration="20ep", ssr=(0.25, 0.5, 1, 2)).save(folder / "ssr"):
        print(path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
