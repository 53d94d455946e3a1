"""Draw the documentation's gallery: a small picture of every scheduler, and a comparison of warmups.

    python scripts/gallery.py [FOLDER]

The files are in the repository. Their bytes depend only on this file, the package and the release of matplotlib.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra import previews, schedulers
from ssr_hydra.drawing import render, style
from ssr_hydra.previews.figure import draw
from ssr_hydra.schedulers.registry import ROWS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
# The arguments of ssr-preview for the guide's figure that compares warmups.
WARMUP = (
    "scheduler=cosine_warmup scheduler.t_warmup=100ba scheduler.scale_warmup=false,true ssr=0.5,1,2 max_duration=8ep"
    " --alpha"
)


def examples() -> dict[str, schedulers.Scheduler]:
    """Return each scheduler of the registry with arguments that show its behavior in 20 epochs."""
    return {file_stem(row.scheduler.__name__): row.scheduler(**{**row.presets, **row.example}) for row in ROWS}


def file_stem(class_name: str) -> str:
    """Return the name of the picture file: ``cosine_annealing`` for ``CosineAnnealingScheduler``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name.removesuffix("Scheduler")).lower()


def picture(scheduler: schedulers.ComposerScheduler, title: str) -> Figure:
    """Draw alpha over epochs with a curve for each ratio. The picture is a small preview without a legend."""
    preview = previews.preview(scheduler, max_duration="20ep", ssr=(0.5, 1, 2), dataloader_len=20)
    figure = Figure(figsize=(3.2, 2.0), layout="constrained")
    axes = figure.add_subplot()
    draw(axes, preview.curves)
    axes.set_title(title, pad=9)
    return figure


def main(folder: Path = FOLDER) -> None:
    """Write an SVG for the warmups and one for every scheduler."""
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):  # hide the table that ssr-preview prints
        previews.main([*WARMUP.split(), "--out", str(folder / "warmup.svg")])
    for stem, scheduler in examples().items():
        with style():
            figure = picture(scheduler, stem.replace("_", " "))
        (folder / "gallery" / f"{stem}.svg").write_bytes(render(figure, "svg"))
    print(f"{1 + len(examples())} pictures in {folder}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
