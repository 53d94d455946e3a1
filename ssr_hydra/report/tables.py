"""The tables of a report, with text in each cell. The page, the Markdown files and the terminal use the same tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ssr_hydra.report.content import Content, rows_of
from ssr_hydra.report.method_words import fit_reason
from ssr_hydra.report.number_text import FIT_NAMES, NONE, duration, fixed, interval, number, percent, signed
from ssr_hydra.report.words import certainty, tolerances
from ssr_hydra.studies.intervals import VERDICT
from ssr_hydra.studies.notes import arm
from ssr_hydra.studies.study import find_series

_STATUS = {
    "frontier": ("frontier", "good", ""),
    "within_noise": ("within noise", "", "within noise, no better than a point that takes no longer"),
    "dominated": ("dominated", "bad", ""),
    "unreplicated": ("dominated?", "", "dominated by the mean; the noise is unknown"),
}


@dataclass(frozen=True)
class TableCell:
    """The text of a cell. ``tone`` (``good``, ``bad`` or empty) sets its colour on the page; ``note`` is a tooltip."""

    text: str
    tone: str = ""
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column. ``kind``, which sets its layout, is ``number``, ``name``, ``text`` or ``wide``.

    A narrow terminal hides ``extra`` columns.
    """

    head: str
    kind: str = "number"
    extra: bool = False


