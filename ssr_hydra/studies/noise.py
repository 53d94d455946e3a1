"""The noise of one run, estimated from all cells of a study together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

_ROUNDS, _CLOSE = 50, 1e-9
_LEAST = 1e-5  # minimum variance as a fraction of the median variance: runs may have the same quality by chance
_FEWEST_SSRS = 3  # the minimum number of SSRs for a trend of the noise over SSR
_FEWEST_FOR_BEND = 4  # the minimum number of SSRs for a parabola
_BENT = 0.2  # the trend is a parabola if the p-value of the hypothesis of a linear trend is below this
_UNLIKE = 0.01  # each recipe has its own noise level if the p-value of the hypothesis of equal levels is below this
_TINY = 1e-300
_TOLD = 1e-9  # weights w count as a difference (with the sum 0) if |sum(w)| / sum(|w|) is below this
_MOST_PRIOR = 1e6  # the number that represents infinitely many degrees of freedom


@dataclass(frozen=True)
class Noise:
    """A model of the variance between seeds: the logarithm of the variance is a line or a parabola in log SSR.

    The model is a parabola if a test rejects the line (p < 0.2). All recipes have the same curve, unless a test rejects
    this (p < 0.01): then the curve of each recipe is shifted up or down. The variance of a cell is the average of the
    variance of its own runs, weighted by its degrees of freedom, and of the model's variance, weighted by ``prior``. If
    the model fits badly, ``prior`` is small, and the intervals are almost the plain t intervals of each cell.

    Attributes:
        spreads: For each cell, the standard deviation of one run, from the model.
        features: The regressors of the log variance, a row for each cell.
        covariance: Half of the covariance matrix of the regression coefficients.
        df: The sum of the degrees of freedom of all cells.
        prior: The weight of the model's variance, as degrees of freedom; infinite if the measured variances differ from
            the model only by chance.
        own: The variance of each cell's mean, without the part that shared seeds cause. If
            :func:`ssr_hydra.studies.effects.with_effects` estimates the means together, their covariance matrix,
            without this part.
        together: A matrix with a row per cell and a column per seed: how much the effect of the seed changes the cell's
            mean. None if cells share no seeds.
        shared: The correlation of runs with the same seed: the fraction of the variance that the seed causes.
        per_seed: The mean number of runs with the same seed.
        differences: Like ``prior``, but for the difference of two cells that share seeds. The model may predict the
            variances of such differences worse, because similar recipes have more noise in common than other recipes.
        scale: The typical measured variance of such a difference, divided by the variance that the model predicts.
    """

    spreads: Any
    features: Any
    covariance: Any
    df: float
    prior: float
    own: Any = None
    together: Any = None
    shared: float = 0.0
    per_seed: float = 1.0
    differences: float = math.inf
    scale: float = 1.0

    def priors(self, weights: Any) -> tuple[Any, Any]:
        """Return, for each weighted sum, the weight of the model's variance, and a factor that corrects this variance.

        If the weights of a sum add up to 0, the sum is a difference of cells, so use ``differences`` and ``scale``.
        """
        if self.together is None:
            return np.full(weights.shape[1], min(self.prior, _MOST_PRIOR)), 1.0
        sums = np.abs(weights.sum(axis=0)) < _TOLD * np.abs(weights).sum(axis=0)
        prior = np.where(sums, min(self.prior, self.differences), self.prior)
        return np.minimum(prior, _MOST_PRIOR), np.where(sums, self.scale, 1.0)

    def expected(self, places: Sequence[int], weights: Any) -> tuple[Any, Any]:
        """Return the variance that the model predicts for each weighted sum of means, and its degrees of freedom.

        ``places`` are the indices of the summed cells. ``weights`` has a row for each cell and a column for each sum.
        """
        chosen = list(places)
        diagonal = self.own.ndim == 1
        parts = weights**2 * (self.own if diagonal else np.diagonal(self.own))[chosen, None]
        own = parts.sum(axis=0) if diagonal else (weights * (self.own[np.ix_(chosen, chosen)] @ weights)).sum(axis=0)
        x = self.features[chosen].T @ (parts / np.maximum(parts.sum(axis=0), _TINY))
        free = 1 / np.maximum((x * (self.covariance @ x)).sum(axis=0), _TINY)
        if self.together is None:
            return own, free
        # As in a two-way analysis of variance, estimating the effects of the seeds costs degrees of freedom. The
        # variance of the effects is computed from the mean square of the seeds, which also contains the runs' noise.
        cells = len(self.spreads)
        level = 1 / max(self.df * (cells - 1) / cells, 1.0)
        effects = ((self.together[chosen].T @ weights) ** 2).sum(axis=0)
        whole = np.maximum(own + self.shared * effects, _TINY)
        runs = (1 - self.shared) / self.per_seed * effects
        seeds = (self.shared * effects + runs) / whole
        rest = np.maximum(own - runs, 0.0) / whole
        # The error of the trend changes the variances of runs and of effects by the same factor, so add it only once.
        shape = np.maximum(1 / free - 1 / self.df, 0.0)
        return whole, 1 / (rest**2 * level + seeds**2 / max(self.together.shape[1] - 1, 1) + shape)


def pooled_noise(variances: Any, df: Any, ssrs: Any, recipes: Any) -> Noise | None:
    """Fit the model of the noise to the variances of all cells.

    Args:
        variances: The variance of the runs of each cell.
        df: The degrees of freedom of each variance; 0 for a cell with one run.
        ssrs: The SSR of each cell.
        recipes: The recipe of each cell, as a number.

    Returns:
        The model; None if no cell has several runs with different values.

    Example:
        >>> import numpy as np
        >>> noise = pooled_noise(np.array([1.0, 4.0, 2.0, 3.0]), np.full(4, 2), np.ones(4), np.arange(4))
        >>> round(float(noise.spreads[0]) ** 2, 6), round(1 / float(noise.covariance[0, 0]), 6)
        (2.5, 8.0)
    """
    df, variances, logs = np.asarray(df, dtype=float), np.asarray(variances, dtype=float), np.log(ssrs)
    recipes = np.asarray(recipes)
    measured = (df > 0) & np.isfinite(variances)
    if not measured.any() or not variances[measured].max() > 0:
        return None
    df, variances = df[measured], variances[measured]
    variances = np.where(variances > 0, variances, _LEAST * np.median(variances[variances > 0]))
    trend = (logs - np.average(logs[measured], weights=df))[:, None]
    lengths = len(np.unique(np.round(logs[measured], 9)))
    trend = trend[:, : int(lengths >= _FEWEST_SSRS)]
    features = np.hstack([np.ones((len(logs), 1)), trend])
    line, deviance = _fitted(features[measured], variances, df)
    if lengths >= _FEWEST_FOR_BEND:
        inside = trend.clip(trend[measured].min(), trend[measured].max())  # a parabola must not extrapolate
        bent = np.hstack([features[:, :1], inside, inside**2])
        curve, bent_deviance = _fitted(bent[measured], variances, df)
        if special.chdtrc(1, max(deviance - bent_deviance, 0.0)) < _BENT:
            trend, features, line, deviance = bent[:, 1:], bent, curve, bent_deviance
    names = np.unique(recipes[measured])
    if len(names) > 1:
        levels = (recipes[:, None] == names).astype(float)
        levels[~levels.any(axis=1)] = 1 / len(names)  # a recipe whose cells all have one run gets the mean level
        apart = np.hstack([levels, trend])
        if np.linalg.matrix_rank(apart[measured]) < apart.shape[1]:
            # The levels determine the trend, for example because each recipe has only one SSR. So omit the trend.
            apart = levels
        own, own_deviance = _fitted(apart[measured], variances, df)
        if special.chdtrc(apart.shape[1] - features.shape[1], max(deviance - own_deviance, 0.0)) < _UNLIKE:
            features, line = apart, own
    x = features[measured]
    prior, scale = moderation(variances / np.exp(x @ line), df, x.shape[1])
    spreads = np.exp(features @ line / 2) * math.sqrt(scale)
    return Noise(spreads, features, np.linalg.inv((x.T * df) @ x), float(df.sum()), prior)


def _fitted(x: Any, variances: Any, df: Any) -> tuple[Any, float]:
    """Fit a gamma regression by Fisher scoring. Return coefficients and deviance."""
    line = np.linalg.lstsq(x, np.full(len(df), math.log(np.average(variances, weights=df))), rcond=None)[0]
    inverse = np.linalg.inv((x.T * df) @ x)
    for _ in range(_ROUNDS):
        step = inverse @ (x.T * df) @ (variances / np.exp(x @ line) - 1)
        step *= min(1.0, 1.0 / max(float(np.abs(x @ step).max()), _TINY))  # the exponential must not overflow
        line = line + step
        if np.abs(step).max() < _CLOSE:
            break
    ratios = variances / np.exp(x @ line)
    return line, float((df * (ratios - 1 - np.log(ratios))).sum())


def moderation(variances: Any, df: Any, parameters: int) -> tuple[float, float]:
    """Return how well a model predicts variances, as degrees of freedom, and a factor that corrects its predictions.

    ``variances`` are the measured variances divided by the predicted ones. ``parameters`` is the number of the model's
    parameters. If the log variances scatter only by chance, the degrees of freedom are infinite and the factor is 1.
    With more scatter, there are fewer degrees of freedom, and the factor is computed from the mean of the log
    variances, because outliers change the mean variance more. The scatter itself does not change the factor, because
    the scatter of a few cells is often too large by chance.
    """
    if len(df) <= parameters:
        return math.inf, 1.0
    ratios = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    prior = _prior(ratios, df, parameters)
    if math.isinf(prior):
        return prior, 1.0
    return prior, math.exp(ratios.mean())


def _prior(ratios: Any, df: Any, parameters: int) -> float:
    scatter = float(((ratios - ratios.mean()) ** 2).sum()) / (len(df) - parameters)
    excess = scatter - float(special.polygamma(1, df / 2).mean())
    if excess <= special.polygamma(1, 1e4):
        return math.inf
    if excess >= special.polygamma(1, 0.25):
        return 0.5
    return 2 * float(optimize.brentq(lambda half: special.polygamma(1, half) - excess, 0.25, 1e4))
