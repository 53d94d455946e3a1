import copy
import random

import pytest
from cases import each
from omegaconf import OmegaConf
from refusals import refused

from ssr_hydra.app.check import check, check_schedule, plain
from ssr_hydra.app.check_optimizers import optimizer_nodes
from ssr_hydra.app.command_line import key_of
from ssr_hydra.configs import GROUPS
from ssr_hydra.configs.schedulers import SCHEDULERS
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    MismatchError,
    MissingRateError,
    MissingValueError,
    RangeError,
    UnknownNameError,
    UntrustedError,
    WrongTypeError,
)
from ssr_hydra.sweeps.job_status import describe

BAD_DURATIONS = [
    *"10|| |5 epochs|-1ep|nandur|infdur|1e400ba|nanep|1_000ba|١٠ba|１０ep|10ba\n|\t10ba|0x10ba|1,5ep\n".split("|"),
    *"9223372036854775808tok|+5ep|5EPOCH|ba|ep5|5 ep|5ep |1e5|inf|nan|None|true|--1ep|1/0dur|1//2dur|5ep5ba".split("|"),
    *"1h30|1.5.5ep|∞ba|10%|5e p|0.5|ep|dur".split("|"),
]
GOOD_LENGTHS = ["9007199254740993tok", "25h", "90m", "0.5ep", "1e3ba", "1/3ep", "1h30m", "45s", "2d", "90sec", "7sp"]


def set_(values, field, value):
    node = values
    *path, last = field.split(".")
    for key in path:
        node = node[key]
    node[last] = value


def refusal(values):
    with pytest.raises(InputError) as info:
        check(values)
    error = info.value
    assert "\n" not in str(error)
    assert error.rule
    assert error.fix
    return error


def test_default_config_is_valid(experiment):
    assert check(experiment) == experiment


def test_ssr_with_a_rounding_error_gives_the_same_job_as_the_exact_ssr(composed):
    # Hydra computes range(0.1,0.41,0.1): its third ratio is 0.30000000000000004.
    typed, swept = check(composed("ssr=0.3")), check(composed("ssr=0.30000000000000004"))
    assert swept["ssr"] == 0.3
    assert describe(swept) == describe(typed)


OF_FUNCTIONS = ("torch_lambda", "torch_multiplicative")
VALID = [
    *(f"scheduler={name} ssr={ssr}" for name in {*GROUPS["scheduler"]} - {"custom", *OF_FUNCTIONS} for ssr in (0.3, 3)),
    *(f"optimizer={name}" for name in GROUPS["optimizer"] if name != "custom"),
    *"""
        scheduler=wsd ssr=0.1
        optimizer=muon_adamw optimizer.adamw.lr=1e-3 optimizer@optimizer.adamw=sgd
        optimizer=adamw param_groups=[no_decay,layer_decay] param_groups.layer_decay.layer_decay=0.8
        optimizer=muon_adamw param_groups=no_decay +param_groups.head={params:{layer:-1},lr_scale:10}
        optimizer=muon_adamw +scheduler@schedules.weight_decay=cosine +scheduler@schedules.beta2=rex
        optimizer=muon_adamw +scheduler@schedules.momentum=linear schedules.momentum.alpha_f=0.9
        optimizer=muon_adamw param_groups=no_decay optimizer.muon.weight_decay=0
        optimizer=adamw +scheduler@schedules.beta1=linear schedules.beta1.alpha_i=1.1
        optimizer.weight_decay=1e-4 param_groups=no_decay
        param_groups=no_decay +param_groups.no_decay.lr_scale=2
        param_groups=no_decay +param_groups.head={params:{layer:-1},weight_decay:0.1}
        param_groups=no_decay param_groups.no_decay.weight_decay=0.1 +scheduler@schedules.weight_decay=cosine
        +schedules.momentum=[{_target_:ssr_hydra.schedulers.LinearScheduler}]
        +scheduler@schedules.momentum=linear schedules.momentum.alpha_i=1.1
        ~scheduler +scheduler@scheduler.default=cosine +param_groups.a={params:{layer:-1},lr:1}
        scheduler=torch_cosine max_duration=1ep scheduler.pace=batch
        scheduler=torch_cosine max_duration=1ep trainer.use_stepwise_scheduler=true
        scheduler=torch_cosine max_duration=76ba
        scheduler=torch_cosine max_duration=10m
        scheduler=torch_onecycle max_duration=1ep
        scheduler=torch_plateau max_duration=1ep
        data=cifar10 model=vit data.batch_size=128 max_duration=10ep scheduler.t_warmup=3909ba
        data.eval=null trainer.objective=train/loss
        data=arrays data.train.path=t.csv model=mlp
        data=arrays data.train.path=t.csv data.train.task=regression trainer=regression
        data=arrays data.train.path=t.csv data.train.task=regression trainer=regression +trainer.metrics.accuracy=null
    """.strip().splitlines(),
]


