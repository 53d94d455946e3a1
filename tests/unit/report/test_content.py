"""What a report chooses and compares."""

import json
import math
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from report_study import write_study
from study_runs import study_of

from ssr_hydra.errors import MismatchError, MissingValueError, RangeError, UnknownNameError
from ssr_hydra.report import Options, build, method_words, words
from ssr_hydra.report.exports import as_json, table_csv
from ssr_hydra.report.page import page
from ssr_hydra.report.tables import main_table
from ssr_hydra.studies import Note, from_csv, load
from ssr_hydra.studies.pace import equal_time


def choice_of(study, **options):
    choice = build(study, Options(**options)).choice
    assert choice is not None
    return choice


def test_report_chooses_the_fastest_recipe_within_the_tolerance_of_the_best():
    # a reaches its best quality, 0.90, at SSR 1; b reaches 0.91 at SSR 2. With a tolerance of 0.02, the doubling from a
    # to b is not worth its time. With a tolerance of 0.005, it is.
    curves = {"a": {1.0: 0.9, 2.0: 0.9, 4.0: 0.9}, "b": {1.0: 0.86, 2.0: 0.91, 4.0: 0.91}}
    seeds = 1e-4 * np.arange(3)
    study = study_of({name: {ssr: mean + seeds for ssr, mean in curve.items()} for name, curve in curves.items()})
    for tolerance, recipe, ssr, other, margin in ((0.02, "a", 1.0, "b", 0.04), (0.005, "b", 2.0, "a", 0.01)):
        choice = choice_of(study, tolerance=tolerance)
        assert (choice.recipe, choice.ssr, choice.rivals[0].recipe) == (recipe, ssr, other)
        assert choice.rivals[0].margin == pytest.approx(margin)
    steps = build(study).steps
    assert [(step.choice.recipe, step.choice.ssr) for step in steps] == [("a", 1.0), ("b", 2.0)]
    assert [step.above for step in steps] == pytest.approx([0.01, 0.0])


def test_certainty_of_a_choice_from_single_seeds_is_unknown(resnet50):
    study = from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds")
    # From SSR 1 to 2 the quality gains 77.07 - 76.82 = 0.25, less than the tolerance. From 0.5 to 1 it gains 1.16.
    choice = choice_of(study, tolerance=0.3)
    assert (choice.ssr, choice.certainty) == (1.0, "unknown")
    # The power law has an error of 1 point, and repeating the last value has an error of 0.35. So the law fails at any
    # tolerance.
    for tolerance in (0.3, 2.0):
        fits = build(study, Options(tolerance=tolerance)).fits
        assert [fit.verdict for fit in fits if fit.kind == "power"] == ["rejected"]


def test_answer_without_a_tolerance_is_a_step_function_of_the_tolerance(resnet50):
    study = from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds")
    steps = build(study).steps
    assert [step.choice.ssr for step in steps] == [0.1, 0.25, 0.5, 1.0, 1.25]
    # The first gain is that of the cubic through 0.1, 0.25, 0.5 and 1. The next gains are 75.66 - 73.02, 76.82 - 75.66
    # and 77.07 - 76.82.
    assert [step.above for step in steps] == pytest.approx([6.6453, 2.64, 1.16, 0.25, 0.0], abs=1e-3)
    assert [step.below for step in steps][1:] == [step.above for step in steps][:-1]
    assert (choice_of(study).ssr, choice_of(study).recommendation.tolerance) == (1.25, None)
    for step in steps:
        for tolerance in (step.above + 1e-4, min(step.below, 100.0) - 1e-4):
            assert choice_of(study, tolerance=tolerance).ssr == step.choice.ssr


def test_accuracy_and_error_rate_give_the_same_answer():
    study = sweep_of(0.05)
    flipped = replace(study, frame=study.frame.assign(quality=1 - study.frame["quality"]), direction="min")
    assert [s.above for s in build(study).steps] == pytest.approx([s.above for s in build(flipped).steps])
    a, b = choice_of(study), choice_of(flipped)
    assert (a.recipe, a.ssr) == (b.recipe, b.ssr)
    assert [rival.margin for rival in a.rivals] == pytest.approx([rival.margin for rival in b.rivals])


