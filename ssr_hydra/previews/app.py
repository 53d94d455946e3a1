"""The command ``ssr-preview``. It accepts the overrides of ``train.py``, and draws a figure instead of training."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.app.check import are_named, check, known_dataloader_len, scheduler_parts
from ssr_hydra.app.check_torch import is_description
from ssr_hydra.app.command_line import NO_DASHES, parse_command_line
from ssr_hydra.app.compose import composing
from ssr_hydra.app.messages import explain
from ssr_hydra.app.preflight import JobComposer, sweep_axes
from ssr_hydra.app.targets import as_description, import_from_here, instantiate, trust_of
from ssr_hydra.errors import (
    InputError,
    MissingRateError,
    MissingValueError,
    UnsupportedError,
    own_message,
    visible_lines,
    within,
)
from ssr_hydra.output import Parser, exit_with_error
from ssr_hydra.previews.result import Preview, check_count, check_lr
from ssr_hydra.previews.schedule_curves import PreviewCurve, draw_out
from ssr_hydra.previews.torch_curves import TorchCurve
from ssr_hydra.schedulers import ProductScheduler
from ssr_hydra.schedulers.run import RATES
from ssr_hydra.state import State
from ssr_hydra.sweeps.combinations import check_job_count, combinations
from ssr_hydra.versions import version_line

_FAILED = 1
_FLAGS = {"path": "--out", "axis": "--lr", "title": "--title"}
_FLAGS |= {rate: f"--{rate.replace('_', '-')}" for rate in RATES.values()}

_DESCRIPTION = """\
Draw learning-rate schedules without training. The command writes a figure (PNG and SVG), and prints a table.

Overrides are those of train.py. The figure shows all combinations of values that are separated by commas or
written as range(...), choice(...) or glob(...), like the jobs of a sweep.
"""
_EXAMPLES = """\
examples:
  ssr-preview scheduler=cosine_warmup,wsd ssr=0.25,0.5,1
  ssr-preview scheduler=wsd scheduler.t_decay=0.1dur,0.2dur,0.4dur
  ssr-preview experiment=digits_wsd ssr=0.5,1 --normalize --out figures/wsd.pdf
  ssr-preview scheduler=step scheduler.step_size=500ba max_duration=10ep --dataloader-len 390
  ssr-preview scheduler=rex max_duration=2000ba optimizer=adamw optimizer.lr=3e-4 --title "REX"