@each("overrides", VALID)
def test_valid_config_is_accepted(composed, overrides):
    check(composed(*overrides.split()))


@each("value", BAD_DURATIONS)
@pytest.mark.parametrize("field", ["max_duration", "scheduler.t_warmup", "scheduler.t_max", "trainer.eval_interval"])
def test_bad_durations_are_refused(experiment, field, value):
    set_(experiment, field, value)
    error = refusal(experiment)
    assert error.field == field
    assert error.value == value


@each("root", [7.0, None, ["a"]])
def test_image_folder_without_a_path_is_refused(composed, root):
    overrides = ("data=image_folder", "data.train.root=x", "data.eval.root=y", "model=resnet18")
    values = plain(composed(*overrides))
    values["data"]["eval"]["classes_from"] = "train"  # its default, before the check writes the folder
    values["data"]["train"]["root"] = root
    assert refusal(values).field == "data.train.root"


@pytest.mark.parametrize("value", GOOD_LENGTHS)
def test_good_lengths_are_accepted(experiment, value):
    experiment["max_duration"] = value
    experiment["trainer"]["tokens_per_batch"] = 8
    experiment["trainer"]["get_num_tokens_in_batch"] = {"_target_": "torch.nn.Identity"}  # digits have no tokens
    check(experiment)


def scheduler(name, **arguments):
    node = OmegaConf.to_container(OmegaConf.structured(SCHEDULERS[name]))
    return {**node, **arguments}