def sweep_of(noise, slower=1.0):
    """Two recipes with the same steps, whose clocks vary; b is better everywhere."""
    rng = np.random.default_rng(0)
    cells = {ssr: value + 1e-3 * rng.permutation(3) for ssr, value in ((0.5, 0.8), (1.0, 0.9), (2.0, 0.95))}
    study = study_of({"a": cells, "b": {ssr: values + 0.02 for ssr, values in cells.items()}})
    jitter = 1 + noise * rng.uniform(-1, 1, len(study.frame))
    jitter = jitter * np.where(study.frame["recipe"] == "b", slower, 1.0)
    return replace(study, frame=study.frame.assign(seconds=study.frame["seconds"] * jitter))


def test_recipes_that_differ_only_by_clock_noise_are_compared_at_equal_steps():
    # By seconds, a would be on the frontier at each SSR at which its clock ran slightly faster.
    content = build(sweep_of(0.05))
    assert (content.axis, content.equal) == ("seconds", "steps")
    assert set(content.pareto[content.pareto["status"] == "frontier"]["recipe"]) == {"b"}
    assert {row.recipe for row in content.equal_time.itertuples() if row.standing == "best"} == {"b"}
    assert (content.equal_time["status"] == "inside").all()  # also at the largest budget, although the clocks differ
    choice = choice_of(content.study)
    assert [rival.ssr for rival in choice.rivals] == [choice.ssr]


def everything(content):
    return [*words.answer(content), *(line for _, lines in words.details(content) for line in lines)]


def test_recipe_that_takes_longer_per_step_gets_fewer_steps_in_equal_time():
    content = build(sweep_of(0.0, slower=2**0.5), Options(tolerance=1e-3))
    assert (content.equal, content.time.pace.slow, content.time.pace.ratio) == ("seconds", "b", pytest.approx(2**0.5))
    # In the 20 s of a at ssr 2, b comes to ssr sqrt(2), halfway from 1 to 2 in log ssr: there the parabola
    # through 0.82, 0.92 and 0.97 is at -0.82 / 8 + 0.92 * 3 / 4 + 0.97 * 3 / 8.
    at = content.equal_time[content.equal_time["at"] == content.equal_time["at"].max()].set_index("recipe")
    b = -0.82 / 8 + 0.92 * 3 / 4 + 0.97 * 3 / 8
    assert tuple(at.loc["b", ["ssr", "quality"]]) == pytest.approx((2**0.5, b + 1e-3))  # mean of 0, 1 and 2 thousandths
    assert at.loc["a", "loss"] == pytest.approx(b - 0.95)
    sentence = "Equal time means equal seconds: b took 41% longer per step than a."
    assert f"{sentence} --equal steps compares at equal steps." in everything(content)


def test_no_two_sentences_of_a_report_share_most_of_their_words(resnet50):
    contents = [
        build(sweep_of(0.0, slower=2**0.5), Options(tolerance=1e-3)),
        build(sweep_of(0.4, slower=1.1), Options(target=0.9)),
        build(sweep_of(0.0), Options(target=9.0)),
        build(from_csv(resnet50, ssr="ssr", quality="top1"), Options(target=77.0)),
    ]
    for content in contents:
        texts = [words.headline(content), *everything(content), *method_words.method(content)]
        bags = [set(re.findall(r"[a-z-]{4,}", text.lower())) for text in texts]
        for (one, first), (other, second) in combinations(zip(texts, bags, strict=True), 2):
            assert len(first & second) < max(4, 0.6 * min(len(first), len(second))), (one, other)


def test_recipes_are_compared_by_seconds_only_if_their_speeds_differ_beyond_noise():
    # The machine also does other work. b takes a tenth longer on average, which is within the noise.
    content = build(sweep_of(0.4, slower=1.1))
    assert content.time.pace.ratio > 1.1 > content.time.pace.low
    assert content.equal == "steps"
    (sentence,) = [line for line in words.answer(content) if line.startswith("Equal time")]
    assert sentence.startswith(f"Equal time means equal steps: {content.time.pace.slow} took ")
    assert sentence.endswith("which may be noise of the machine. --equal seconds compares at equal seconds.")
    # b takes 50% longer, and single runs differ by 5%. So the lower end of the interval over 3 SSRs is far above 1.1.
    content = build(sweep_of(0.05, slower=1.5))
    assert (content.equal, content.time.pace.slow, content.time.pace.quick) == ("seconds", "b", "a")
    assert content.time.pace.ratio == pytest.approx(1.5, rel=0.05)
    assert 1.1 < content.time.pace.low < content.time.pace.ratio < content.time.pace.high
    same_work = build(replace(content.study, same_work=True))
    assert (same_work.equal, same_work.time.reason) == ("steps", "same_work")
    assert not [line for line in words.answer(same_work) if "longer" in line]
    assert build(same_work.study, Options(equal="seconds")).equal == "seconds"


