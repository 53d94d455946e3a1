"""The answer in sentences: who won, how sure, and what speaks against it."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from ssr_hydra.studies.report import Choice, Content, words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\x00"),
    ],
)
def test_every_character_is_visible(text: str, shown: str) -> None:
    assert words.visible(text) == shown
    shown.encode()  # a lone surrogate could not be written to a file


def chosen(content: Content, **changes: object) -> Content:
    assert content.choice is not None
    recommendation = content.choice.recommendation
    verdict = changes.pop("verdict", recommendation.verdict)
    ssr = changes.pop("of", recommendation.ssr)
    recommendation = replace(recommendation, verdict=verdict, ssr=ssr)  # type: ignore[arg-type]
    return replace(content, choice=replace(content.choice, recommendation=recommendation, **changes))  # type: ignore[arg-type]


def test_headlines(content: Content) -> None:
    assert words.headline(content) == "Run wsd at SSR 2 or longer: time still pays where the measurements end."
    assert words.headline(chosen(content, of=1.0, ssr=1.0)) == "Run wsd at SSR 1."
    assert "does not say what longer runs gain" in words.headline(chosen(content, verdict="unreplicated"))
    assert words.headline(replace(content, choice=None)) == "No recommendation: only controls have completed."


@pytest.mark.parametrize(
    ("verdict", "low", "rival", "certainty"),
    [
        ("decided", 0.01, "b", "sure"),
        ("decided", -0.01, "b", "close"),  # the recipe is open
        ("close", 0.01, "b", "close"),  # the SSR is open
        ("unreplicated", math.nan, "b", "unknown"),
        ("decided", math.nan, "b", "unknown"),
        ("decided", math.nan, None, "sure"),
        ("outside", 0.01, "b", "sure"),
    ],
)
def test_certainty_is_that_of_the_weakest_part(
    content: Content, verdict: str, low: float, rival: str | None, certainty: str
) -> None:
    choice = chosen(content, verdict=verdict, low=low, rival=rival).choice
    assert isinstance(choice, Choice)
    assert choice.certainty == certainty


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.009, "At SSR 2 it beats b, the next best there, by +0.0050 [0.0010, 0.0090]."),
        (-0.001, 0.011, "At SSR 2 it cannot be told apart from b: the difference is +0.0050 [-0.0010, 0.0110]."),
        (
            math.nan,
            math.nan,
            "At SSR 2 it is +0.0050 better than b on a single common seed, which says nothing about noise.",
        ),
    ],
)
def test_the_rival(content: Content, low: float, high: float, said: str) -> None:
    assert said in words.answer(chosen(content, rival="b", margin=0.005, low=low, high=high))


@pytest.mark.parametrize(
    ("winner", "said"),
    [
        ("control", "But its control truncate is better there: scaling gains -0.0050 [-0.0090, -0.0010]."),
        ("scaling", "Scaling beats its control truncate there by -0.0050 [-0.0090, -0.0010]."),
        (
            "undecided",
            "Against its control truncate nothing is decided there: scaling gains -0.0050 [-0.0090, -0.0010].",
        ),
    ],
)
def test_a_control_that_wins_is_said(content: Content, winner: str, said: str) -> None:
    row = {"recipe": "wsd", "control": "truncate", "ssr": 2.0, "n": 4, "gain": -0.005, "low": -0.009, "high": -0.001}
    frame = pd.DataFrame([row | {"method": "paired", "winner": winner}])
    assert said in words.answer(replace(content, controls=frame))


def test_every_rejected_fit_is_warned_of(content: Content) -> None:
    rejected = [fit for fit in content.fits if fit.verdict == "rejected"]
    warnings = words.fit_warnings(content)
    assert len(warnings) == len(rejected) > 0
    assert all("is not to be trusted" in warning for warning in warnings)


def test_what_the_sweep_took(content: Content) -> None:
    # 6 s a run at ssr 1 in each of three recipes of four seeds: 12 x 6 x (.125 + .25 + .5 + 1 + 2) scaled, and
    # 12 x 6 x (.125 + .25 + .5) cut, and two failed runs of 12 s: 279 + 63 + 24 s of training, .5 s each of start-up.
    assert words.cost_of_sweep(content) == (
        "98 runs, 96 of them completed: 6.1 min of training, 6.92 min with evaluation and start-up; "
        "cost 0.231 at 2 per hour."
    )
