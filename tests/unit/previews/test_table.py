"""The table is readable and correct."""

import ssr_hydra
from ssr_hydra import schedulers as s


def test_table_has_the_rate_at_each_landmark():
    schedulers = {"linear": s.LinearScheduler(), "steps": s.MultiStepScheduler(["1/3dur"])}
    preview = ssr_hydra.preview(schedulers, max_duration="10ep", ssr=0.5, lr=0.2)
    assert preview.table() == (
        """\
                     time   fraction   alpha     lr

linear, ssr 0.5
  start               0ep        0 %       1    0.2
  25 %             1.25ep       25 %    0.75   0.15
  50 %              2.5ep       50 %     0.5    0.1
  75 %             3.75ep       75 %    0.25   0.05
  end                 5ep      100 %       0      0

steps, ssr 0.5
  start               0ep        0 %       1    0.2
  25 %             1.25ep       25 %       1    0.2
  milestone 1   1.66667ep    33.33 %     0.1   0.02
  50 %              2.5ep       50 %     0.1   0.02
  75 %             3.75ep       75 %     0.1   0.02
  end                 5ep      100 %     0.1   0.02"""
    )


def test_preview_table_without_a_learning_rate_has_no_rate_column():
    lines = ssr_hydra.preview(s.LinearScheduler(), max_duration="10ep").table().splitlines()
    assert lines[0].split() == ["time", "fraction", "alpha"]
    assert lines[3].split() == ["start", "0ep", "0", "%", "1"]


def test_table_of_many_steps_shows_the_first_and_the_last():
    preview = ssr_hydra.preview(s.StepScheduler("10ba", 0.9), max_duration="1001ba")
    table = preview.table()
    assert len(preview.curves[0].landmarks) == 105
    assert "step 4 " in table
    assert "step 100 " in table
    assert "step 50 " not in table
    assert "... 21 more" in table
    assert len(table.splitlines()) < 20


def test_large_numbers_keep_their_digits():
    preview = ssr_hydra.preview(s.LinearScheduler(), max_duration="9007199254740993tok")
    assert str(preview.curves[0].landmarks[-1].time) == "9007199254740993tok"
    assert "9.0072e+15tok" in preview.table()