def crowded(measure, busy, quiet):
    """Two recipes. During one of them the machine also did other work, which made the same steps take 91% longer."""
    study = sweep_of(0.0, slower=1.91)
    column = np.where(study.frame["recipe"] == "b", busy, quiet)
    return replace(study, conditions=pd.DataFrame({"jobs_beside": 1.0, "load": 2.0} | {measure: column}))


@pytest.mark.parametrize(
    ("measure", "busy", "quiet", "reason"),
    [
        ("jobs_beside", 3.0, 0.0, "b ran next to 3 other jobs, and a ran next to no other jobs"),
        ("jobs_beside", 1.6, 1.0, "b ran next to 1.6 other jobs, and a ran next to 1 other job"),
        ("load", 4.25, 1.0, "the machine's load was 4.2 for b and 1.0 for a"),
    ],
)
def test_recipes_are_not_compared_by_seconds_under_different_conditions(measure, busy, quiet, reason):
    content = build(crowded(measure, busy, quiet))
    assert (content.equal, content.time.reason) == ("steps", "conditions")
    assert f"Seconds are not compared: {reason}." in words.answer(content)
    assert "longer" not in " ".join(words.answer(content))
    with refused("equal", MismatchError):
        build(content.study, Options(equal="seconds"))


def test_recipes_are_compared_by_seconds_under_similar_conditions():
    assert build(crowded("jobs_beside", 1.25, 1.0)).equal == "seconds"
    assert build(crowded("load", 2.5, 2.0)).equal == "seconds"
    unknown = crowded("jobs_beside", 3.0, 0.0)  # the runs of one recipe have no recorded conditions
    conditions = unknown.conditions[unknown.frame["recipe"] == "a"]
    assert build(replace(unknown, conditions=conditions)).equal == "seconds"


def test_machine_load_during_a_recipe_does_not_make_the_recipe_slower():
    # Each recipe and SSR has its own speed (log sd 0.4). If single runs were compared, each study would be "slower".
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(30):
        study = sweep_of(0.01)
        blocks = study.frame.groupby(["recipe", "ssr"]).ngroup()
        pace = np.exp(rng.normal(0, 0.4, blocks.max() + 1))[blocks]
        study = replace(study, frame=study.frame.assign(seconds=study.frame["seconds"] * pace))
        wrong += equal_time(study, ("ssr", "steps", "seconds")).axis == "seconds"
    assert wrong <= 1  # at 99%, the expected number is below 1


def test_recipes_of_a_table_without_steps_are_compared_at_equal_ssr(tmp_path):
    # The clock of b ran 2% faster. By seconds, the worse recipe would be on the frontier, and the ends of the range
    # could not be compared.
    rows = "".join(
        f"{name},{ssr},{quality + ssr / 10},{100 * ssr * clock}\n"
        for name, quality, clock in (("a", 0.5, 1.0), ("b", 0.4, 0.98))
        for ssr in (0.5, 1.0, 2.0)
    )
    (tmp_path / "t.csv").write_text(f"recipe,ssr,acc,t\n{rows}", encoding="utf-8")
    timed = build(from_csv(tmp_path / "t.csv", "ssr", "acc", "t", recipe="recipe"))
    assert (timed.axis, timed.equal) == ("seconds", "ssr")
    assert set(timed.pareto[timed.pareto["status"] == "frontier"]["recipe"]) == {"a"}
    assert (timed.equal_time["status"] == "inside").all()
    sentence = "Equal time means equal SSR: no recipe certainly takes over 10% longer per SSR than another."
    assert sentence in method_words.method(timed)
    assert build(timed.study, Options(equal="seconds")).equal == "seconds"
    untimed = build(from_csv(tmp_path / "t.csv", "ssr", "acc", recipe="recipe", pool=["t"]))
    for content, name in ((timed, "time"), (untimed, "SSR")):
        method = " ".join(method_words.method(content))
        assert "Quality is the acc of the table; higher is better." in method
        assert "final" not in method
        assert words.answer(content)[1].startswith(f"At equal {name} (SSR ")


