import copy
import json
import re

import pytest
from refusals import refused

from ssr_hydra.checkpoints import MISSING, Difference, check_change, differences
from ssr_hydra.errors import InputError, UnknownNameError
from ssr_hydra.time import Timestamp

DESCRIPTION = {
    "run": {"ssr": 1.0, "max_duration": "10ep", "seed": 0, "threads": 1, "device": "cpu"},
    "scheduler": {"_target_": "CosineAnnealingScheduler", "alpha_f": 0.0},
    "schedules": {"weight_decay": {"_target_": "LinearScheduler"}},
    "optimizers": [
        {"class": "AdamW", "groups": [{"lr": 0.1, "betas": [0.9, 0.95], "amsgrad": False, "parameters": 1}]}
    ],
    "model": {"parameters": {"0.weight": [[4, 2], "float32"]}},
    "data": {"batch_size": 16, "samples": 1198, "sha256": "ab", "shuffle": True, "dataset": {"name": "digits"}},
    "processes": 1,
    "precision": "fp32",
}
WITHIN, AT_END = Timestamp(batch=30, epoch=0, batch_in_epoch=30), Timestamp(batch=75, epoch=1)


def changed(path, value):
    """Return the differences after one value is changed; numbers in the path are list indices."""
    new = copy.deepcopy(DESCRIPTION)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    part = new
    for key in parents:
        part = part[key]
    part[last] = value
    return differences(DESCRIPTION, new)


def refusal(changes, on_change, timestamp):
    """Return the error for these changes, or an empty text if they are allowed."""
    try:
        check_change(changes, on_change, timestamp)
    except InputError as error:
        return str(error)
    return ""


def test_json_round_trip_of_a_description_causes_no_differences():
    assert differences(json.loads(json.dumps(DESCRIPTION)), DESCRIPTION) == []
    assert differences({"betas": [0.9, 1]}, {"betas": (0.9, 1.0)}) == []
    check_change([], "refuse", WITHIN)


ANYTIME = [
    ("run/ssr", 0.5),
    ("run/max_duration", "20ep"),
    ("run/threads", 2),
    ("run/device", "cuda"),
    ("processes", 2),
    ("scheduler/alpha_f", 0.1),
    ("scheduler/_target_", "LinearScheduler"),
    ("schedules/weight_decay", None),
    ("optimizers/0/groups/0/lr", 0.2),
    ("optimizers/0/groups/0/betas/1", 0.99),
]
EPOCH = [
    ("run/seed", 1),
    ("data/batch_size", 32),
    ("data/samples", 1200),
    ("data/dataset/name", "faces"),
    ("data/sha256", "cd"),
    ("data/shuffle", False),
]
NEVER = [
    ("model/parameters/0.weight", [[4, 3], "float32"]),
    ("model/parameters/1.bias", [[4], "float32"]),
    ("optimizers/0/class", "SGD"),
    ("optimizers/0/groups/0/amsgrad", True),
    ("optimizers/0/groups/0/parameters", 2),
    ("optimizers", []),
    ("precision", "fp16"),
]


@pytest.mark.parametrize("timestamp", [WITHIN, AT_END])
@pytest.mark.parametrize(("path", "value"), ANYTIME)
def test_error_for_a_changed_setting_shows_both_values(path, value, timestamp):
    (change,) = changed(path, value)
    message = refusal([change], "refuse", timestamp)
    difference = f"{change.field} was {change.old!r} and is {value!r}"
    assert message.startswith(f"resume='auto': the run differs from the checkpoint: {difference}; ")
    for fix in ("resume.on_change=extend", "resume.on_change=rescale", "a new folder"):
        assert fix in message
    assert refusal([change], "extend", timestamp) == refusal([change], "rescale", timestamp) == ""


