"""Measure how often the intervals and verdicts of a report are right, on simulated studies whose true values are known.

    python scripts/coverage.py            # about ten minutes
    python scripts/coverage.py --runs 100 # quick

The noise is like that of the digits task: its standard deviation decreases with the SSR, and the runs of one seed have
a common deviation.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ssr_hydra import studies
from ssr_hydra.studies.study import Study, as_curves

SSRS = (0.125, 0.25, 0.5, 1.0, 2.0)
DIGITS = (0.847, 0.911, 0.941, 0.960, 0.969)
SPREADS = (0.016, 0.010, 0.007, 0.0055, 0.005)
RUNS = Path(__file__).resolve().parent.parent / "docs/study/digits/runs.csv"
LOOKS = (3, 5, 8, 12, 20, 30)


def study_of(values: Any, ssrs: Any = SSRS, noise: str = "pooled") -> Study:
    """Return a study with the given values by recipe, SSR and seed. A NaN stands for a missing run."""
    recipes, lengths, seeds = values.shape
    rows = [
        (f"r{recipe}", float(ssrs[at]), seed, float(values[recipe, at, seed]))
        for recipe in range(recipes)
        for at in range(lengths)
        for seed in range(seeds)
        if not math.isnan(values[recipe, at, seed])
    ]
    frame = pd.DataFrame(rows, columns=["recipe", "ssr", "seed", "quality"])
    frame["seed"] = frame["seed"].astype("Int64")
    frame = frame.assign(control="", status="completed", error="", study="s", job="", folder="", max_duration="")
    for name in ("steps", "samples", "tokens", "seconds", "total_seconds"):
        frame[name] = frame["ssr"] * 1000.0
    return Study(frame, as_curves(), "quality", "max", noise=noise)  # type: ignore[arg-type]


def draws(
    generator: np.random.Generator, truth: Any, spreads: Any, seeds: int, shared: float = 0.3, kind: str = "normal"
) -> Any:
    """Return random values by recipe, SSR and seed around true values.

    ``kind`` is the noise: ``normal``, ``t3``, or a different noise for each recipe (``unlike``).
    """
    truth = np.asarray(truth, dtype=float)
    shape = (*truth.shape, seeds)

    def noise(size: Any) -> Any:
        if kind == "t3":
            return generator.standard_t(3, size) / math.sqrt(3)
        return generator.standard_normal(size)

    scale = np.broadcast_to(np.asarray(spreads), truth.shape)[..., None]
    if kind == "unlike":
        scale = scale * np.resize([0.5, 1.0, 2.0], len(truth))[:, None, None]
    return truth[..., None] + scale * (math.sqrt(shared) * noise(seeds) + math.sqrt(1 - shared) * noise(shape))


def coverage(seeds: int, runs: int, kind: str = "normal", noise: str = "pooled", seed: int = 0) -> dict[str, float]:
    """Return for each kind of interval how often it contains the true value, in studies of three recipes."""
    generator = np.random.default_rng(seed)
    truth = np.array([DIGITS, np.array(DIGITS) - 0.004, np.array(DIGITS) + np.linspace(-0.02, 0.004, 5)])
    hits: Counter[str] = Counter()
    total: Counter[str] = Counter()

    def count(name: str, low: Any, high: Any, value: Any) -> None:
        hits[name] += int(np.sum((np.asarray(low) <= value) & (value <= np.asarray(high))))
        total[name] += int(np.size(value))

    for _ in range(runs):
        study = study_of(draws(generator, truth, SPREADS, seeds, kind=kind), noise=noise)
        table = studies.summary(study)
        count("mean", table["low"], table["high"], truth.ravel())
        gains = studies.doublings(study)
        count("gain of a doubling", gains["low"], gains["high"], np.diff(truth, axis=1).ravel())
        for a, b in ((0, 1), (0, 2), (1, 2)):
            pairs = studies.paired(study, f"r{a}", f"r{b}")
            count("difference of recipes", pairs["low"], pairs["high"], truth[a] - truth[b])
    return {name: hits[name] / total[name] for name in total}


def smooth(ssrs: Any) -> Any:
    """Return the values of a saturating curve and of a peaked curve at the SSRs."""
    ssrs = np.asarray(ssrs, dtype=float)
    return np.stack([0.99 - 0.03 * ssrs**-0.7, 0.96 - 0.008 * np.log2(ssrs / 1.3) ** 2])


def between(seeds: int, runs: int, spread: float = 0.002, seed: int = 0) -> dict[str, float]:
    """Return how often intervals between measured SSRs contain the true value.

    The intervals are those of a value halfway between two SSRs, of the SSR of a target, and of a speed-up.
    """
    generator = np.random.default_rng(seed)
    truth = smooth(SSRS)[:1]
    truth = np.concatenate([truth, 0.99 - 0.03 * (np.array(SSRS)[None] * 0.8) ** -0.7])
    hits: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for _ in range(runs):
        study = study_of(draws(generator, truth, spread, seeds))
        for at in (0.125 * 2**0.5, 0.5 * 2**0.5, 2**0.5):
            estimate = studies.quality_at(study, at, "ssr").iloc[0]
            hits["value halfway"] += estimate["low"] <= smooth([at])[0, 0] <= estimate["high"]
            total["value halfway"] += 1
        target = float(smooth([0.7])[0, 0])
        estimate = studies.recommend(study, target=target)[0]
        hits["SSR of a target"] += estimate.target_low <= 0.7 <= estimate.target_high
        total["SSR of a target"] += 1
        speed = studies.speedup(study, "r1", "ssr")
        inside = speed[(speed["ssr"] > 0.2) & (speed["recipe"] == "r0")]
        hits["speed-up"] += int(((inside["low"] <= 1.25) & (inside["high"] >= 1.25)).sum())
        total["speed-up"] += len(inside)
    return {name: hits[name] / total[name] for name in total}


def looking_again(runs: int, noise: str = "pooled", seed: int = 0) -> dict[str, float]:
    """Return the fraction of growing studies in which at least one of six reports has a wrong verdict.

    One verdict compares two recipes, of which the second is worse by a third of a standard deviation. The other verdict
    is about a doubling, whose gain is below the tolerance by the same amount.
    """
    generator = np.random.default_rng(seed)
    truth = np.array([DIGITS, np.array(DIGITS) - np.array(SPREADS) / 3])
    tolerance = DIGITS[4] - DIGITS[3] + SPREADS[4] / 3
    wrong: Counter[str] = Counter()
    for _ in range(runs):
        values = draws(generator, truth, SPREADS, LOOKS[-1])
        errors: set[str] = set()
        for look in LOOKS:
            study = study_of(values[:, :, :look], noise=noise)
            table = studies.winners(study)
            if ((table["best"] == "r1") & table["decided"]).any():
                errors.add("the worse recipe is best, decided")
            advice = studies.recommend(study, tolerance)[0]
            if advice.verdict == "outside":
                errors.add("a doubling below the tolerance is above it, decided")
        wrong.update(errors)
    names = ["the worse recipe is best, decided", "a doubling below the tolerance is above it, decided"]
    return {name: wrong[name] / runs for name in names}


def flat(runs: int, seeds: int = 3, noise: str = "pooled", seed: int = 0) -> float:
    """Return the fraction of studies with a dominated point, although all 4 recipes at all 5 SSRs are equally good."""
    generator = np.random.default_rng(seed)
    truth = np.full((4, 5), 0.9)
    tables = (studies.pareto(study_of(draws(generator, truth, 0.01, seeds), noise=noise), "ssr") for _ in range(runs))
    return sum(bool((table["status"] == "dominated").any()) for table in tables) / runs


def rejected(ssrs: Any, seeds: int, runs: int, peaked: bool, spread: float = 0.002, seed: int = 0) -> float:
    """Return the fraction of studies in which the power law is rejected: rightly if ``peaked``, else wrongly."""
    generator = np.random.default_rng(seed)
    truth = smooth(ssrs)[int(peaked)][None]
    verdicts = Counter(
        studies.fits(study_of(draws(generator, truth, spread, seeds), ssrs))[0].verdict for _ in range(runs)
    )
    return verdicts["rejected"] / runs


def digits_rows() -> Any:
    """Return the qualities of the digits study of the documentation, without controls, by recipe, SSR and seed."""
    frame = pd.read_csv(RUNS, keep_default_na=False)
    frame = frame[frame["control"] == ""].sort_values(["recipe", "ssr", "seed"], kind="stable")
    shape = [frame[name].nunique() for name in ("recipe", "ssr", "seed")]
    return frame["quality"].to_numpy().reshape(shape)


def decisions(values: Any, noise: str) -> dict[Any, int]:
    """Return for each difference of a study whether it is certainly above 0 (1), below 0 (-1), or undecided (0).

    The differences are those of each pair of recipes at each SSR, and the gain of each doubling of each recipe.
    """
    study = study_of(values, noise=noise)
    verdicts: dict[Any, int] = {}
    for a, b in combinations(study.recipes, 2):
        rows = studies.paired(study, a, b)
        verdicts |= {(a, b, ssr): {"a": 1, "b": -1}.get(name, 0) for ssr, name in rows[["ssr", "better"]].to_numpy()}
    for row in studies.doublings(study).itertuples():
        verdicts[row.recipe, row.ssr] = int(row.sure_low > 0) - int(row.sure_high < 0)
    return verdicts


def resampled(values: Any, seeds: int, noise: str, most: int | None = None) -> list[dict[Any, int]]:
    """Return the decisions of each subset with ``seeds`` of a study's seeds, for at most ``most`` subsets.

    The order of the subsets is random and always the same.
    """
    subsets = list(combinations(range(values.shape[2]), seeds))
    order = np.random.default_rng(0).permutation(len(subsets))[:most]
    return [decisions(values[:, :, list(subsets[place])], noise) for place in order]


def lines(runs: int) -> Iterator[str]:
    """Yield the lines of the table."""
    for noise in ("pooled", "cell"):
        for kind in ("normal", "unlike", "t3"):
            for seeds in (2, 3, 5, 8):
                outcome = coverage(seeds, runs, kind, noise)
                yield f"{noise:6} {kind:6} n={seeds}  " + "  ".join(
                    f"{name} {share:.1%}" for name, share in outcome.items()
                )
    for seeds in (3, 5, 8):
        yield f"between, n={seeds}  " + "  ".join(f"{name} {share:.1%}" for name, share in between(seeds, runs).items())
    yield f"six looks: {looking_again(runs)}"
    for seeds in (2, 3, 5):
        yield f"flat 4 x 5, n={seeds}: a false dominated in {flat(runs, seeds):.1%}"
    rows = digits_rows()
    for noise in ("cell", "pooled"):
        for seeds in (3, 5, 8):
            results = resampled(rows, seeds, noise)
            counts = [sum(map(abs, outcome.values())) for outcome in results]
            yield f"digits rows, {noise}, {seeds} seeds: {np.mean(counts):.1f} of {len(results[0])} differences decided"
    many = np.geomspace(0.1, 4, 20)
    tests: list[tuple[str, Callable[[], float]]] = [
        ("a true power law, 20 SSRs, 1 seed", lambda: rejected(many, 1, runs, False)),
        ("a true power law, 5 SSRs, 3 seeds", lambda: rejected(SSRS, 3, runs, False)),
        ("a true power law, 5 SSRs, 8 seeds", lambda: rejected(SSRS, 8, runs, False)),
        ("a peaked truth, 5 SSRs, 3 seeds", lambda: rejected((0.25, 0.5, 1, 2, 4), 3, runs, True)),
    ]
    for name, measured in tests:
        yield f"{name}: rejected in {measured():.1%}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="simulated studies for each line")
    for line in lines(parser.parse_args().runs):
        print(line, flush=True)
