"""Estimates of cells with different seeds; sentences and columns of a report never contradict each other."""

from itertools import combinations

import numpy as np
import pytest
from study_runs import study_of

from ssr_hydra.report import Options, build
from ssr_hydra.report.words import answer
from ssr_hydra.studies import doublings, paired, pareto, quality_at, summary, winners
from ssr_hydra.studies.effects import with_effects
from ssr_hydra.studies.intervals import Cell, combine


def cell(values, seeds):
    return Cell(np.array(values), np.array(seeds))


@pytest.mark.parametrize("seeds", [[[0, 1, 2], [0, 1, 2]], [[0, 1, 2], [3, 4, 5]]])
def test_balanced_cells_keep_their_means(seeds):
    cells = [cell([0.1, 0.3, 0.2], seeds[0]), cell([0.2, 0.5, 0.3], seeds[1])]
    estimates = with_effects(cells, np.ones(2), np.arange(2))
    assert [(each.mean, each.influence) for each in estimates] == [(each.mean, None) for each in cells]


def test_strong_effects_of_seeds_do_not_change_the_difference_of_recipes():
    # b is better by 0.1 with every seed. Its seeds have worse effects, so its plain mean is worse by 1.9.
    effect = {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0, 4: 0.0}
    a = cell([effect[seed] for seed in (0, 1, 2)], [0, 1, 2])
    b = cell([effect[seed] + 0.1 for seed in (2, 3, 4)], [2, 3, 4])
    c = cell([effect[seed] + 5 for seed in range(5)], list(range(5)))
    one, other, third = with_effects([a, b, c], np.ones(3), np.arange(3))
    assert b.mean - a.mean == pytest.approx(-1.9)
    assert other.mean - one.mean == pytest.approx(0.1, abs=0.05)
    assert third.mean - one.mean == pytest.approx(5, abs=0.05)
    estimate = combine([other, one], [1.0, -1.0], 0.95)
    assert estimate.value == pytest.approx(other.mean - one.mean)
    assert estimate.method == "paired"


def test_estimates_equal_those_of_the_mixed_model():
    """Compare with the normal equations of the whole covariance matrix of the runs, inverted directly."""
    rng = np.random.default_rng(1)
    seeds = [[0, 1, 2, 3], [1, 2, 4], [0, 3, 4, 5]]
    effect = rng.normal(0, 1, 6)
    cells = [cell([float(effect[s] + rng.normal(0, 1)) for s in own], own) for own in seeds]
    estimates = with_effects(cells, np.ones(3), np.arange(3))
    rest = {
        (row, s): v - estimates[row].mean for row, c in enumerate(cells) for s, v in zip(c.seeds, c.values, strict=True)
    }
    products = [rest[a] * rest[b] for a, b in combinations(rest, 2) if a[1] == b[1]]
    squares = [(rest[a] ** 2 + rest[b] ** 2) / 2 for a, b in combinations(rest, 2) if a[1] == b[1]]
    share = np.mean(products) / np.mean(squares)
    assert 0.1 < share < 0.9
    runs = list(rest)
    covariance = np.array([[1.0 if a == b else share if a[1] == b[1] else 0.0 for b in runs] for a in runs])
    design = np.array([[float(row == column) for column in range(3)] for row, _ in runs])
    values = np.concatenate([c.values for c in cells])
    solve = np.linalg.inv(covariance)
    expected = np.linalg.solve(design.T @ solve @ design, design.T @ solve @ values)
    assert [c.mean for c in estimates] == pytest.approx(expected.tolist(), abs=1e-5)


def unbalanced(rng):
    """Return a study of three similar recipes at four SSRs, with different seeds that have effects."""
    effect = rng.normal(0, rng.choice([0.0, 0.01, 0.03]), 6)
    values = {}
    for recipe in "abc":
        values[recipe] = {
            ssr: {
                seed: float(0.8 + 0.05 * np.log2(ssr) + effect[seed] + rng.normal(0, 0.01))
                for seed in sorted(rng.choice(6, rng.integers(1, 6), replace=False).tolist())
            }
            for ssr in (0.5, 1.0, 2.0, 4.0)
        }
    return study_of(values)


@pytest.mark.parametrize("draw", range(4))
def test_all_numbers_of_a_report_agree_in_order_and_sign(draw):
    study = unbalanced(np.random.default_rng(draw))
    table = summary(study).set_index(["recipe", "ssr"])["mean"]
    for row in winners(study).itertuples():
        means = table.xs(row.ssr, level="ssr").sort_values(ascending=False)
        assert [row.best, row.second] == means.index[:2].tolist()
        assert row.margin == pytest.approx(means.iloc[0] - means.iloc[1], abs=1e-9)
        assert row.margin >= 0
    for one, other in combinations("abc", 2):
        for row in paired(study, one, other).itertuples():
            if row.n:
                assert row.difference == pytest.approx(table[one, row.ssr] - table[other, row.ssr], abs=1e-9)
    for row in doublings(study).itertuples():
        assert row.gain == pytest.approx(table[row.recipe, row.next_ssr] - table[row.recipe, row.ssr], abs=1e-9)
    for row in pareto(study, "steps").itertuples():
        assert row.mean == pytest.approx(table[row.recipe, row.ssr], abs=1e-9)
        if row.status != "frontier":
            other = table[row.by_recipe, row.by_ssr]
            assert row.loss == pytest.approx(other - row.mean, abs=1e-9)
            assert (row.status == "dominated") <= (row.loss > 0)
    for steps in (50.0, 200.0, 283.0):
        frame = quality_at(study, steps, "steps").sort_values("quality", ascending=False)
        assert frame["standing"].iloc[0] == "best"
        assert (frame["loss"].iloc[1:] >= 0).all()
        assert frame["loss"].iloc[1:].tolist() == pytest.approx(
            (frame["quality"].iloc[0] - frame["quality"].iloc[1:]).tolist()
        )
    content = build(study, Options(tolerance=0.01))
    assert content.choice is not None
    for rival in content.choice.rivals:
        margin = table[content.choice.recipe, content.choice.ssr] - table[rival.recipe, rival.ssr]
        assert rival.margin == pytest.approx(margin, abs=1e-9)
    assert answer(content)