@pytest.mark.parametrize(("path", "value"), EPOCH)
def test_changed_batches_are_allowed_only_at_the_end_of_an_epoch(path, value):
    (change,) = changed(path, value)
    assert "the run differs from the checkpoint" in refusal([change], "refuse", AT_END)
    for on_change in ("extend", "rescale"):
        assert refusal([change], on_change, AT_END) == ""
        assert refusal([change], on_change, WITHIN) == (
            "resume='auto': the checkpoint is after batch 30 of epoch 0, and these fields cannot change within an "
            f"epoch: {change}; resume from a checkpoint at the end of an epoch "
            "(checkpoint.interval=1ep writes such checkpoints)"
        )


@pytest.mark.parametrize("on_change", ["refuse", "extend", "rescale"])
@pytest.mark.parametrize(("path", "value"), NEVER)
def test_checkpoint_whose_tensors_do_not_fit_the_run_is_always_refused(path, value, on_change):
    message = refusal(changed(path, value), on_change, AT_END)
    assert message.startswith("resume='auto': the state of the checkpoint does not fit this run: ")
    assert message.endswith("or start in a new folder")
    assert "on_change" not in message  # it would not help


def test_every_changed_field_is_shown_with_both_values():
    new = copy.deepcopy(DESCRIPTION)
    new["run"].update(ssr=0.5, max_duration="20ep", seed=3)
    new["optimizers"][0]["groups"][0]["lr"] = 0.2
    del new["schedules"]["weight_decay"]
    message = refusal(differences(DESCRIPTION, new), "refuse", AT_END)
    assert (
        "run.ssr was 1.0 and is 0.5, run.max_duration was '10ep' and is '20ep', run.seed was 0 and is 3, "
        "schedules.weight_decay was {'_target_': 'LinearScheduler'} and is missing, "
        "optimizers[0].groups[0].lr was 0.1 and is 0.2;"
    ) in message
    assert "\n" not in message


def test_long_values_and_long_lists_of_differences_are_shortened():
    changes = differences({"scheduler": {str(k): 0 for k in range(30)}}, {"scheduler": {str(k): 1 for k in range(30)}})
    assert len(changes) == 30
    message = refusal(changes, "refuse", AT_END)
    assert len(re.findall("was 0 and is 1", message)) == 12
    assert "and 18 more;" in message
    assert "more" not in refusal(changes[:12], "refuse", AT_END)
    (long,) = differences({"scheduler": "x"}, {"scheduler": "y" * 1000})
    assert str(long) == f"scheduler was 'x' and is '{'y' * 56}..."  # 60 characters


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ({"a": 1}, {"a": True}, "a"),
        ({"a": 0}, {"a": None}, "a"),
        ({"a": {}}, {"a": None}, "a"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b"),
        ({"a": "1"}, {"a": 1}, "a"),
    ],
)
def test_path_of_each_different_value_is_reported(old, new, field):
    assert [difference.field for difference in differences(old, new)] == [field]
    assert [difference.field for difference in differences(new, old)] == [field]


def test_field_that_only_one_config_has_is_reported():
    assert differences({"a": {}}, {"a": {"b": None}}) == [Difference("a.b", MISSING, None)]
    assert str(Difference("a.b", MISSING, None)) == "a.b was missing and is None"


def test_name_of_a_data_set_does_not_matter_if_the_content_is_equal():
    def described(name, sha256):
        return {"data": {"dataset": {"name": name, "samples": 3, **({"sha256": sha256} if sha256 else {})}}}

    assert differences(described("a.csv", "12"), described("./a.csv", "12")) == []
    assert [item.field for item in differences(described("a.csv", "12"), described("b.csv", "34"))] == [
        "data.dataset.name",
        "data.dataset.sha256",
    ]
    assert [item.field for item in differences(described("a", None), described("b", None))] == ["data.dataset.name"]


def test_on_change_must_be_one_of_three_values():
    with refused("resume.on_change", UnknownNameError):
        check_change([], "yes", AT_END)
