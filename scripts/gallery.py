"""Draw the documentation's gallery, a small picture for every scheduler, and its comparison of warmups.

    python scripts/gallery.py [FOLDER]

The files are checked in. Their bytes depend on nothing but this file, the package and the release of matplotlib.
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
from ssr_hydra.schedulers import Phase

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
# The figure of the guide that compares warmups, as a command line of ssr-preview.
WARMUP = (
    "scheduler=cosine_warmup scheduler.t_warmup=100ba scheduler.scale_warmup=false,true ssr=0.5,1,2 max_duration=8ep"
    " --alpha"
)


def examples() -> dict[str, schedulers.ComposerScheduler]:
    """Each scheduler of the package with arguments that show what it does in 20 epochs."""
    made: list[schedulers.ComposerScheduler] = [
        schedulers.ConstantScheduler(alpha=0.5, t_max="0.5dur"),
        schedulers.StepScheduler("5ep", gamma=0.5),
        schedulers.MultiStepScheduler(["10ep", "15ep"], gamma=0.3),
        schedulers.ExponentialScheduler(gamma=0.85),
        schedulers.LinearScheduler(),
        schedulers.CosineAnnealingScheduler(),
        schedulers.CosineAnnealingWarmRestartsScheduler("3ep", t_mult=2),
        schedulers.PolynomialScheduler(power=2),
        schedulers.RexScheduler(),
        schedulers.OneCycleScheduler(),
        schedulers.PiecewiseLinearScheduler([("0ep", 0.2), ("4ep", 1.0), ("12ep", 0.6), ("20ep", 0.0)]),
        schedulers.ConstantWithWarmupScheduler("3ep"),
        schedulers.MultiStepWithWarmupScheduler("3ep", ["10ep", "15ep"], gamma=0.3),
        schedulers.LinearWithWarmupScheduler("3ep"),
        schedulers.CosineAnnealingWithWarmupScheduler("3ep"),
        schedulers.PolynomialWithWarmupScheduler("3ep"),
        schedulers.InverseSquareRootWithWarmupScheduler("3ep", t_cooldown="0.1dur"),
        schedulers.WarmupStableDecayScheduler("3ep", t_decay="0.2dur"),
        schedulers.ProductScheduler(
            {"anneal": schedulers.CosineAnnealingScheduler(), "halve": schedulers.StepScheduler("5ep", gamma=0.5)}
        ),
        schedulers.SequentialScheduler(
            {
                "ramp": Phase(schedulers.LinearScheduler(0.0, 1.0), until="3ep", scale=False),
                "hold": Phase(schedulers.ConstantScheduler(), until="0.5dur"),
                "decay": Phase(schedulers.CosineAnnealingScheduler()),
            }
        ),
    ]
    return {file_stem(type(scheduler).__name__): scheduler for scheduler in made}


def file_stem(class_name: str) -> str:
    """``CosineAnnealingScheduler`` -> ``cosine_annealing``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name.removesuffix("Scheduler")).lower()


def picture(scheduler: schedulers.ComposerScheduler, title: str) -> Figure:
    """alpha over epochs, a curve per ratio, as the preview draws it: only small, and without a legend of its own."""
    shown = previews.preview(scheduler, max_duration="20ep", ssr=(0.5, 1, 2), dataloader_len=20)
    figure = Figure(figsize=(3.2, 2.0), layout="constrained")
    axes = figure.add_subplot()
    draw(axes, shown.curves)
    axes.set_title(title, pad=9)
    return figure


def main(folder: Path = FOLDER) -> None:
    """Write an SVG for the warmups and one for every scheduler."""
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):  # the table is for the terminal
        previews.main([*WARMUP.split(), "--out", str(folder / "warmup.svg")])
    for stem, scheduler in examples().items():
        with style():
            figure = picture(scheduler, stem.replace("_", " "))
        (folder / "gallery" / f"{stem}.svg").write_bytes(render(figure, "svg"))
    print(f"{1 + len(examples())} pictures in {folder}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