NAN, INF = float("nan"), float("inf")
BAD_VALUES = [
    # Field, value, and the field that the error names ("" for the same field).
    *(("ssr", value, "") for value in (0, -1, NAN, INF, 1e9, "half", True, None, -0.5)),
    *(("max_duration", value, "") for value in ("0ba", "0.0ep", "1dur", "1.5dur", 10, 10.0, None, True, "9iter")),
    *(("seed", value, "") for value in (-1, 1.5, "0", None, True, 2**63, NAN)),
    *(("name", value, "") for value in ("", " ", "a\nb", 5, "x" * 201, "a\0b")),
    *(("scheduler.t_warmup", value, "") for value in (10, "1dur", "1.5dur", "17ep", "2000ba", "-1ba", None, True, 0.5)),
    *(("scheduler.t_max", value, "") for value in ("0ba", "0dur", 0, "-1ep")),
    *(("scheduler.alpha_f", value, "") for value in (NAN, INF, -0.1, "a", None, True)),
    ("scheduler.scale_warmup", "yes", ""),
    ("scheduler.t_warmpu", "1ep", "scheduler._target_"),
    ("scheduler", scheduler("cosine") | {"_target_": "os.system"}, "scheduler._target_"),
    ("scheduler", "cosine", ""),
    ("scheduler", {}, ""),
    ("scheduler", [scheduler("cosine"), scheduler("rex", t_max="")], "scheduler[1].t_max"),
    *(("scheduler", scheduler("exponential", gamma=g), "scheduler.gamma") for g in (-0.5, NAN, INF, "x")),
    *(("scheduler", scheduler("step", step_size=s), "scheduler.step_size") for s in ("0ba", "0dur", "-1ba", "", 3)),
    *(("scheduler", scheduler("multistep", milestones=m), "scheduler.milestones") for m in ("1ep", None, 5)),
    *(
        ("scheduler", scheduler("multistep", milestones=["1ep", m]), "scheduler.milestones[1]")
        for m in (5, "-1ep", "x")
    ),
    *(("scheduler", scheduler("cosine_restarts", t_mult=m), "scheduler.t_mult") for m in (0, -1, NAN, INF)),
    *(("scheduler", scheduler("cosine_restarts", t_0=t), "scheduler.t_0") for t in ("0ba", "0dur", "")),
    *(("scheduler", scheduler("constant", alpha=a), "scheduler.alpha") for a in (NAN, INF, -1)),
    *(("scheduler", scheduler("polynomial", power=p), "scheduler.power") for p in (-1, NAN, INF, 0)),
    ("scheduler", scheduler("wsd", decay="cubic"), "scheduler.decay"),
    ("scheduler", scheduler("one_cycle", anneal="cubic"), "scheduler.anneal"),
    ("scheduler", scheduler("product"), "scheduler.factors"),
    ("scheduler", scheduler("product", factors={"a": None}), "scheduler.factors.a"),
    ("scheduler", scheduler("product", factors={"a": scheduler("linear", t_max="1")}), "scheduler.factors.a.t_max"),
    (
        "scheduler",
        scheduler("product", factors={"a": scheduler("cosine_warmup", t_warmup="99ep")}),
        "scheduler.factors.a.t_warmup",
    ),
    ("scheduler", scheduler("sequence"), "scheduler.phases"),
    *(("optimizer.lr", value, "") for value in (NAN, INF, -0.1, "x", None, True)),
    *(("optimizer.momentum", value, "") for value in (NAN, -0.1, 1.0, 2)),
    *(("optimizer.weight_decay", value, "") for value in (NAN, -0.1)),
    ("optimizer.nesterov", 1, ""),
    ("optimizer.lrr", 1, ""),
    ("optimizer", {"lr": 1}, ""),
    ("optimizer", "adam", ""),
    ("model.widths", [8, "x"], "model.widths[1]"),
    ("model.widths", 8, ""),
    ("model.num_classes", 1.5, ""),
    ("model.depth", 3, ""),
    ("model", None, ""),
    *(("data.batch_size", value, "") for value in (0, -1, 1.5, "16", None, True, NAN)),
    *(("data.eval_batch_size", value, "") for value in (0, None)),
    *(("data.num_workers", value, "") for value in (-1, 0.5, 10**6)),
    *(("data.shuffle", value, "") for value in ("yes", 1, None)),
    *(("data.train.eval_fraction", value, "") for value in (0, 1, -1, NAN, "x", 1e-9)),
    ("data.train", None, ""),
    ("data.train", {}, ""),
    ("data.eval", "x", ""),
    ("data", None, ""),
    ("data.path", "/tmp", ""),
    *(("trainer.eval_interval", value, "") for value in ("0ba", 1, "1 ep", "2iter")),
    *(("trainer.device", value, "") for value in ("tpu", "cuda:", "cuda:-1", "cpu:0:0", "", None, 0)),
    *(("trainer.threads", value, "") for value in (0, -1, 1.5, "2", True, 10**9)),
    *(("trainer.progress", value, "") for value in ("loud", None, False)),
    *(("trainer.objective", value, "") for value in ("accuracy", "eval/f1", "", 3)),
    *(("trainer.loss", value, "") for value in ("mse", {})),
    *(("trainer.metrics", value, "") for value in (None, "accuracy", ["accuracy"])),
    ("trainer.metrics.accuracy", "accuracy", ""),
    *(("trainer.tokens_per_batch", value, "") for value in (0, -1, NAN, INF, "x")),
    ("trainer.iteration_length", "3iter", ""),
    ("trainer.epochs", 5, ""),
    ("extra", 1, ""),
    *((key, value, "") for key in ("param_groups", "schedules") for value in (None, [], "no_decay", 3)),
    ("model", {"widths": [8]}, ""),
    ("data.train.split_seed", 1.0, ""),
    ("data.train.split", 3, ""),
]


