"""The command ``ssr-report``: from a study's folder, or a CSV, to a report and an answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import ssr_hydra
from ssr_hydra.errors import InputError
from ssr_hydra.report.content import Options, build
from ssr_hydra.report.terminal import report_text, terminal
from ssr_hydra.report.words import visible
from ssr_hydra.report.write import looks_at, write
from ssr_hydra.studies.csv import from_csv
from ssr_hydra.studies.reading import load
from ssr_hydra.studies.study import Study

__all__ = ["run"]

_BAD_INPUT = 2
_FLAGS = {"study": "STUDY", "reference": "--reference", "price_per_hour": "--price-per-hour"}
_COLUMNS = (
    "ssr",
    "quality",
    "seconds",
    "minutes",
    "hours",
    "steps",
    "recipe",
    "seed",
    "status",
    "n",
    "sd",
    "se",
    "pool",
    "wide",
)

_DESCRIPTION = """\
Report on a study: what training time buys, which recipe and SSR to run, and how sure that is.

Writes report.html (one file that needs no network), figures as PNG and SVG, table.csv, table.md, table.tex, runs.csv
and report.json, and prints the table and the answer.
"""
_EXAMPLES = """\
examples:
  ssr-report studies/digits
  ssr-report studies/digits studies/digits_more --tolerance 0.005 --price-per-hour 2.5
  ssr-report studies/lm --objective eval/loss --target 3.2 --out report
  ssr-report --csv resnet50.csv --ssr ssr --quality top1 --seconds seconds --tolerance 0.3
"""


def run(argv: Sequence[str] | None = None) -> None:
    """Parse, read, compute, write, print; see :func:`ssr_hydra.report.main`."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check_source(parser, args)
    try:
        options = Options(
            args.tolerance, args.target, args.price_per_hour, args.confidence, args.reference, args.equal, args.noise
        )
        study, folder = _study(args), _folder(args)
        content = build(study, options, looks_at(study, folder))
        written = write(content, folder)
    except InputError as error:
        _exit(str(_as_flag(error, args)))
    except OSError as error:
        _exit(
            f"{error.filename or ''}: {error.strerror or error}; nothing can be read or written there".removeprefix(
                ": "
            )
        )
    print(report_text(content, *terminal(sys.stdout), sys.stdout), "", visible(str(written[0])), sep="\n", flush=True)


def _study(args: argparse.Namespace) -> Study:
    if args.csv is None:
        return load(args.studies, objective=args.objective, direction=args.direction)
    columns = {name: getattr(args, name) for name in _COLUMNS if getattr(args, name) is not None}
    columns.setdefault("ssr", None)
    return from_csv(args.csv, **columns, full=args.full, decimal=args.decimal, direction=args.direction)


def _folder(args: argparse.Namespace) -> Path:
    """Return ``report`` in the study, or in the common folder of several studies or of a CSV."""
    if args.out is not None:
        return Path(args.out)
    if args.csv is not None:
        return Path(args.csv).parent / f"{Path(args.csv).stem}_report"
    if len(args.studies) == 1:
        return Path(args.studies[0]) / "report"
    return Path("report")


