"""The command ``ssr-report``: read a study's folder or a CSV file, write a report, and print the answer."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import ssr_hydra
from ssr_hydra.errors import ConflictError, FormatError, InputError, MissingValueError, PathError, visible
from ssr_hydra.output import Parser, exit_with_error
from ssr_hydra.report.content import EQUAL, Content, Options, build
from ssr_hydra.report.terminal import report_text, terminal
from ssr_hydra.report.write import looks_at, report_folder, write
from ssr_hydra.studies.csv import from_csv
from ssr_hydra.studies.reading import load
from ssr_hydra.studies.study import Study

_COLUMNS = (
    "ssr", "quality", "seconds", "minutes", "hours", "steps", "recipe", "seed", "status", "n", "sd", "se", "pool",
    "wide",
)  # fmt: skip

_DESCRIPTION = """\
Report on a study: the gain of longer training, which recipe and SSR to run, and how certain this answer is.

The command writes report.html (one file that needs no network), figures as PNG and SVG, table.csv, table.md, table.tex,
runs.csv and report.json, and prints the table and the answer.
"""
_EXAMPLES = """\
examples:
  ssr-report studies/digits
  ssr-report studies/digits studies/digits_more --tolerance 0.005 --price-per-hour 2.5
  ssr-report studies/lm --objective eval/loss --target 3.2 --out report
  ssr-report --csv resnet50.csv --ssr ssr --quality top1 --seconds seconds --tolerance 0.3