@each("field,value,named", BAD_VALUES)
def test_bad_values_are_refused(experiment, field, value, named):
    changed = copy.deepcopy(experiment)
    set_(changed, field, value)
    assert refusal(changed).field == (named or field)


# Overrides by the kind of their error. The error names the field after the arrow, or else the key of the last override.
REFUSED = {
    ConflictError: """
        data=fake data.prefetch_factor=2
        data=fake data.num_workers=1
        data=image_folder data.train.root=x +data.augment._target_=ssr_hydra.data.RandomCropFlip -> data.augment
        model=resnet18 model.weights=DEFAULT model.small_images=true
        data=arrays data.train.path=t.csv data.eval.split=train
        data=image_folder data.train.root=x data.eval.folder=train
        callbacks=[ema] trainer.parallel=fsdp -> callbacks.ema._target_
        logger=[csv] callbacks=[ema] +callbacks.csv=${callbacks.ema}
        optimizer.momentum=0.0 -> optimizer.nesterov
        optimizer=adamw optimizer.foreach=true optimizer.fused=true
        +param_groups.a={schedule:head,lr:1} -> param_groups.a.schedule
        +scheduler@schedules.lr=cosine -> schedules.lr
        +scheduler@schedules.weight_decay=cosine -> schedules.weight_decay
        +schedules.momentum={_target_:torch.optim.lr_scheduler.StepLR,step_size:3}
        trainer.metrics.accuracy=null -> trainer.objective
        scheduler=torch_onecycle optimizer=adagrad -> scheduler.cycle_momentum
        scheduler=torch_onecycle +scheduler@schedules.momentum=cosine -> scheduler.cycle_momentum
        scheduler=torch_plateau scheduler.mode=min
        scheduler=torch_plateau trainer.objective=null scheduler.mode=max
        scheduler=torch_sequential scheduler.schedulers.decay.pace=batch
        scheduler=torch_chained scheduler@scheduler.schedulers.decay=torch_cosine_restarts -> scheduler.schedulers.decay
        +model._partial_=true
        +data.train._partial_=true
        +data.eval._partial_=true
        +optimizer._partial_=true
        optimizer=muon_adamw +optimizer.adamw._partial_=true
        callbacks=[ema] +callbacks.ema._partial_=true
        +logger.mine={_target_:ssr_hydra.callbacks.CSVLogger,_partial_:true} -> logger.mine._partial_
        +scheduler._partial_=true
        scheduler=torch_step +scheduler._partial_=true
        scheduler=custom scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler._partial_=true
        scheduler=product +scheduler.factors.decay._partial_=true
    """,
    FormatError: """
        optimizer=adamw +scheduler@schedules.weight_decay=cosine schedules.weight_decay.t_max=3
    """,
    MismatchError: """
        data=cifar10 -> model.in_channels
        data=mnist model=vit model.in_channels=1 -> model.image_size
        model.num_classes=9
        data=fake data.train.num_classes=11 model=vit -> model.num_classes
        data=fake model=torchvision model.name=inception_v3
        data=arrays data.train.path=t.csv data.eval_path=a.csv data.eval.path=b.csv
        data=arrays data.train.path=t.csv data.eval.eval_fraction=0.9
        experiment=byte_lm data.eval.split_seed=1
        data=cifar10 data.eval.name=cifar100
        callbacks=[ema] max_duration=10m callbacks.ema.half_life=0.1dur
        data=arrays data.train.path=t.csv model=mlp data.train.task=regression -> trainer.loss
        data=fake model=vit trainer.loss._target_=torch.nn.HuberLoss -> trainer.loss
        experiment=byte_lm model=conv -> model._target_
        model=byte_mlp -> model._target_
        data=stdlib_bytes model=byte_mlp -> trainer.loss._target_
        experiment=byte_lm +trainer.metrics.a={_target_:ssr_hydra.trainer.accuracy} -> trainer.metrics.a._target_
        trainer=language -> trainer.loss._target_
        experiment=byte_lm model.vocab_size=128
        scheduler=torch_sequential scheduler.milestones=[3,9]
    """,
    MissingRateError: """
        scheduler=torch_cyclic scheduler.step_size_down=4tok
    """,
    MissingValueError: """
        data=arrays data.train.path=t.csv data.eval=null data.eval_path=a.csv
        optimizer=muon_adamw optimizer.muon.params=null -> optimizer.adamw.params
        +optimizer.third={lr:1} optimizer=muon_adamw
        data.eval=null trainer.objective=null scheduler=torch_plateau
        scheduler=torch_lambda -> scheduler.lr_lambda
        scheduler=torch_multiplicative -> scheduler.lr_lambda
    """,
    RangeError: """
        callbacks=[ema] callbacks.ema.decay=1.0
        callbacks=[ema] callbacks.ema.interval=0
        callbacks=[profiler] callbacks.profiler.active=0
        optimizer=muon_adamw optimizer.adamw.lr=-1
        optimizer=adamw optimizer.betas=[0.9,1.0] -> optimizer.betas[1]
        optimizer=adamw optimizer.betas=[-0.1,0.9] -> optimizer.betas[0]
        +scheduler@schedules.momentum=linear_warmup schedules.momentum.t_warmup=99ep
        optimizer=adamw +scheduler@schedules.beta2=linear schedules.beta2.alpha_i=1.01 -> schedules.beta2
        data=cifar10 model=vit data.batch_size=128 max_duration=10ep scheduler.t_warmup=3911ba
        experiment=byte_lm data.train.length=0
        experiment=byte_lm data.eval.limit=0
        experiment=byte_lm data.train.eval_fraction=1
        experiment=byte_lm data.train.split_seed=-1
        experiment=byte_lm_ragged data.train.max_length=1
        scheduler=torch_step scheduler.step_size=0
        scheduler=torch_multistep scheduler.milestones=[1ep,-3] -> scheduler.milestones[1]
        scheduler=torch_cosine max_duration=100ba ssr=0.5 -> scheduler.pace
        scheduler=torch_step max_duration=2ep ssr=0.5 control=truncate -> scheduler.pace
        scheduler=torch_onecycle scheduler.total_steps=9
    """,
    UnknownNameError: """
        data=fake +data.train.colour=3
        model=torchvision model.name=maskrcnn
        param_groups=no_decay optimizer=sparseadam -> param_groups.no_decay.weight_decay
        optimizer=adam +param_groups.a={momentum_scale:0.5} -> param_groups.a.momentum_scale
        ~scheduler +scheduler@scheduler.default=cosine +param_groups.a={schedule:head} -> param_groups.a.schedule
        optimizer=adamw +scheduler@schedules.amsgrad=cosine -> schedules.amsgrad
        optimizer=muon_adamw +scheduler@schedules.ns_steps=cosine -> schedules.ns_steps
    """,
    UntrustedError: """
        +schedules.momentum={_target_:os.system} -> schedules.momentum._target_
    """,
    WrongTypeError: """
        +callbacks.mine=3
        optimizer=adamw optimizer.betas=[0.9]
        +schedules.momentum=[]
        +scheduler@schedules.momentum.a=linear -> schedules.momentum
        +schedules.momentum={_target_:ssr_hydra.models.MLP} -> schedules.momentum._target_
        scheduler=torch_step +scheduler.last_epoch=3 -> scheduler._target_
        scheduler=torch_sequential scheduler.schedulers.decay=torch_step
        scheduler=torch_chained scheduler@scheduler.schedulers.decay=cosine -> scheduler.schedulers.decay
        scheduler=product scheduler@scheduler.factors.decay=torch_step -> scheduler.factors.decay
        scheduler=sequence scheduler@scheduler.phases.warmup.scheduler=torch_step -> scheduler.phases.warmup.scheduler
    """,
}