def _check_source(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check that a study or a CSV is given, with only its own options."""
    if args.csv is None and not args.studies:
        parser.error("names no study; name one or more studies' folders, or a table by --csv")
    if args.csv is not None and args.studies:
        parser.error(f"{args.studies[0]}: is a study beside --csv; name studies or a table, one report for each")
    table = next((path for path in args.studies if Path(path).suffix.lower() in (".csv", ".tsv")), None)
    if table is not None and Path(table).is_file():
        parser.error(f"STUDY={table!r}: is a table; name its columns: --csv {table} --ssr COL --quality COL")
    if args.csv is None:
        given = [f"--{name}" for name in _COLUMNS if getattr(args, name) is not None]
        if given:
            parser.error(f"{', '.join(given)}: names a column of a table; name the table by --csv FILE")
        if args.full is not None or args.decimal != ".":
            parser.error(f"--{'decimal' if args.full is None else 'full'}: is for a table; name it by --csv FILE")
    elif (args.ssr is None) == (args.wide is None) or args.quality is None:
        parser.error("--csv needs the names of columns: --ssr COL --quality COL, or --wide COL COL ... --quality NAME")
    elif args.objective is not None:
        parser.error("--objective is for studies; of a table --quality says the column")


def _as_flag(error: InputError, args: argparse.Namespace) -> InputError:
    """Return an error of the library in terms of the command line."""
    if args.csv is not None and error.field == "study":
        return InputError("--csv", args.csv, error.rule, error.fix)
    if error.field == "direction":
        return InputError("--direction", error.value, error.rule, "give --direction max or --direction min")
    flags = {*_COLUMNS, "csv", "full", "decimal", "tolerance", "target", "confidence", "equal", "objective"}
    flag = _FLAGS.get(error.field, f"--{error.field}" if error.field in flags else error.field)
    return InputError(flag, error.value, error.rule, error.fix)


def _exit(message: str) -> NoReturn:
    print(f"error: {visible(message)}", file=sys.stderr)
    sys.exit(_BAD_INPUT)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all errors of the project."""

    def error(self, message: str) -> NoReturn:
        _exit(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ssr-report",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ssr_hydra {ssr_hydra.__version__}", help="show it")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="a study's folder; several are read as one")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: STUDY/report)")
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--tolerance", type=float, metavar="X", help="a doubling that gains less is not worth its time")
    asked.add_argument("--target", type=float, metavar="X", help="a quality to reach")
    asked.add_argument("--price-per-hour", type=float, metavar="X", help="of the machine: adds the cost")
    asked.add_argument("--confidence", type=float, default=0.95, metavar="P", help="of intervals (%(default)s)")
    asked.add_argument("--reference", metavar="RECIPE", help="what others are compared with (default: the first)")
    asked.add_argument(
        "--equal", choices=("seconds", "steps", "ssr"), help="what a comparison gives as much of to each recipe"
    )
    asked.add_argument(
        "--noise",
        choices=("pooled", "cell"),
        default="pooled",
        help="of which runs intervals use the noise: of all, or of each recipe and SSR alone (%(default)s)",
    )
    asked.add_argument("--objective", metavar="NAME", help="the metric, e.g. eval/loss (default: the runs' own)")
    asked.add_argument("--direction", choices=("max", "min"), help="which quality is better")
    table = parser.add_argument_group("a table from elsewhere, a row for each run")
    table.add_argument("--csv", metavar="FILE", help="the table, instead of studies")
    table.add_argument("--ssr", metavar="COL", help="its column of scale schedule ratios")
    table.add_argument("--quality", metavar="COL", help="its column of final metrics")
    for unit in ("seconds", "minutes", "hours"):
        table.add_argument(f"--{unit}", metavar="COL", help=f"its column of training {unit}")
    table.add_argument("--steps", metavar="COL", help="its column of training steps")
    table.add_argument("--recipe", metavar="COL", nargs="+", help="its column, or columns, of what is compared")
    table.add_argument("--seed", metavar="COL", help="its column of seeds, for pairs")
    table.add_argument("--status", metavar="COL", help="its column of how runs ended: completed, diverged, failed")
    table.add_argument("--n", metavar="COL", help="its column of how many runs a row is the mean of")
    table.add_argument("--sd", metavar="COL", help="its column of the standard deviations of these runs")
    table.add_argument("--se", metavar="COL", help="its column of the standard errors of their means")
    table.add_argument("--wide", metavar="COL", nargs="+", help="instead of --ssr: a column of qualities for each SSR")
    table.add_argument("--full", type=float, metavar="X", help="length of the full run, in units of --ssr COL: SSR 1")
    table.add_argument("--decimal", default=".", metavar="CHAR", help="what separates decimals: . or , (%(default)s)")
    table.add_argument("--pool", metavar="COL", nargs="+", help="columns of names that make no other recipe")
    return parser