@dataclass(frozen=True)
class TableRow:
    """A row. ``of`` is the row's pair (recipe, control); ``chosen`` is true for the recipe and SSR to run."""

    cells: tuple[TableCell, ...]
    of: tuple[str, str] | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its columns and rows. ``more`` is the number of rows that are omitted."""

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...] = field(default=())
    more: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows)

    def first(self, most: int) -> Table:
        """Return the table with at most ``most`` rows; ``more`` then counts the omitted rows."""
        return Table(self.columns, self.rows[:most], self.more + max(0, len(self.rows) - most))


def _row(*cells: str | TableCell, of: tuple[str, str] | None = None, chosen: bool = False) -> TableRow:
    return TableRow(tuple(cell if isinstance(cell, TableCell) else TableCell(cell) for cell in cells), of, chosen)


def tables(content: Content) -> dict[str, Table]:
    """Return a mapping from name to table, with all tables of the report."""
    return {
        "main": main_table(content),
        "steps": steps_table(content),
        "doublings": _doublings(content),
        "paired": _paired(content),
        "speedup": _speedup(content),
        "equal_time": _equal_time(content),
        "fits": _fits(content),
        "crossings": _crossings(content),
        "ranking": _ranking(content),
        "target": _target(content),
        "controls": _controls(content),
        "problems": _problems(content),
        "hardware": _hardware(content),
    }


def main_table(content: Content) -> Table:
    """Return a table with a row for each recipe and SSR: quality with interval, time, and frontier status."""
    axes, length = content.axes, content.study.length
    time_axes = [axis for axis in ("steps", "samples", "tokens", "seconds", "cost") if axis in axes]
    heads = {"seconds": "training"}
    # A narrow terminal hides these columns. Steps are among them only if the table has seconds.
    extra = ("samples", "tokens", "steps") if "seconds" in time_axes else ("samples", "tokens")
    columns = (
        Column("recipe", "name"),
        Column("SSR"),
        *([Column(length[0])] if length else []),
        Column("seeds"),
        Column(content.objective),
        Column(f"{percent(content.options.confidence)} interval"),
        *(Column(heads.get(axis, axis), extra=axis in extra) for axis in time_axes),
        Column("frontier", "text"),
    )
    choice = content.choice
    choices = [choice] if content.is_settled else [step.choice for step in content.steps]
    chosen = {(each.recipe, "", each.ssr) for each in choices if each is not None}
    rows = []
    for row in _ordered(content, content.summary):
        key = row.recipe, row.control, row.ssr
        cells: list[str | TableCell] = [arm(row.recipe, row.control), number(row.ssr)]
        cells += [number(row.ssr * length[1])] if length else []
        cells.append(TableCell(f"{row.n} of {row.n + row.failed}", "bad") if row.failed else f"{row.n}")
        if row.n == 0:
            cells += [TableCell(NONE, "bad", "every run failed"), NONE]
        else:
            cells += [fixed(row.mean, content.decimals), interval(row.low, row.high, content.decimals)]
        cells += [_amount(axis, getattr(row, axis)) for axis in time_axes]
        cells.append(TableCell(*_STATUS[content.status[key]]) if key in content.status else NONE)
        rows.append(_row(*cells, of=key[:2], chosen=key in chosen))
    return Table(columns, tuple(rows))


def steps_table(content: Content) -> Table:
    """Return a table of what to run for each range of tolerances; empty if the choice is always the same."""
    if len(content.steps) < 2:
        return Table(())
    columns = (
        Column("a doubling must gain", "text"), Column("recipe", "name"), Column("SSR"), Column("how sure", "text"),
    )  # fmt: skip
    rows = []
    for step in content.steps:
        choice = step.choice
        longer = " or longer" if choice.recommendation.ssr is None else ""
        sure = certainty(choice)
        verdict = TableCell(sure, "good" if sure == "decided" else "", "at the middle of the tolerances")
        cells = tolerances(step.above, step.below), choice.recipe, f"{number(choice.ssr)}{longer}", verdict
        chosen = content.tolerance is not None and step.above < content.tolerance <= step.below
        rows.append(_row(*cells, of=(choice.recipe, ""), chosen=chosen))
    return Table(columns, tuple(rows))


def _doublings(content: Content) -> Table:
    columns = (
        Column("recipe", "name"), Column("from SSR"), Column("to"), Column("gain"), Column("interval"), Column("seeds"),
        *(() if content.tolerance is None else (Column("against the tolerance", "text"),)),
    )  # fmt: skip
    sure = max(VERDICT, content.options.confidence)
    rows = []
    for row in _ordered(content, content.doublings):
        to = f"{number(row.next_ssr)}{' (interpolated)' if row.interpolated else ''}"
        gain = signed(row.gain, content.decimals), interval(row.low, row.high, content.decimals), f"{row.n}"
        against = () if content.tolerance is None else (_against(row, content.tolerance, sure),)
        cells = arm(row.recipe, row.control), number(row.ssr), to, *gain, *against
        rows.append(_row(*cells, of=(row.recipe, row.control)))
    return Table(columns, tuple(rows))


def _against(row: Any, tolerance: float, sure: float) -> TableCell:
    """Say whether a gain is above or below the tolerance; ``open`` if the interval contains the tolerance."""
    if math.isnan(row.low):
        return TableCell(f"{'above' if row.gain >= tolerance else 'below'}, noise unknown")
    if row.sure_low > tolerance:
        return TableCell("above", "good")
    if row.sure_high < tolerance:
        return TableCell("below", "bad")
    return TableCell("open", "", f"the {percent(sure)} interval contains the tolerance")


def _paired(content: Content) -> Table:
    columns = (
        Column("A", "name"), Column("B", "name"), Column("SSR"), Column("common seeds"), Column("A - B"),
        Column("interval"), Column("better", "text"),
    )  # fmt: skip
    rows = []
    for a, b, frame in content.paired:
        words = {"a": TableCell(a, "good"), "b": TableCell(b, "good"), "undecided": TableCell("undecided")}
        for row in rows_of(frame[frame["n"] > 0]):  # n is the number of common seeds
            better = words.get(row.better, TableCell("unknown", "", "the noise is unknown"))
            ends = interval(row.low, row.high, content.decimals)
            rows.append(_row(a, b, number(row.ssr), f"{row.n}", signed(row.difference, content.decimals), ends, better))
    return Table(columns, tuple(rows))


def _speedup(content: Content) -> Table:
    columns = (
        Column("recipe", "name"), Column("reaches", "number"), Column(f"as {content.reference} at SSR"),
        Column("at SSR"), Column("speed-up"), Column("interval"),
    )  # fmt: skip
    rows = []
    for row in _ordered(content, content.speedup):
        if row.status == "never":
            speed, at = TableCell("not reached", "bad", "within the measured range"), NONE
        else:
            least, most = ("≥ ", "≤ ") if row.status == "at_least" else ("", "")
            at = f"{most}{number(row.reached_ssr)}"
            tone = "good" if row.low > 1 else "bad" if row.high < 1 else ""
            speed = TableCell(f"{least}{number(row.speedup, 3)}x", tone)
        cells = arm(row.recipe, row.control), fixed(row.quality, content.decimals), number(row.ssr), at, speed
        rows.append(_row(*cells, interval(row.low, row.high, 2), of=(row.recipe, row.control)))
    return Table(columns, tuple(rows))


def _equal_time(content: Content) -> Table:
    """Return a table with a row for each recipe and a column for each budget that the reference recipe has used."""
    frame = content.equal_time
    if frame.empty or len(content.arms) < 2:
        return Table(())
    budgets = list(dict.fromkeys(frame["at"]))
    unit = " steps" if content.equal == "steps" else ""
    columns = (Column("recipe", "name"), *(Column(_amount(content.equal, at) + unit) for at in budgets))
    rows_by_budget = {(row.recipe, row.control, row.at): row for row in rows_of(frame)}
    undecided = set(frame[frame["standing"] == "open"]["at"])
    notes = {"best": ", the best by its mean", "open": ", may be as good", "behind": ", behind"}
    rows = []
    for recipe, control in content.arms:
        cells: list[str | TableCell] = [arm(recipe, control)]
        for at in budgets:
            row = rows_by_budget.get((recipe, control, at))
            if row is None or row.status != "inside":
                where = "" if row is None else f"the budget is {row.status} the measured range"
                cells.append(TableCell(NONE, "", where))
                continue
            note = f"SSR {number(row.ssr)}, {interval(row.low, row.high, content.decimals)}"
            tone = {"best": "" if at in undecided else "good", "behind": "bad"}.get(row.standing, "")
            cells.append(TableCell(fixed(row.quality, content.decimals), tone, note + notes.get(row.standing, "")))
        rows.append(_row(*cells, of=(recipe, control)))
    return Table(columns, tuple(rows))


def _fits(content: Content) -> Table:
    columns = (
        Column("recipe", "name"), Column("fit", "text"), Column("back-test"), Column("predicted"), Column("measured"),
        Column("verdict", "text"), Column("why", "wide"),
    )  # fmt: skip
    verdicts = {
        "trusted": TableCell("passed", "good"),
        "rejected": TableCell("failed", "bad"),
        "untested": TableCell("not tested"),
    }
    rows = []
    for fit in content.fits:
        last = fit.back_tests[-1]
        expected = fixed(last.predicted, content.decimals)
        if not math.isnan(last.low):
            expected += f" {interval(last.low, last.high, content.decimals)}"
        test = (
            f"SSR ≤ {number(last.fitted_to)}, at {number(last.ssr)}",
            expected,
            fixed(last.observed, content.decimals),
        )
        cells = arm(fit.recipe, fit.control), FIT_NAMES[fit.kind], *test, verdicts[fit.verdict], fit_reason(fit)
        rows.append(_row(*cells, of=(fit.recipe, fit.control)))
    return Table(columns, tuple(rows))


def _crossings(content: Content) -> Table:
    columns = (
        Column("curves", "name"), Column("cross at SSR"), Column("interval"), Column("better below", "text"),
        Column("better above", "text"), Column("certain", "text"),
    )  # fmt: skip
    rows = []
    for row in rows_of(content.crossings):
        no = TableCell("no", "", "the difference on one side may be noise")
        certain = TableCell("yes", "good") if row.certain else no
        cells = f"{row.a}, {row.b}", number(row.ssr), interval(row.low, row.high, 3), row.better_below, row.better_above
        rows.append(_row(*cells, certain))
    return Table(columns, tuple(rows))


def _ranking(content: Content) -> Table:
    """Return a table: how often short runs rank two recipes like the longest runs. Empty for fewer than 3."""
    columns = (Column("at SSR"), Column("pairs of recipes"), Column("in the order of the longest runs"))
    rows = [
        _row(number(row.ssr), f"{row.pairs}", TableCell(f"{row.agree:.0%}", "bad" if row.agree <= 0.5 else ""))
        for row in rows_of(content.ranking)
        if row.pairs > 1
    ]
    return Table(columns, tuple(rows))


def _target(content: Content) -> Table:
    """Return a table with the time in which each recipe reaches the target, also as a multiple of the shortest time."""
    reached = []
    for best in content.recommendations:
        if best.target_ssr is not None:
            series = find_series(content.study, best.recipe, "recipe")
            logs = np.log(series.ssr), np.log(series.axis(content.equal, content.options.price_per_hour))
            ends = [best.target_ssr, best.target_low, best.target_high]
            amounts = [math.exp(np.interp(math.log(ssr), *logs)) if 0 < ssr < math.inf else ssr for ssr in ends]
            reached.append((amounts, best))
    if not reached:
        return Table(())
    first = min(amounts[0] for amounts, _ in reached)
    columns = (
        Column("recipe", "name"), Column("at SSR"), Column("after"), Column("interval"), Column("times the first"),
    )  # fmt: skip
    rows = []
    for (amount, low, high), best in sorted(reached, key=lambda item: item[0][0]):
        texts = [_amount(content.equal, end) if math.isfinite(end) else "∞" for end in (low, high)]
        interval_text = NONE if math.isnan(low) else f"[{texts[0]}, {texts[1]}]"
        at = f"{'≤ ' if best.target_status == 'below' else ''}{number(best.target_ssr or math.nan, 3)}"
        after = f"{_amount(content.equal, amount)}{' steps' if content.equal == 'steps' else ''}"
        cells = best.recipe, at, after, interval_text, f"{number(amount / first, 3)}x"
        rows.append(_row(*cells, of=(best.recipe, "")))
    return Table(columns, tuple(rows))


def _controls(content: Content) -> Table:
    columns = (
        Column("recipe", "name"), Column("control", "text"), Column("SSR"), Column("seeds"),
        Column("gain of scaling"), Column("interval"), Column("winner", "text"),
    )  # fmt: skip
    words = {"scaling": ("scaling", "good"), "control": ("control", "bad"), "same": ("the same run", "")}
    rows = []
    for row in rows_of(content.controls):
        winner = TableCell(*words.get(row.winner, ("undecided" if row.winner else "unknown",)))
        gain = signed(row.gain, content.decimals), interval(row.low, row.high, content.decimals)
        cells = row.recipe, row.control, number(row.ssr), f"{row.n}", *gain, winner
        rows.append(_row(*cells, of=(row.recipe, row.control)))
    return Table(columns, tuple(rows))


def _problems(content: Content) -> Table:
    columns = (Column("run", "name"), Column("what", "text"), Column("why", "wide"))
    rows = (_row(each.where, TableCell(each.kind, "bad"), each.reason) for each in content.study.problems)
    return Table(columns, tuple(rows))


def _hardware(content: Content) -> Table:
    columns = (Column("what", "text"), Column("value", "wide"))
    several = len(content.study.hardware) > 1
    rows = [
        _row((f"{key} ({place})" if several else key).replace("_", " "), _flat(value))
        for place, each in enumerate(content.study.hardware, start=1)
        for key, value in each.items()
        if value not in (None, "", {}, [])
    ]
    rows += [_row(name, ", ".join(versions)) for name, versions in content.study.versions.items()]
    return Table(columns, tuple(rows))


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_flat, value))
    return number(value) if isinstance(value, float) else str(value)


def _amount(axis: str, value: float) -> str:
    if axis == "seconds":
        return duration(value)
    if axis == "cost":
        return number(value, 3)
    if axis == "ssr":
        return f"SSR {number(value)}"
    return f"{value:,.0f}" if math.isfinite(value) else NONE


def _ordered(content: Content, frame: pd.DataFrame) -> Sequence[Any]:
    """Return the rows in the order of the study: each recipe before its controls, then by SSR."""
    summary = content.summary  # also has recipes without a completed run, which content.arms does not have
    pairs = dict.fromkeys([*content.arms, *zip(summary["recipe"], summary["control"], strict=True)])
    order = {pair: place for place, pair in enumerate(pairs)}
    return sorted(rows_of(frame), key=lambda row: (order.get((row.recipe, row.control), len(order)), row.ssr))