def rows():
    for kind, text in REFUSED.items():
        for line in text.strip().splitlines():
            overrides, _, field = line.partition(" -> ")
            yield kind, overrides.split(), field or key_of(overrides.split()[-1])


@each("kind,overrides,field", rows())
def test_invalid_config_is_refused(composed, kind, overrides, field):
    with refused(field, kind):
        check(composed(*overrides))


RAISED = "+scheduler@schedules.momentum=linear schedules.momentum.alpha_i=1.1 +param_groups.a"
SUGGESTIONS = {
    f"{RAISED}={{momentum:0.95}}": "so momentum reaches 1.045",
    f"{RAISED}={{momentum_scale:1.05}}": "so momentum reaches 1.04",  # 0.9 * 1.05 * 1.1
    f"optimizer=adamw {RAISED}={{betas:[0.95,0.9]}}".replace("momentum", "beta1"): "so beta1 reaches 1.045",
    "+model.widht=3": "model.widht=3: unknown argument; did you mean widths?",
    "data=cifar10 data.train.name=cifar": "did you mean cifar10?",
    "data=mnist model=vit": "set model.in_channels=1",
    "data=fake model=vit_b_16": "set +model.options.image_size=32, or choose model=vit",
    "data=fake model=vit_b_16 +model.options.image_size=64": "set model.options.image_size=32",
    "data=fake model=torchvision model.name=vit_h_14": "choose a different model, e.g. model=vit",
    "model=torchvision model.name=resnet5": "did you mean resnet50",
    "model=vit_b_16 model.small_images=true": "choose a model of resnet, resnext",
    "data.eval=null": "must be train/loss or null, because data.eval=null; set trainer.objective=train/loss",
    "trainer=regression": "choose trainer=default",
    "data=arrays data.train.path=t.csv trainer=regression": "choose trainer=default, or data.train.task=regression",
    "data=arrays data.train.path=t.csv data.train.task=regression": "choose trainer=regression",
    "optimizer=muon_adamw +optimizer.muon.params.ndmi=2": "did you mean ndim?",
    "optimizer=muon_adamw optimizer@optimizer.adamw=sgd optimizer.adamw.nesterov=true optimizer.adamw.momentum=0.0": (
        "set optimizer.adamw.momentum=0.9"
    ),
    "+param_groups.a={momentun:0.5}": "did you mean momentum?",
    "param_groups=no_decay": "param_groups.no_decay.weight_decay=0.0: has no effect",
    "optimizer=adamw +scheduler@schedules.weight_dceay=cosine": "did you mean weight_decay?",
    "optimizer=adamw +scheduler@schedules.momentum=cosine": "choose from beta1, beta2, eps, weight_decay",
    "+scheduler@schedules.weight_decay=cosine": "schedules.weight_decay=0.0: is 0 in every param group",
    "+scheduler@schedules.momentum=linear schedules.momentum.alpha_f=1.2": "1.2, so momentum reaches 1.08",  # 0.9 * 1.2
    "scheduler=torch_step scheduler.step_size='3'": "did you mean '3ba' or '3ep'?",
    "scheduler.t_warmup=10": "did you mean '10ba' or '10ep'?",
    "+optimizer.weight_decya=1": "did you mean weight_decay?",
    "scheduler=torch_cosine max_duration=1ep": "use scheduler.pace=batch",
}


