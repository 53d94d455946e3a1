"""Analyze the records of runs: how quality depends on time, which schedule and SSR to run, and how certain this is."""

from ssr_hydra.studies.advice import Recommendation, ToleranceStep, recommend
from ssr_hydra.studies.compare import controls, decision_accuracy, doublings, outliers, paired, summary, winners
from ssr_hydra.studies.csv import from_csv
from ssr_hydra.studies.curve_crossings import crossings
from ssr_hydra.studies.fitting import BackTest, Fit, back_test, fits
from ssr_hydra.studies.frontier import pareto, quality_at, speedup
from ssr_hydra.studies.notes import Note
from ssr_hydra.studies.reading import load
from ssr_hydra.studies.study import Problem, Study
from ssr_hydra.studies.training_curves import learning_curves, lr_curves, mean_curves

__all__ = [
    "BackTest",
    "Fit",
    "Note",
    "Problem",
    "Recommendation",
    "Study",
    "ToleranceStep",
    "back_test",
    "controls",
    "crossings",
    "decision_accuracy",
    "doublings",
    "fits",
    "from_csv",
    "learning_curves",
    "load",
    "lr_curves",
    "mean_curves",
    "outliers",
    "paired",
    "pareto",
    "quality_at",
    "recommend",
    "speedup",
    "summary",
    "winners",
]
