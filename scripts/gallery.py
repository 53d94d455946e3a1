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

import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra import State, Timestamp, previews, schedulers
from ssr_hydra.schedulers import Phase, bind

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
# The figure of the guide that compares warmups, as a command line of ssr-preview.
WARMUP = (
    "scheduler=cosine_warmup scheduler.t_warmup=100ba scheduler.scale_warmup=false,true ssr=0.5,1,2 max_duration=8ep"
    " --alpha"
)
EPOCHS, BATCHES_PER_EPOCH = 20, 20
# Blue, black and orange differ in lightness too, so that they can be told apart in grey and by the colour-blind.
COLOURS = {0.5: "#E69F00", 1.0: "#222222", 2.0: "#0072B2"}


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


def draw(scheduler: schedulers.ComposerScheduler, title: str) -> Figure:
    """alpha over epochs, a curve per ratio; a dot marks the end of a run."""
    figure = Figure(figsize=(3.2, 2.0), layout="constrained")
    axes = figure.add_subplot()
    for ssr, colour in COLOURS.items():
        batches = round(EPOCHS * BATCHES_PER_EPOCH * ssr)
        state = State(max_duration=f"{batches}ba", dataloader_len=BATCHES_PER_EPOCH)
        curve = bind(scheduler, state, ssr)
        epochs = [k / BATCHES_PER_EPOCH for k in range(batches + 1)]
        alphas = [curve(Timestamp(batch=k, epoch=k // BATCHES_PER_EPOCH)) for k in range(batches + 1)]
        axes.plot(epochs, alphas, color=colour, linewidth=1.3, label=f"{ssr:g}", clip_on=False)
        axes.plot(epochs[-1], alphas[-1], "o", color=colour, markersize=3, clip_on=False)
    axes.set_title(title, fontsize=9)
    axes.set_xlim(0, 2 * EPOCHS)
    axes.set_ylim(0, 1.05)
    axes.set_xticks([0, 10, 20, 30, 40])
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("alpha", fontsize=8)
    axes.tick_params(labelsize=7, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="ssr", fontsize=6, title_fontsize=6, frameon=False, loc="upper right", handlelength=1)
    return figure


def main(folder: Path = FOLDER) -> None:
    """Write an SVG for the warmups and one for every scheduler."""
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):  # the table is for the terminal
        previews.main([*WARMUP.split(), "--out", str(folder / "warmup.svg")])
    with mpl.rc_context({"svg.hashsalt": "ssr_hydra", "svg.fonttype": "none", "font.family": "sans-serif"}):
        for stem, scheduler in examples().items():
            figure = draw(scheduler, stem.replace("_", " "))
            figure.savefig(folder / "gallery" / f"{stem}.svg", metadata={"Date": None, "Creator": None})
    print(f"{1 + len(examples())} pictures in {folder}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