@each("overrides,text", SUGGESTIONS.items())
def test_error_suggests_a_fix(composed, overrides, text):
    with pytest.raises(InputError) as caught:
        check(composed(*overrides.split()))
    assert text in str(caught.value)


@pytest.mark.parametrize("field", ["ssr", "name", "scheduler", "data", "trainer", "optimizer.lr", "data.batch_size"])
def test_missing_values_are_refused(experiment, field):
    node, _, last = field.rpartition(".")
    del (experiment[node] if node else experiment)[last]
    assert refusal(experiment).field == field


@pytest.mark.parametrize("field", ["objective", "best"])
def test_one_value_of_a_metric_object_can_be_the_objective(experiment, field):
    """Only the first evaluation shows the keys of a metric object, so any key passes here. A function has no keys."""
    node = experiment["trainer" if field == "objective" else "checkpoint"]
    experiment["trainer"]["metrics"]["scores"] = {"_target_": "my_lab.Scores"}
    node[field] = "eval/scores/f1"
    check(experiment, trust="my_lab")
    experiment["trainer"]["metrics"]["scores"]["_partial_"] = True
    place = "trainer.objective" if field == "objective" else "checkpoint.best"
    with refused(place):
        check(experiment, trust="my_lab")
    node[field] = "eval/loss/f1"
    with refused(place):
        check(experiment, trust="my_lab")