def test_option_named_equal_selects_steps_or_seconds():
    # The clock of b ran at half speed because of the machine, not because of b.
    study = sweep_of(0.0, slower=2.0)
    steps = build(study, Options(equal="steps"))
    assert (steps.axis, steps.equal) == ("steps", "steps")
    assert set(steps.pareto[steps.pareto["status"] == "frontier"]["recipe"]) == {"b"}
    assert "Equal time means equal steps: you chose it." in method_words.method(steps)
    assert any(message.startswith("At equal steps (SSR") for message in words.answer(steps))
    assert build(study).equal == "seconds"
    assert (
        build(sweep_of(0.05), Options(equal="seconds")).equal == "seconds"
    )  # although the clocks differ only by noise


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("price_per_hour", -1.0, RangeError), ("price_per_hour", 3.0, MissingValueError),
        ("equal", "steps", MissingValueError), ("equal", "samples", UnknownNameError),
        ("noise", "none", UnknownNameError), ("reference", "nothing", UnknownNameError),
    ],
)  # fmt: skip
def test_invalid_report_options_are_refused(resnet50, field, value, kind):
    study = from_csv(resnet50, ssr="ssr", quality="top1")
    with refused(field, kind):
        build(study, Options(**{field: value}))


def test_recipes_that_share_no_ssr_are_compared_by_seconds():
    study = study_of({"a": {1.0: [0.8, 0.81], 4.0: [0.9, 0.91]}, "b": {2.0: [0.8, 0.81], 8.0: [0.9, 0.91]}})
    assert build(study).equal == "seconds"


def test_report_names_the_recipe_that_reaches_the_target_first():
    # b is 0.821 + 0.1 x + 0.05 x (1 - x) / 2 at ssr 0.5 * 2^x, a parabola through 0.821, 0.921 and 0.971.
    at = 2 ** min(np.roots([-0.025, 0.125, 0.821 - 0.851]))
    first = build(sweep_of(0.0), Options(tolerance=0.01, target=0.851)).soonest
    assert first is not None
    (rival,) = first.rivals
    assert (first.recipe, rival.recipe) == ("b", "a")
    expected = (0.5 * at, 50 * at, 0.5 * at, 0.02)
    assert (first.ssr, first.budget, rival.ssr, rival.margin) == pytest.approx(expected, rel=1e-4)
    assert build(sweep_of(0.0), Options(target=0.99)).soonest is None


def test_axis_can_be_any_quantity_that_every_run_has(content, tmp_path):
    assert content.axes == ("ssr", "steps", "samples", "seconds", "cost")  # images have no tokens
    assert content.axis == "seconds"
    path = tmp_path / "bare.csv"
    path.write_text("ssr,q\n1,2\n2,3\n", encoding="utf-8")
    bare = build(from_csv(path, ssr="ssr", quality="q", direction="max"))
    assert (bare.axes, bare.axis) == (("ssr",), "ssr")
    with refused("equal", MissingValueError) as caught:
        build(bare.study, Options(equal="steps"))
    assert caught.value.fix == "choose from ssr"


def test_many_recipes_are_compared_only_with_the_reference(content):
    assert [(a, b) for a, b, _ in content.paired] == [
        ("linear_warmup", "cosine_warmup"), ("wsd", "cosine_warmup"), ("wsd", "linear_warmup"),
    ]  # fmt: skip
    many = build(study_of({f"r{place}": {1.0: [0, 1], 2.0: [0, 1]} for place in range(9)}), Options(reference="r3"))
    assert [(a, b) for a, b, _ in many.paired] == [(f"r{place}", "r3") for place in range(9) if place != 3]


def test_a_study_with_only_controls_has_no_choice(tmp_path):
    write_study(tmp_path / "s", recipes=("wsd",), ssrs=(0.25, 0.5), controls=("truncate",), seeds=(0, 1))
    content = build(load(tmp_path / "s"))
    assert (content.choice, content.reference, content.recommendations) == (None, None, [])


def test_choice_of_a_recipe_that_sometimes_diverges_is_not_certain():
    study = study_of({"a": {1.0: [0.5, 0.51, math.nan], 2.0: [0.502, 0.509, 0.5]}})
    choice = choice_of(study, tolerance=0.1)
    assert (choice.ssr, choice.runs, choice.diverged) == (1.0, 3, 1)
    assert (choice.recommendation.verdict, choice.certainty) == ("decided", "close")


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_certainty_does_not_depend_on_the_unit_of_the_metric(unit):
    study = study_of({"a": {1.0: [0.5 * unit, 0.6 * unit], 2.0: [0.48 * unit, 0.6 * unit]}})  # worse within the noise
    assert (choice_of(study).certainty, [step.choice.certainty for step in build(study).steps]) == ("close", ["close"])


