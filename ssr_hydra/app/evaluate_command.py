"""The command ``ssr-evaluate``: its arguments, its output and its exit codes."""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.app.evaluate import TOLERANCE, evaluate
from ssr_hydra.app.messages import explain
from ssr_hydra.app.targets import import_from_here
from ssr_hydra.errors import FormatError, InputError, MissingValueError, RangeError, RunError, visible_lines
from ssr_hydra.output import Parser, exit_with_error, safe_output

_FAILED, _INTERRUPTED = 1, 130
_OWN = ("run", "checkpoint", "weights", "export", "split", "tolerance", "device")

_DESCRIPTION = """\
Evaluate a checkpoint of a run again, and compare the metrics with the metrics that the run recorded.

arguments, as name=value:
  run         folder of the run; required
  checkpoint  latest (the default), best, a name such as ba1200, or a path
  weights     auto (the default: the weights that the run evaluated), raw, or a callback that averages weights
  export      a file for these weights, such as model.pt or model.safetensors
  split       eval (the default) for the evaluation data, test for data.test
  tolerance   the largest difference that counts as equal; relative for values above 1 (default: 1e-06)
  device      device to use instead of the run's device, e.g. cpu
  trust       modules that the run's config may use, e.g. trust=[my_package]
All other arguments are overrides of the run's config, such as data.eval_batch_size=512. If an
override changes the data, such as data.eval.path=new.csv, the command does not compare the metrics.

exit code: 0 if all compared metrics equal the recorded metrics, 1 if not, 2 for invalid input
"""
_EXAMPLES = """\
examples:
  python -m ssr_hydra.evaluate run=outputs/run
  python -m ssr_hydra.evaluate run=outputs/run checkpoint=best export=model.pt
  python -m ssr_hydra.evaluate run=outputs/run device=cpu data.eval_batch_size=512 tolerance=1e-4
"""


def main(argv: Sequence[str] | None = None) -> None:
    """The command ``ssr-evaluate``; see ``--help``.

    Args:
        argv: The command-line arguments; None for the arguments of this process.

    Raises:
        SystemExit: 0 if each compared metric is within ``tolerance`` of its recorded value, 1 if a metric is not, 1 if
            the evaluation fails, 2 for invalid input, 130 for ctrl-C.
    """
    with safe_output():
        _main(argv)


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(
        prog="ssr-evaluate",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        allow_abbrev=False,
        unknown="write arguments without dashes, for example run=FOLDER",
    )
    parser.add_argument("arguments", nargs="*", metavar="name=value", help="see above")
    overrides: list[str] = []
    try:
        own, overrides = _split(parser.parse(argv).arguments)
        if any(override.startswith("trust=") for override in overrides):
            import_from_here()
        tolerance = _tolerance(own.pop("tolerance", str(TOLERANCE)))
        evaluation = evaluate(overrides=overrides, **own)
        print(visible_lines("\n".join([*evaluation.messages, evaluation.table(tolerance)])), flush=True)
        sys.exit(0 if evaluation.is_as_recorded(tolerance) else _FAILED)
    except (InputError, HydraException, OmegaConfBaseException, RunError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        if isinstance(error, RunError):
            exit_with_error(error, _FAILED)
        exit_with_error(explain(error, overrides))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _split(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    own: dict[str, Any] = {}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals and key not in _OWN and not key.startswith("~"):
            raise FormatError("arguments", argument, "must be name=value", "for a run's folder, write run=FOLDER")
        if key not in _OWN:
            overrides.append(argument)
        elif not equals or not value:
            raise MissingValueError(key, value, "needs a value", f"write {key}=...")
        elif key == "device":
            overrides.append(f"trainer.device={value}")
        else:
            own[key] = value
    if "run" not in own:
        raise MissingValueError("run", None, "must be set", "set run=<folder of the run>")
    return own, overrides


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise RangeError("tolerance", text, "must be a finite number >= 0", "e.g. tolerance=1e-6")
    return value