def test_times_in_different_units_are_compared_if_the_data_is_known(experiment):
    # 16 epochs of 75 batches of 16 samples.
    experiment["scheduler"]["t_warmup"] = "1199ba"
    check(experiment)
    experiment["scheduler"]["t_warmup"] = "1201ba"
    refusal(experiment)
    experiment["ssr"] = 1.1  # this lengthens the run, but not the warmup
    check(experiment)
    experiment["ssr"], experiment["scheduler"]["t_warmup"] = 1.0, "19300sp"
    refusal(experiment)


def test_times_are_not_compared_while_the_epoch_length_is_unknown(experiment):
    experiment["data"]["train"] = {"_target_": "my_package.Data"}
    experiment["scheduler"]["t_warmup"] = "100000ba"  # the number of batches of an epoch is still unknown
    check(experiment, trust="my_package")
    experiment["scheduler"]["t_warmup"] = "1dur"
    with refused("scheduler.t_warmup", RangeError):
        check(experiment, trust="my_package")


def test_composite_with_a_custom_part_is_checked_without_importing_the_part(experiment):
    mine = {"_target_": "not_installed.mine", "_partial_": True}
    experiment["scheduler"] = scheduler("product", factors={"mine": mine, "step": scheduler("step")})
    experiment["ssr"] = 0.5
    check(experiment, trust=["not_installed"])
    experiment["scheduler"]["factors"]["step"]["gamma"] = -1
    with refused("scheduler.factors.step.gamma", RangeError):
        check(experiment, trust=["not_installed"])


def test_parameters_of_a_custom_optimizer_are_checked_when_it_is_created(experiment):
    experiment["optimizer"] = {"_target_": "not_installed.Own", "lr": 1}
    experiment["param_groups"] = {"a": {"anything": 3}}
    experiment["schedules"] = {"something": {"_target_": "ssr_hydra.schedulers.LinearScheduler"}}
    check(experiment, "not_installed")
    experiment["schedules"]["something"]["t_max"] = "0ba"
    with refused("schedules.something.t_max", RangeError):
        check(experiment, "not_installed")


