"""The answer in sentences: the winner, its certainty, and the reasons against it."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from report_study import write_run
from study_runs import study_of

from ssr_hydra.report import Choice, Options, build, method_words, note_text, words
from ssr_hydra.report.content import ToleranceChoice
from ssr_hydra.studies import from_csv, load
from ssr_hydra.studies.compare import Rival
from ssr_hydra.studies.intervals import Batch
from ssr_hydra.studies.notes import Note


def chosen(content, **changes):
    assert content.choice is not None
    changes = {"runs": 4, "diverged": 0, **changes}
    recommendation = content.choice.recommendation
    verdict = changes.pop("verdict", recommendation.verdict)
    ssr = changes.pop("of", recommendation.ssr)
    recommendation = replace(recommendation, verdict=verdict, ssr=ssr)
    return replace(content, choice=replace(content.choice, recommendation=recommendation, **changes))


def rival(name, low, high, held=True, batch=None):
    return Rival(name, 2.0, (low + high) / 2, low, high, held, batch, 8)


UNKNOWN = Rival("b", 2.0, 0.005, math.nan, math.nan, True, None)
OPEN, BEHIND = rival("b", -0.001, 0.011), rival("b", 0.001, 0.009, held=False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Run wsd at SSR 2 or longer."),
        ({"of": 1.0, "ssr": 1.0}, "Run wsd at SSR 1."),
        ({"of": 1.0, "ssr": 1.0, "rivals": (OPEN,)}, "Run wsd at SSR 1; b may be as good."),
        ({"of": 1.0, "verdict": "close"}, "Run wsd at SSR 2; the SSR is not certain."),
        ({"of": 1.0, "verdict": "close", "rivals": (OPEN, rival("c", -1, 2))},
         "Run wsd at SSR 2; neither recipe nor SSR is certain."),
        ({"of": 1.0, "rivals": tuple(rival(name, -1, 2) for name in "bcd")},
         "Run wsd at SSR 2; 3 other recipes may be as good."),
        ({"verdict": "close"}, "Run wsd at SSR 2 or longer; the SSR is not certain."),
        ({"verdict": "unreplicated"}, "Run wsd at SSR 2 or longer; the noise was not measured."),
        ({"of": 1.0, "runs": 4, "diverged": 1}, "Run wsd at SSR 2; 1 of 4 runs diverged."),
        ({"of": 1.0, "rivals": (UNKNOWN,)}, "Run wsd at SSR 2; the noise was not measured."),
    ],
)  # fmt: skip
def test_headline_states_the_choice(content, changes, expected):
    assert words.headline(chosen(content, **changes)) == expected
    assert len(expected.split()) <= 15


def test_headline_without_a_tolerance_states_the_range(content):
    free = build(content.study)
    first = replace(free.steps[0].choice, recipe="wsd", ssr=0.5)
    last = replace(free.steps[-1].choice, recipe="wsd", ssr=2.0)
    last = replace(last, recommendation=replace(last.recommendation, ssr=None))
    for recipe, headline in (
        ("wsd", "Run wsd at SSR 0.5 to 2 or longer, depending on the gain you require."),
        ("rex", "Run wsd at SSR 2 or longer if any gain counts; cheaper choices are below."),
    ):
        steps = [ToleranceChoice(0.1, math.inf, replace(first, recipe=recipe)), ToleranceChoice(0.0, 0.1, last)]
        assert words.headline(replace(free, steps=steps, choice=last)) == headline
        assert len(headline.split()) <= 15


def everything(content):
    return [*words.answer(content), *(line for _, sentences in words.details(content) for line in sentences)]


def test_an_answer_has_at_most_five_sentences_and_no_repetition(content):
    for each in (content, build(content.study), build(content.study, Options(target=0.95))):
        assert len(words.answer(each)) <= 5
        sentences = [words.headline(each), *everything(each)]
        assert len(set(sentences)) == len(sentences)


def test_gain_of_a_doubling_is_unknown_with_a_single_ssr():
    content = build(study_of({"a": {1.0: [0.90, 0.91, 0.92]}, "b": {1.0: [0.80, 0.81, 0.82]}}))
    assert content.is_settled
    sentence = "No doubling of the SSR was measured for a, so the gain of longer runs is unknown."
    assert words.answer(content)[0] == sentence
    assert words.headline(replace(content, choice=None)) == "No recommendation: only controls have completed."


@pytest.mark.parametrize(
    ("verdict", "rivals", "certainty"),
    [
        ("decided", (BEHIND,), "sure"),
        ("decided", (OPEN,), "close"),  # the recipe is undecided
        ("close", (BEHIND,), "close"),  # the SSR is undecided
        ("unreplicated", (UNKNOWN,), "unknown"),
        ("decided", (OPEN, UNKNOWN), "unknown"),
        ("decided", (), "sure"),
        ("outside", (BEHIND,), "sure"),
    ],
)
def test_certainty_of_a_choice_is_limited_by_its_recipe_and_ssr(content, verdict, rivals, certainty):
    choice = chosen(content, verdict=verdict, rivals=rivals).choice
    assert isinstance(choice, Choice)
    assert choice.certainty == certainty


@pytest.mark.parametrize(
    ("changes", "certainty"),
    [
        ({"verdict": "outside", "rivals": ()}, "undecided: longer runs are missing"),
        ({"verdict": "outside", "rivals": (BEHIND,)}, "decided"),
        ({"verdict": "decided", "of": 1.0, "rivals": ()}, "decided"),
    ],
)
def test_choice_is_undecided_if_longer_runs_and_other_recipes_are_missing(content, changes, certainty):
    choice = chosen(content, **changes).choice
    assert choice is not None
    assert words.certainty(choice) == certainty


AT = "At equal time (SSR 2, 2,400 steps, 12 s), wsd"


@pytest.mark.parametrize(
    ("rivals", "sentence"),
    [
        ((BEHIND,), f"{AT} beats b, the next best recipe, by +0.0050 [0.0010, 0.0090]."),
        ((BEHIND, rival("c", 0.1, 0.2, held=False)),
         f"{AT} beats b, the next best recipe, by +0.0050 [0.0010, 0.0090], and the other recipe by more."),
        ((OPEN,), f"{AT} and b are equal to within 0.0110: the difference is +0.0050 [-0.0010, 0.0110]."),
        ((rival("b", -0.001, 0.003), rival("c", -0.002, 0.004), rival("d", 0.1, 0.2, held=False)),
         f"{AT} and b are equal to within 0.0030: the difference is +0.0010 [-0.0010, 0.0030]. 1 more "
         "recipe may be as good."),
        ((rival("b", 0.001, 0.009),),
         f"{AT} is better than b by +0.0050 [0.0010, 0.0090], but this is not certain at a confidence of 99 %."),
        ((UNKNOWN,), f"{AT} is better than b by 0.0050; the noise was not measured."),
        ((replace(UNKNOWN, margin=-0.005),), f"{AT} is worse than b by 0.0050; the noise was not measured."),
        ((replace(UNKNOWN, margin=0.0),), f"{AT} and b have the same quality; the noise was not measured."),
        # b is closer and certainly worse, but c has more noise and may be as good.
        ((BEHIND, rival("c", -0.002, 0.022)),
         f"{AT} and c are equal to within 0.0220: the difference is +0.0100 [-0.0020, 0.0220]."),
        ((rival("b", -0.02, -0.01),), f"{AT} is worse than b by +0.0150 [0.0100, 0.0200]."),
        ((), "No other recipe was measured at equal time (SSR 2, 2,400 steps, 12 s)."),
    ],
)  # fmt: skip
def test_answer_lists_the_rivals(content, rivals, sentence):
    assert sentence in words.answer(chosen(content, rivals=rivals))


@pytest.mark.parametrize(
    ("rivals", "expected"),
    [
        ((OPEN,), []),
        ((rival("b", -0.001, 0.011, batch=Batch(0.003, 9, 4, 30)),),
         ["9 more seeds (4 to 30) of both recipes would halve the interval to \N{PLUS-MINUS SIGN}0.0030."]),
        ((rival("b", -0.001, 0.011, batch=Batch(0.003, 1, 1, 1)),),
         ["1 more seed of both recipes would halve the interval to \N{PLUS-MINUS SIGN}0.0030."]),
        ((rival("b", -0.001, 0.003), rival("d", 0.1, 0.2, held=False)),
         ["1 other recipe is worse by more than noise.",
          "The recipes that may be as good are within the tolerance: run any of them."]),
        ((rival("b", -0.001, 0.003), replace(UNKNOWN, recipe="c")), []),  # c may be worse by any amount
    ],
)  # fmt: skip
def test_details_state_how_many_more_seeds_would_separate_the_recipes(content, rivals, expected):
    lines = dict(words.details(chosen(content, rivals=rivals))).get("Which recipe", [])
    assert [line for line in lines if not line.startswith(("Over the range", "Curves"))] == expected


def test_details_explain_unknown_noise_by_missing_standard_deviations(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("ssr,acc,n\n0.5,0.8,3\n1,0.9,3\n", encoding="utf-8")
    assert dict(words.details(build(from_csv(table, "ssr", "acc", n="n"))))["Which SSR"] == [
        "The table has no standard deviations of t at SSR 0.5 and 1, so the noise is unknown."
    ]


def over(content, *standing, faster=1.0):
    """Return the sentence about the best recipe at each budget. There, the SSR of b is ``faster`` times that of a."""
    rows = [
        {"recipe": name, "control": "", "at": at, "ssr": at / 100 * (faster if name == "b" else 1), "standing": kind}
        for at, best, other in standing
        for name, kind in ((best, "best"), ({"a": "b", "b": "a"}[best], other))
    ]
    variant = replace(content, equal_time=pd.DataFrame(rows), reference="a")
    return next((line for line in everything(variant) if line.startswith("Over the range")), "")


def test_answer_names_the_best_recipe_at_each_ssr(content):
    standing = ((50, "a", "behind"), (100, "a", "open"), (200, "b", "behind"), (400, "b", "behind"))
    assert over(content, *standing) == (
        "Over the range: a is best at SSR 0.5; b is best at SSR 2 and 4; at SSR 1 the best recipe is not decided."
    )
    assert over(content, (50, "a", "open"), (100, "b", "open")) == (
        "Over the range: the best recipe is not decided at any SSR."
    )
    assert over(content, (50, "a", "behind")) == ""


@pytest.mark.parametrize(("equal", "unit"), [("steps", "steps"), ("seconds", "s")])
def test_budget_is_given_in_steps_or_seconds_if_the_ssrs_of_recipes_differ(content, equal, unit):
    # At 50 steps, a is at SSR 0.5 and b at 0.6. "at SSR 0.5" would be wrong for b.
    sentence = over(replace(content, equal=equal), (50, "b", "behind"), (100, "a", "open"), faster=1.2)
    assert sentence == f"Over the range: b is best at 50 {unit}; at 100 {unit} the best recipe is not decided."


def test_certain_crossings_of_curves_are_reported(content):
    row = {"a": "wsd", "b": "b", "ssr": 0.5, "low": 0.4, "high": 0.6, "better_below": "b", "better_above": "wsd"}
    rows = [row | {"certain": True}, row | {"certain": False, "ssr": 0.7}, row | {"certain": True, "a": "c"}]
    sentences = everything(replace(content, crossings=pd.DataFrame(rows)))
    assert [line for line in sentences if "cross" in line] == [
        "Curves cross at SSR 0.5 [0.400, 0.600]: b is better at smaller SSRs, wsd at larger SSRs."
    ]


def test_answer_names_the_recipe_that_reaches_the_target_first(content):
    assert content.soonest is not None
    best = content.soonest.recommendation
    interval = f"[{best.target_low:.3g}, {best.target_high:.3g}]"
    for rivals, end in (
        ((BEHIND,), "every other recipe is worse at equal time, by more than noise."),
        ((OPEN,), "b may be as good at equal time."),
        ((BEHIND, UNKNOWN), "the noise of b was not measured."),
        ((), "no other recipe was measured at equal time."),
    ):
        variant = replace(content, soonest=replace(content.soonest, ssr=0.5, budget=600.0, rivals=rivals))
        start = f"wsd reaches 0.95 first, at SSR 0.5, 600 steps, 3 s (SSR {interval}); "
        assert f"{start}{end}" in everything(variant)
    assert "No recipe reaches 0.95 within the measured range." in everything(replace(content, soonest=None))


def test_details_list_doubts_about_the_ssr_and_report_a_missed_target():
    study = study_of({"a": {1.0: [0.5], 2.0: [0.505], 4.0: [0.6], 8.0: [0.59]}})
    details = dict(words.details(build(study, Options(tolerance=0.01, target=0.9))))
    assert details["Which SSR"] == [
        "SSR 1 is the smallest measured SSR. A smaller SSR may be enough.",
        "A later doubling gains more than the tolerance again: from SSR 2 to 4.",
        "Quality falls beyond SSR 4: -0.0100 to SSR 8.",
        "a has one seed at each SSR. Run 3 or more seeds to measure the noise.",
    ]
    assert details["Target"] == [
        "a does not reach 0.9 up to SSR 8.",
        "No fit of a has passed its back-test, so there is no prediction for longer runs.",
    ]


@pytest.mark.parametrize(
    ("winner", "sentence"),
    [
        ("control", "But truncation is better at SSR 2: scaling gains {}."),
        ("scaling", "Scaling beats truncation at SSR 2 by {}."),
        ("undecided", "It is undecided whether scaling beats truncation at SSR 2: scaling gains {}."),
    ],
)
def test_control_that_beats_the_scaled_run_is_reported(content, winner, sentence):
    row = {"recipe": "wsd", "control": "truncate", "ssr": 2.0, "n": 4, "gain": -0.005, "low": -0.009, "high": -0.001}
    frame = pd.DataFrame([row | {"method": "paired", "winner": winner}])
    assert sentence.format("-0.0050 [-0.0090, -0.0010]") in everything(replace(content, controls=frame))


def test_report_counts_the_comparisons_with_controls(content):
    row = {"recipe": "wsd", "control": "truncate", "n": 4, "gain": 0.0, "low": -0.1, "high": 0.1, "method": "paired"}
    won = ["scaling", "scaling", "control", "undecided", "same", ""]
    frame = pd.DataFrame([row | {"ssr": 0.1 * place, "winner": winner} for place, winner in enumerate(won)])
    (sentence,) = [line for line in everything(replace(content, controls=frame)) if "have 6" in line]
    counts = "scaling wins 2, truncation wins 1, 2 are undecided, 1 is the same run"
    assert sentence == f"Scaling and truncation have 6 comparisons, each at a confidence of 99 %: {counts}."


def test_rejected_fits_are_listed(content):
    last = replace(content.fits[0].back_tests[-1], fitted_to=1.0, ssr=2.0, predicted=0.96, observed=0.95)
    outside = replace(last, low=0.955, high=0.965, outcome="outside")
    no_better = replace(last, carried=0.004, outcome="no_better")
    rejected = [
        replace(fit, verdict="rejected", reason=test.outcome, back_tests=(test,))
        for fit, test in zip(content.fits[:2], (outside, no_better), strict=True)
    ]
    assert method_words.fit_warnings(replace(content, fits=rejected)) == [
        "The power law of cosine_warmup fails its back-test. The fit to SSRs up to 1 predicts 0.96 at SSR 2; the "
        "measured value is 0.95. The error is 0.01, but the interval of the prediction allows at most 0.005.",
        "The quadratic of cosine_warmup fails its back-test. The fit to SSRs up to 1 predicts 0.96 at SSR 2; the "
        "measured value is 0.95. The error is 0.01; repeating the value at SSR 1 has an error of 0.004.",
    ]
    many = [replace(fit, verdict="rejected") for fit in content.fits]
    assert method_words.fit_warnings(replace(content, fits=many)) == [
        "These fits fail their back-tests: the power law of cosine_warmup, linear_warmup "
        "and wsd; the quadratic of cosine_warmup, linear_warmup and wsd."
    ]
    trusted = [replace(fit, verdict="trusted") for fit in content.fits]
    assert method_words.fit_warnings(replace(content, fits=trusted)) == []


@pytest.mark.parametrize(
    ("outcome", "reason", "end"),
    [
        ("held", "held", "the measured value is 0.95."),
        ("tolerated", "tolerated", "0.95. The error is within the tolerance."),
        ("held", "no_noise", "because each SSR has one seed and there are too few SSRs."),
        ("held", "vague", "0.95. Any value within 0.005 of the prediction would have passed."),
        ("undetermined", "undetermined", "The SSRs up to 1 do not determine a power law."),
    ],
)
def test_verdict_of_a_fit_is_explained_in_one_sentence(content, outcome, reason, end):
    test = replace(
        content.fits[0].back_tests[-1], fitted_to=1.0, ssr=2.0, predicted=0.96, observed=0.95, low=0.955, high=0.965,
        outcome=outcome,
    )  # fmt: skip
    fit = replace(content.fits[0], reason=reason, back_tests=(test,))
    assert method_words.fit_reason(fit).endswith(end)


@pytest.mark.parametrize(
    ("note", "text"),
    [
        (Note("data", counts=(("a", 2), ("b", 1))),
         "The runs used 2 data sets, so their qualities are not comparable: a (2 runs), b (1 run)."),
        (Note("versions", "torch", (("2.10", 2), ("2.11", 1))),
         "The runs used different versions of torch: 2.10 (2 runs), 2.11 (1 run)."),
        (Note("codes", "2", (("my_lab", 2),)), "The runs used 2 versions of the code: my_lab differs."),
        (Note("codes", "3", (("a", 2), ("b", 3))), "The runs used 3 versions of the code: a, b differ."),
        (Note("machines", counts=(("cpu", 2), ("gpu", 1))),
         "The runs used different machines, so their seconds are not comparable: cpu (2 runs), gpu (1 run)."),
        (Note("resumed", counts=(("", 1),)),
         "1 run resumed from a checkpoint. The seconds of a resumed run are the sum of all its parts."),
        (Note("diverged", counts=(("wsd", 2),)),
         "2 runs of wsd diverged, but other seeds did not. The mean uses only these other seeds, so it is better than "
         "the true mean of the recipe."),
        (Note("lost", "wsd", (("failed", 1), ("no_value", 2)), (2.0,)),
         "wsd has no quality at SSR 2: 3 runs, 1 failed, 2 without a value."),
        (Note("lost", "wsd", (("diverged", 2),)),
         "wsd has no quality at any SSR, so it is not compared: 2 runs, 2 diverged."),
        (Note("no_times", "hours", (("3", 2),)),
         "Times are not compared: line 3 and 1 more lines of the table must have hours above 0."),
    ],
)  # fmt: skip
def test_each_note_is_printed_as_one_sentence(note, text):
    assert note_text(note) == text


def test_cost_of_the_sweep_is_reported(content):
    # A run at SSR 1 takes 6 s, and there are three recipes with four seeds. Scaled runs: 12 x 6 x (.125 + .25 + .5 + 1
    # + 2) = 279 s. Truncated runs: 12 x 6 x (.125 + .25 + .5) = 63 s. Two failed runs: 24 s. Each run has .5 s more.
    assert method_words.cost_of_sweep(content) == (
        "The study took 98 runs, 96 of them completed: 6.1 min of training, 6.92 min with evaluation and checkpoints; "
        "cost 0.231 at 2 per hour."
    )


def test_report_states_how_many_shorter_runs_save_the_time_of_the_study(content):
    # A run takes 6 s at SSR 1 and 12 s at SSR 2, so it saves 6 s. The study took 415 s, which is 70 times 6 s.
    shorter = chosen(content, ssr=1.0)
    assert method_words.cost_of_sweep(shorter).endswith(
        "Each run of wsd at SSR 1 instead of 2 saves 6 s, so 70 runs at this SSR save the time that the study took."
    )
    assert "paid" not in method_words.cost_of_sweep(content)  # the longest run is recommended


def test_answer_without_a_tolerance_names_the_command_that_sets_a_tolerance(tmp_path, resnet50):
    folder = tmp_path / "my study"
    for ssr, quality in ((1.0, 0.8), (2.0, 0.9), (4.0, 0.91)):
        write_run(folder / f"{ssr}", ssr=ssr, quality=quality)
    sentence = words.answer(build(load(folder)))[0]
    assert sentence.endswith(f"of a doubling. ssr-report '{folder}' --tolerance X selects a row.")
    table = build(from_csv(resnet50, ssr="ssr", quality="top1"))
    assert method_words.cost_of_sweep(table) == "The study took 9 runs, 9 of them completed."  # without seconds
    assert words.answer(table)[0].endswith("of a doubling. --tolerance X selects a row.")


def test_outlier_run_is_reported_next_to_the_median(content):
    assert content.outliers.empty
    row = {"recipe": "wsd", "control": "truncate", "ssr": 1.0, "seed": 3, "value": 0.5, "median": 0.895}
    variant = replace(content, outliers=pd.DataFrame([row | {"distance": 39.5}]))
    sentence = "Seed 3 of wsd (truncate) at SSR 1 has 0.5000. This is 40 standard deviations from the median, 0.8950."
    assert sentence in everything(variant)