def test_recipe_without_a_completed_run_appears_only_in_the_table():
    nan = math.nan
    cells = {"a": {0.5: [0.5, 0.51], 1.0: [0.6, 0.62], 2.0: [nan, nan]}, "b": {0.5: [0.4, 0.42], 1.0: [0.5, 0.53]}}
    content = build(study_of({"lost": {0.5: [nan, nan], 1.0: [nan, nan]}, **cells}), Options(tolerance=0.01))
    rows = [[cell.text for cell in row.cells] for row in main_table(content).rows]
    assert [row[:4] for row in rows if row[2] == "0 of 2"] == [
        ["a", "2", "0 of 2", "\N{EN DASH}"],
        ["lost", "0.5", "0 of 2", "\N{EN DASH}"],
        ["lost", "1", "0 of 2", "\N{EN DASH}"],
    ]
    assert rows[-1][0] == "lost"
    assert content.arms == [("a", ""), ("b", "")]
    assert content.equal == "steps"  # the unknown time of "lost" does not matter
    table = json.loads(as_json(content))["table"]
    assert [(row["n"], row["failed"], row["mean"]) for row in table if row["recipe"] == "lost"] == [(0, 2, None)] * 2
    assert "lost,,0.5,0,2,,," in table_csv(content)


def test_frequent_divergences_lower_the_rank_of_a_recipe():
    # 8 of 24 runs of "risky" diverge; the others are better by 0.05 at each SSR.
    noise = 1e-3 * np.random.default_rng(0).normal(size=(2, 3, 8))
    means = {0.5: 0.8, 1.0: 0.9, 2.0: 0.95}
    safe = {ssr: mean + noise[0, place] for place, (ssr, mean) in enumerate(means.items())}
    risky = {ssr: mean + 0.05 + noise[1, place] for place, (ssr, mean) in enumerate(means.items())}
    for ssr, values in risky.items():
        values[: 3 if ssr > 0.5 else 2] = math.nan
    content = build(study_of({"safe": safe, "risky": risky}), Options(tolerance=0.01))
    choice = choice_of(content.study, tolerance=0.01)
    assert (choice.recipe, choice.ssr) == ("safe", 2.0)
    assert set(content.winners["best"]) == {"safe"}
    sentences = words.answer(content)
    assert "at SSR 2: risky 38%" in " ".join(sentences)
    assert "safe is worse than risky by +0.0" in sentences[1]
    assert sentences[1].endswith(", but 38% of the runs of risky diverged.")
    # safe is on the frontier although its mean is worse, because a recipe whose runs diverge never beats it.
    assert set(content.pareto["status"]) == {"frontier"}


def test_note_names_a_row_without_a_time(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ssr,acc,hours\n0.5,0.5,1\n1,0.6,\n2,nan,\n4,0.7,0\n", encoding="utf-8")
    study = from_csv(path, "ssr", "acc", hours="hours")
    note = Note("no_times", "hours", (("3", 2),))
    assert note in study.notes
    assert "seconds" not in build(study).axes
    assert note not in from_csv(path, "ssr", "acc", pool=["hours"]).notes


def test_labels_replace_the_names_of_the_metric_and_of_recipes():
    cells = {0.5: [0.8, 0.81, 0.83], 1.0: [0.9, 0.91, 0.93]}
    study = study_of({"a": cells, ("a", "truncate"): cells, "b": cells})
    labels = {study.objective: "Accuracy", "a": "WSD"}
    content = build(study, Options(labels=labels, reference="a"))
    assert content.study.recipes == ("WSD", "b")
    assert (content.reference, content.objective) == ("WSD", "Accuracy")
    assert content.study.bounds == study.bounds  # the bounds follow from the metric's own name
    html = page(content)
    assert "WSD (truncate)" in html
    assert "Accuracy" in html
    assert study.objective not in html
    lost = study.frame.assign(quality=study.frame["quality"].where(study.frame["recipe"] != "a"))
    note = Note("lost", "a (truncate)", (("failed", 6),))
    renamed = build(replace(study, frame=lost, notes=(note,)), Options(labels={"a": "WSD"})).study.notes
    assert renamed == (Note("lost", "WSD (truncate)", (("failed", 6),)),)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [({"c": "C"}, UnknownNameError), ({"a": " "}, MissingValueError), ({"a": "b"}, UnknownNameError)],
)
def test_label_for_an_unknown_name_is_refused(labels, kind):
    with refused("label", kind):
        build(study_of({"a": {1.0: [0.8, 0.81]}, "b": {1.0: [0.8, 0.81]}}), Options(labels=labels))