def test_optimizers_are_named_by_their_config_keys(experiment):
    node = experiment["optimizer"]
    assert list(optimizer_nodes(node)) == ["optimizer"]
    assert list(optimizer_nodes({"a": node, "b": node})) == ["optimizer.a", "optimizer.b"]
    for bad in ({}, {"a": node, "b": 3}, {"a": {}}, [node], "sgd", None):
        with refused("optimizer"):
            optimizer_nodes(bad)
    with refused("optimizer.a.b", UnknownNameError):
        optimizer_nodes({"a.b": node})
    with refused("optimizer.2nd", UnknownNameError, "must not start with a digit"):
        optimizer_nodes({"2nd": node})


def test_config_without_the_key_params_of_an_optimizer_is_valid(experiment):
    del experiment["optimizer"]["params"]
    check(experiment)


def test_null_scheduler_is_valid(experiment):
    experiment["scheduler"] = None
    check(experiment)


def test_interpolations_are_resolved_before_they_are_checked(experiment, monkeypatch):
    monkeypatch.setenv("SECRET_TARGET", "os.system")
    for text in ("${oc.env:SECRET_TARGET}", "${name}", "os.${oc.select:nowhere,system}"):
        cfg = OmegaConf.create(experiment)
        cfg.name = "os.system"
        OmegaConf.update(cfg, "model._target_", text)
        with refused("model._target_", UntrustedError) as info:
            check(cfg)
        assert (info.value.field, info.value.value) == ("model._target_", "os.system")
    hidden = OmegaConf.create(experiment)
    hidden.trainer.metrics = OmegaConf.create({"a": "${oc.create:'{_target_: os.system}'}"})
    with refused("trainer.metrics.a._target_", UntrustedError):
        check(hidden)


UNRESOLVED = ["${nowhere}", "${oc.env:NOT_SET_ANYWHERE}", "${nosuch:1}", "???", "${max_duration}"]


@each("text", UNRESOLVED)
def test_interpolations_that_cannot_be_resolved_are_refused(experiment, text):
    cfg = OmegaConf.create({**experiment, "name": text, "max_duration": "${name}"})
    refusal(cfg)


def test_references_in_a_cycle_give_a_one_line_error(experiment):
    with refused("name", WrongTypeError, match="Recursive interpolation detected; correct the reference"):
        check(OmegaConf.create({**experiment, "name": "${max_duration}", "max_duration": "${name}"}))


def test_checked_config_does_not_contain_the_node_hydra(experiment):
    cfg = OmegaConf.create({**experiment, "hydra": {"job": {"num": "???"}, "sweep": {"subdir": "${hydra.job.num}"}}})
    assert "hydra" not in check(cfg)


def test_any_text_is_a_valid_duration_or_gives_a_one_line_error(experiment):
    rng = random.Random(0)
    pieces = [
        *"0123456789.-+_/eE \t\n,:%",
        *"ep ba sp tok dur iter sec h m s d nan inf 1e400 ٣ ½ ＢＡ \0 💥".split(" "),
    ]
    pieces += ["9" * 30, *"0x ${ssr} ms epochs steps None 1/3 \u202e".split(" ")]
    good = 0
    for number in range(2_000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(0, 7)))
        name = ("t_warmup", "t_max")[number % 2]
        values = dict(experiment, scheduler=dict(experiment["scheduler"], **{name: text}))
        try:
            check_schedule(values, dataloader_len=75)
            good += 1
        except InputError as error:
            assert "\n" not in str(error)
            assert error.field == f"scheduler.{name}" or error.field.startswith("scheduler.t_")
    assert good


NAMES = {
    "ssr=1": "digits",
    "data=arrays data.train.path=t.csv": "arrays",
    "data=cifar100 model=resnet18": "cifar100",
    "data=custom data.train._target_=lab.NightSky trainer.objective=null": "night_sky",
    "data=arrays data.train.path=t.csv name=mine": "mine",
}


@each("overrides,name", NAMES.items())
def test_a_run_without_a_name_is_named_after_its_data(composed, overrides, name):
    assert check(composed(*overrides.split()), trust=["lab"])["name"] == name