"""


def run(argv: Sequence[str] | None = None) -> None:
    """Run the command ``ssr-preview``; see ``--help``."""
    overrides: list[str] = []
    try:
        args = _parser().parse(argv)
        overrides = args.overrides
        preview = Preview(tuple(_curves(args)))
        written = preview.save(args.out, axis=args.axis, normalize=args.normalize, title=args.title)
    except InputError as error:
        exit_with_error(_as_flag(error))
    except (HydraException, OmegaConfBaseException) as error:
        exit_with_error(explain(error, overrides))
    except Exception as error:
        message = own_message(error)
        if message is None:
            raise
        exit_with_error(message, _FAILED)
    print(visible_lines("\n".join([preview.table(), "", *map(str, written)])), flush=True)


def _as_flag(error: InputError) -> InputError:
    """Return the error with command-line flags instead of the Python arguments in its field and its fix."""
    missing = [rate for rate in RATES.values() if rate in (error.field, *error.rule.replace(",", " ").split())]
    if isinstance(error, MissingRateError) and missing:
        return error.renamed(error.field, f"give {' or '.join(f'{_FLAGS[rate]} N' for rate in missing)}")
    flag = _FLAGS.get(error.field, error.field)
    return error.renamed(flag, error.fix.replace(f"leave out {error.field}", f"leave out {flag}"))


def _parser() -> Parser:
    parser = Parser(
        prog="ssr-preview", description=_DESCRIPTION, epilog=_EXAMPLES, allow_abbrev=False, unknown=NO_DASHES
    )
    parser.add_argument("--version", action="version", version=version_line(), help="show the versions")
    parser.add_argument("overrides", nargs="*", metavar="override", help="an override, e.g. ssr=0.5,1")
    parser.add_argument(
        "--out",
        default="preview",
        metavar="PATH",
        help="a .png, .svg or .pdf; without a suffix, PNG and SVG (default: %(default)s)",
    )
    axis = parser.add_mutually_exclusive_group()
    axis.add_argument("--lr", dest="axis", action="store_const", const="lr", help="draw the absolute learning rate")
    axis.add_argument("--alpha", dest="axis", action="store_const", const="alpha", help="draw the multiplier alpha")
    parser.add_argument("--normalize", action="store_true", help="draw time as a fraction of the length of each run")
    parser.add_argument("--title", help="set a title above the figure")
    parser.add_argument("--dataloader-len", type=int, metavar="N", help="set the number of batches per epoch")
    parser.add_argument(
        "--samples-per-batch", type=float, metavar="N", help="set the samples per batch (default: data.batch_size)"
    )
    parser.add_argument(
        "--tokens-per-batch", type=float, metavar="N", help="set the tokens per batch, for times in tokens"
    )
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="add a folder of configs")
    parser.add_argument("--config-path", "-cp", metavar="DIR", help="set the folder of the main config")
    parser.add_argument("--config-name", "-cn", metavar="NAME", help="set the name of the main config")
    parser.add_argument(
        "--multirun", "-m", action="store_true", help="also sweep over the values in hydra.sweeper.params"
    )
    return parser


def _curves(args: argparse.Namespace) -> list[PreviewCurve]:
    """Compose and check every job that the overrides describe. Return a curve for each job."""
    flags = [
        f"--{name.replace('_', '-')}={value}"
        for name in ("config_path", "config_name", "config_dir")
        if (value := getattr(args, name)) is not None
    ]
    with composing(parse_command_line([*flags, *args.overrides])) as composer:
        parsed = composer.parse(composer.overrides)
        master = composer.compose([str(each.input_line) for each in parsed if not each.is_sweep_override()])
        if trust := trust_of(master):
            import_from_here()
        is_sweep = args.multirun or master.hydra.mode == RunMode.MULTIRUN
        params = OmegaConf.to_container(master.hydra.sweeper).get("params") if is_sweep else None  # type: ignore[union-attr]
        overrides, zips = sweep_axes(composer, master, parsed, params or {})
        check_count(check_job_count(overrides, zips))
        composed = JobComposer(composer, parsed, overrides, None if params else master)
        jobs = list(combinations(overrides, zips))
        varied = {
            key
            for key in (override.get_key_element() for override in overrides)
            if len({each for job in jobs for each in job if each.startswith(f"{key}=")}) > 1
        }
        checked = [(job, check(composed.compose(job), trust)) for job in jobs]
        return [
            _preview_curve(values, trust, _curve_name(composed.choice(job, "scheduler"), job, varied), args)
            for job, values in checked
        ]


def _curve_name(choice: str | None, job: Sequence[str], varied: Collection[str]) -> str:
    """Return the name of a curve: the scheduler, and the overrides other than ssr that differ between curves."""
    parts = [] if choice is None else [choice]
    for override in job:
        key, _, value = override.partition("=")
        if key in varied and key not in ("ssr", "scheduler"):
            parts.append(f"{_short(key)}={value}")
    return ", ".join(parts)


def _short(key: str) -> str:
    """Shorten a key: ``scheduler@scheduler.factors.decay`` -> ``decay``; ``scheduler.t_decay`` -> ``t_decay``."""
    names = key.lstrip("+~").rpartition("@")[2].split(".")
    return ".".join(name for name in names if name not in ("scheduler", "factors", "phases")) or key


def _preview_curve(
    values: Mapping[str, Any], trust: tuple[str, ...], name: str, args: argparse.Namespace
) -> PreviewCurve:
    rates = {
        "dataloader_len": known_dataloader_len(values["data"]),
        "samples_per_batch": values["data"]["batch_size"],
        "tokens_per_batch": None,
    }
    rates |= {rate: value for rate in RATES.values() if (value := getattr(args, rate)) is not None}
    length = State(max_duration=values["max_duration"]).max_duration
    assert length is not None
    with within("optimizer"):
        lr = check_lr(values["optimizer"].get("lr"))
    scheduler = _scheduler(values, trust, lr)
    return draw_out(scheduler, name=name, max_duration=length, ssr=values["ssr"], rates=rates, lr=lr, path="scheduler")


def _scheduler(values: Mapping[str, Any], trust: tuple[str, ...], lr: float | None) -> Any:
    node = values["scheduler"]
    fix = "choose one, e.g. scheduler=cosine"
    if node is None:
        raise MissingValueError("scheduler", None, "must be set, because a figure needs a schedule", fix)
    if are_named(node):
        rule = "has several schedules, but a figure can show only one schedule"
        raise UnsupportedError("scheduler", list(node), rule, fix)
    schedulers: list[Any] = []
    torchs = []
    for path, scheduler_node in scheduler_parts(node):
        part = as_description(scheduler_node)
        scheduler = instantiate(part, trust, path)
        if is_description(part):
            torchs.append((path, scheduler))
        else:
            schedulers.append(scheduler)
    if torchs:
        schedulers.append(TorchCurve.of(torchs, lr, values["trainer"]["use_stepwise_scheduler"]))
    if len(schedulers) == 1:
        return schedulers[0]
    return ProductScheduler({str(index): part for index, part in enumerate(schedulers)})