"""


def run(argv: Sequence[str] | None = None) -> None:
    """Run the command ``ssr-report``; see :func:`ssr_hydra.report.main`."""
    try:
        args = _parser().parse(argv)
        try:
            content, page = _report(args)
        except InputError as error:
            raise _as_flag(error, args) from None
    except InputError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
    print(report_text(content, *terminal(sys.stdout), sys.stdout), "", visible(str(page)), sep="\n", flush=True)


def _report(args: argparse.Namespace) -> tuple[Content, Path]:
    """Write the report. Return its content and the path of its page."""
    _check_source(args)
    values = {item.name: getattr(args, item.name) for item in fields(Options) if item.name != "labels"}
    options = Options(**values, labels=dict(map(_label, args.label)))
    study, folder = _study(args), _report_folder(args)
    content = build(study, options, looks_at(study, folder))
    try:
        return content, write(content, folder)[0]
    except OSError as error:
        rule = f"cannot be written ({error.strerror or error})"
        raise PathError("--out", str(folder), rule, "choose a different folder as --out DIR") from None


def _study(args: argparse.Namespace) -> Study:
    if args.csv is None:
        return load(args.studies, objective=args.objective, direction=args.direction)
    columns = {name: getattr(args, name) for name in _COLUMNS if getattr(args, name) is not None}
    columns.setdefault("ssr", None)
    return from_csv(args.csv, **columns, full=args.full, decimal=args.decimal, direction=args.direction)


def _report_folder(args: argparse.Namespace) -> Path:
    if args.out is not None:
        return Path(args.out)
    if args.csv is not None:
        return Path(args.csv).parent / f"{Path(args.csv).stem}_report"
    if len(args.studies) > 1:
        return Path("report")
    return report_folder(Path(args.studies[0]))


def _check_source(args: argparse.Namespace) -> None:
    """Refuse input other than studies or one CSV file, and options that cannot be used with this input."""
    if args.csv is not None:
        if args.studies:
            fix = "make one report of the studies, and one of the table"
            raise ConflictError("STUDY", args.studies[0], "cannot be used with --csv", fix)
        if (args.ssr is None) == (args.wide is None) or args.quality is None:
            rule = "needs --ssr COL --quality COL, or --wide COL COL ... --quality NAME"
            raise MissingValueError("--csv", args.csv, rule, "e.g. --ssr ssr --quality accuracy")
        if args.objective is not None:
            fix = "name the quality column with --quality COL"
            raise ConflictError("--objective", args.objective, "cannot be used with --csv", fix)
        if not Path(args.csv).is_file():
            if Path(args.csv).exists():
                raise PathError(
                    "--csv", args.csv, "must be a file (got a folder or a pipe)", "save the table in a file"
                )
            raise PathError("--csv", args.csv, "file not found", "check the path")
        return
    if not args.studies:
        fix = "pass one or more folders of studies, or a table as --csv FILE"
        raise MissingValueError("STUDY", None, "must be given", fix)
    for path in args.studies:
        if Path(path).is_file() and Path(path).suffix.lower() in (".csv", ".tsv"):
            fix = f"use --csv {shlex.quote(path)} --ssr COL --quality COL"
            raise PathError("STUDY", path, "must be a folder (got a table)", fix)
    for name in (*_COLUMNS, "full", "decimal"):
        if (value := getattr(args, name)) != ("." if name == "decimal" else None):
            raise ConflictError(f"--{name}", value, "cannot be used without a table", "add --csv FILE")


def _as_flag(error: InputError, args: argparse.Namespace) -> InputError:
    """Return the error with the name of the command-line option instead of the name of the Python argument."""
    if error.field == "study":
        source = error.value if args.csv is None else args.csv
        return type(error)("STUDY" if args.csv is None else "--csv", source, error.rule, error.fix)
    if error.field == "direction":
        return error.renamed("--direction", "give --direction max or --direction min")
    is_option = hasattr(args, error.field)
    return error.renamed(f"--{error.field.replace('_', '-')}") if is_option else error


def _label(text: str) -> tuple[str, str]:
    """Split ``NAME=LABEL`` into the name and the label. The name of a recipe may contain ``=``."""
    name, equals, label = text.rpartition("=")
    if not equals:
        raise FormatError("--label", text, "must be NAME=LABEL", "e.g. --label eval/accuracy=Accuracy")
    return name, label


def _parser() -> Parser:
    parser = Parser(prog="ssr-report", description=_DESCRIPTION, epilog=_EXAMPLES, allow_abbrev=False)
    version = f"ssr_hydra {ssr_hydra.__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="folder of a study; several folders make one study")
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: STUDY/report)")
    answer = parser.add_argument_group("options of the answer").add_argument
    answer("--tolerance", type=float, metavar="X", help="smallest gain that makes a doubling worthwhile")
    answer("--target", type=float, metavar="X", help="quality that the runs must reach")
    answer("--price-per-hour", type=float, metavar="X", help="price of the machine per hour; adds costs")
    confidence = "confidence level of the intervals (default: %(default)s)"
    answer("--confidence", type=float, default=0.95, metavar="P", help=confidence)
    answer("--reference", metavar="RECIPE", help="recipe to compare with (default: the first)")
    answer("--equal", choices=EQUAL, help="compare recipes at equal seconds, steps or SSR")
    noise = "estimate the noise from all runs, or from each recipe and SSR alone (default: %(default)s)"
    answer("--noise", choices=("pooled", "cell"), default="pooled", help=noise)
    label = "label of the metric or of a recipe in the report, e.g. eval/accuracy=Accuracy; can be repeated"
    answer("--label", action="append", default=[], metavar="NAME=LABEL", help=label)
    answer("--objective", metavar="NAME", help="the metric, e.g. eval/loss (default: trainer.objective)")
    answer("--direction", choices=("max", "min"), help="whether the highest or the lowest quality is best")
    table = parser.add_argument_group("options of a table with a row for each run").add_argument
    table("--csv", metavar="FILE", help="the table, instead of studies")
    table("--ssr", metavar="COL", help="column of scale schedule ratios")
    table("--quality", metavar="COL", help="column of final metrics")
    for unit in ("seconds", "minutes", "hours"):
        table(f"--{unit}", metavar="COL", help=f"column of training {unit}")
    table("--steps", metavar="COL", help="column of training steps")
    table("--recipe", metavar="COL", nargs="+", help="columns that distinguish recipes")
    table("--seed", metavar="COL", help="column of seeds; runs with the same seed are paired")
    table("--status", metavar="COL", help="column of statuses: completed, diverged, failed")
    table("--n", metavar="COL", help="column of run counts, if a row is the mean of several runs")
    table("--sd", metavar="COL", help="column of standard deviations over the runs of a row")
    table("--se", metavar="COL", help="column of standard errors of the mean over the runs of a row")
    table("--wide", metavar="COL", nargs="+", help="columns of qualities, one for each SSR, instead of --ssr")
    table("--full", type=float, metavar="X", help="length of the run at SSR 1, in the unit of --ssr COL")
    decimal = "decimal separator, a point or a comma (default: %(default)s)"
    table("--decimal", default=".", metavar="CHAR", help=decimal)
    table("--pool", metavar="COL", nargs="+", help="columns that do not distinguish recipes")
    return parser
