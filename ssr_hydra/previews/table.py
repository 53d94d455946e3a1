"""The table of a preview, as plain text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ssr_hydra.output import text_table
from ssr_hydra.previews.schedule_curves import Landmark, PreviewCurve
from ssr_hydra.time import Time

_MOST_OF_A_KIND = 8
_HEADER = ("", "time", "fraction", "alpha", "lr")


def table(curves: Sequence[PreviewCurve]) -> str:
    """Return a text table: time, fraction of the run, alpha and learning rate at the landmarks of each curve."""
    with_lr = any(curve.lr is not None for curve in curves)
    blocks = [
        (f"{curve.name}, ssr {curve.ssr:g}", [_landmark_row(curve, landmark) for landmark in _elided(curve.landmarks)])
        for curve in curves
    ]
    columns = len(_HEADER) if with_lr else len(_HEADER) - 1
    cells = [_HEADER, *(row for _, rows in blocks for row in rows)]
    header, *lines = (
        f"  {line}" for line in text_table([row[:columns] for row in cells], right=range(1, columns), gap=3)
    )
    text = [header]
    for title, rows in blocks:
        text += ["", title, *lines[: len(rows)]]
        del lines[: len(rows)]
    return "\n".join(text)


def _landmark_row(curve: PreviewCurve, landmark: Landmark | str) -> tuple[str, ...]:
    if isinstance(landmark, str):
        return (landmark, "", "", "", "")
    share = float(landmark.time.value / curve.max_duration.value)
    lr = "" if curve.lr is None else f"{curve.lr * landmark.alpha:.6g}"
    return (landmark.label, _short_time(landmark.time), f"{100 * share:.4g} %", f"{landmark.alpha:.6g}", lr)


def _elided(landmarks: Sequence[Landmark]) -> list[Landmark | str]:
    """If there are many milestones, many steps or many restarts, replace some of them by "... N more"."""
    kinds: dict[str, list[int]] = {}
    for place, landmark in enumerate(landmarks):
        if match := re.fullmatch(r"(.*) \d+", landmark.label):
            kinds.setdefault(match[1], []).append(place)
    many = [places for places in kinds.values() if len(places) > _MOST_OF_A_KIND]
    hidden = {place for places in many for place in places[_MOST_OF_A_KIND // 2 : -1]}
    entries: list[Landmark | str] = []
    waiting = 0
    for place, landmark in enumerate(landmarks):
        if place in hidden:
            waiting += 1
            continue
        if waiting:
            entries.append(f"... {waiting} more")
            waiting = 0
        entries.append(landmark)
    return entries


def _short_time(time: Time) -> str:
    exactly = str(time)
    return exactly if len(exactly) <= 12 and "/" not in exactly else f"{float(time):.6g}{time.unit}"
