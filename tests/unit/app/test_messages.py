"""Errors of the command line and of composition in one line."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.app.check import check
from ssr_hydra.app.messages import explain
from ssr_hydra.errors import InputError, WrongTypeError


def raised(make):
    with pytest.raises(OmegaConfBaseException) as caught:
        make()
    return caught.value


def test_input_error_is_found_in_the_causes_of_an_error_of_hydra():
    inner = InputError("a", 1, "b", "c")
    outer = ConfigCompositionException("outside")
    outer.__cause__ = ValueError("between")
    outer.__cause__.__context__ = inner
    assert explain(outer) is inner


def test_error_shows_the_value_of_an_interpolation():
    error = explain(raised(lambda: OmegaConf.create({"a": "${nowhere}"}).a))
    assert (error.field, error.value) == ("a", "${nowhere}")


def test_fix_for_null_in_a_file_works(app, refused, mine):
    mine("optimizer/null_lr", "defaults: [sgd, _self_]\nlr: null\n")
    error = refused("--config-dir=mine", "optimizer=null_lr", "--cfg", "job")
    assert error.startswith("error: optimizer.lr=None: ")
    assert error.endswith("; remove this value; --cfg job then prints the default\n")
    mine("optimizer/null_lr", "defaults: [sgd, _self_]\n")
    answer = app("--config-dir=mine", "optimizer=null_lr", "--cfg", "job", "--package", "optimizer.lr")
    assert (answer.code, answer.out) == (0, "0.001\n")


def test_error_says_that_a_mapping_cannot_replace_a_list():
    error = explain(raised(lambda: OmegaConf.merge({"points": [1]}, {"points": {"a": 1}})))
    assert "a mapping cannot replace a list" in str(error)


def test_wrong_value_for_a_type_such_as_path_is_a_wrong_type_error():
    @dataclass
    class OwnConfig:
        folder: Path = Path()

    error = explain(raised(lambda: OmegaConf.merge(OwnConfig, {"folder": 3})))
    assert (type(error), error.field) == (WrongTypeError, "folder")


@pytest.mark.parametrize("message", ["", "\n\n", "several\nlines\n"])
def test_any_hydra_error_becomes_one_line(message):
    assert "\n" not in str(explain(HydraException(message)))


# The arguments, and a part of the error.
ERRORS = {
    # keys
    "lr=0.1": "lr='0.1': unknown key; did you mean optimizer.lr?",
    "epochs=5": "epochs='5': unknown key; did you mean max_duration=5ep?",  # as in other training libraries
    "max_steps=100": "max_steps='100': unknown key; did you mean max_duration=100ba?",
    "learning_rate=0.1": "learning_rate='0.1': unknown key; did you mean optimizer.lr=0.1?",
    "optimizer=muon_adamw lr=0.1": "unknown key; did you mean optimizer.muon.lr or optimizer.adamw.lr?",
    "optimizer=muon_adamw optimizer.lr=0.1": "unknown key; did you mean optimizer.muon.lr or optimizer.adamw.lr?",
    "lrr=0.1": "lrr='0.1': unknown key; choose from name, ssr, ",
    "schedulre=cosine": "schedulre='cosine': unknown key; did you mean sched",
    "hydra.run.dirr=x": "hydra.run.dirr='x': unknown key; did you mean dir?",
    "+foo=1": "foo=1: unknown config key; choose from name, ssr, ",
    "scheduler.factors.decay=polynomial": "unknown key scheduler.factors; choose from t_warmup",  # of cosine_warmup
    "scheduler=product scheduler.factors.decay=polynomial": "scheduler@scheduler.factors.decay=polynomial",
    "callbacks.ema.decay=.5": "callbacks.ema.decay='.5': unknown key callbacks.ema; to use ema, write callbacks=[ema]",
    "callbacks.mine.x=1": "'1': unknown key callbacks.mine; to add it, write +callbacks.mine.x=1",
    "schedules.weight_decay=cosine": "unknown key; to add it, write +scheduler@schedules.weight_decay=cosine",
    "trainer.loss={_target_:a.b,_partial_:true}": "to add it, write '+trainer.loss={_target_:a.b,_partial_:true}'",
    "logger=csv logger.csv.path=a": "unknown key; remove it, because no keys are allowed here",
    "-m launcher.workers=2 ssr=1,2": "unknown key launcher; did you mean hydra.launcher.workers=2?",
    "~lrr": "lrr='~lrr': not found in the config; remove ~lrr",
    "~optimizer.betas=3": "optimizer.betas='~optimizer.betas': not found in the config; remove ~optimizer.betas",
    "~optimizer=adam": "optimizer='~optimizer': not found in the config; remove ~optimizer",
    "~callbacks": "callbacks='~callbacks': not found in the config; remove ~callbacks",
    "~ssr": "ssr='~ssr': cannot be deleted; remove ~ssr",
    "~scheduler.t_warmup": "'~scheduler.t_warmup': cannot be deleted; remove ~scheduler.t_warmup",
    "+foo=1 ~foo=2": "foo='2': is not the value of foo in the config (1); to delete foo, write ~foo",
    "+ssr=0.5": "already exists; to change it, drop the +: ssr=0.5",
    # choices
    "scheduler=WSD": "scheduler='WSD': unknown choice; did you mean wsd?",
    "callbacks=[emma]": "callbacks='emma': unknown choice; did you mean ema?",
    "experiment=conf/experiment/digits_wsd.yaml": "digits_wsd.yaml': unknown choice; did you mean digits_wsd?",
    "hydra/launcher=nope": "hydra/launcher='nope': unknown choice",
    "--config-name foo": "--config-name='foo': config not found; correct the name, or add the folder",
    "scheduler@scheduler.factors.decay=step": "scheduler@scheduler.factors.decay='step': ",
    "+experiment=digits_wsd": "experiment='digits_wsd': already exists; to change it, drop the +: exp",
    "+model=conv model=mlp": "model='mlp': already exists; to change it, drop the +: model=mlp",
    "++scheduler=wsd": "cannot be set with ++, because it is a group; write scheduler=wsd to change it, or",
    "-m launcher=basic,joblib": "launcher='basic,joblib': cannot be swept",
    "debug=true": "debug='true': must name a config of this group; choose from limit, one_batch, overfit",
    "model=1": "model='1': must name a config of this group; choose from byte_mlp",
    "name=null scheduler=null": "scheduler=None: must name a config of this group; remove scheduler=null, or",
    "trainer.threads=null logger=null": "logger=None: must name a config of this group; for none, write logger=[]",
    "debug=null": "debug=None: must name a config of this group; remove debug=null",
    "~scheduler": "scheduler='???': must be set, because it has no default; choose e.g. scheduler=constant",
    # types
    "ssr=50%": "ssr='50%': must be a number; e.g. ssr=0.5",
    "checkpoint.enabled=maybe": "'maybe': must be true or false; e.g. checkpoint.enabled=true",
    "scheduler=torch_cosine scheduler.T_max=10.5": "'10.5': must be a whole number or a string, such as a time; e.g.",
    "model.widths=[a]": "model.widths[0]='a': must be a whole number; write e.g. 1",
    "-m seed=[0,1]": "seed='[0,1]': must be a whole number; to sweep over several values, write -m seed=0,1",
    "name=[a]": "name='[a]': must be one value, not a list or a mapping; e.g. name=my_run",
    "scheduler=multistep scheduler.milestones=0.5dur": "must be a list; e.g. scheduler.milestones=[0.5dur,0.75dur]",
    "optimizer=adam optimizer.betas=0.9": "optimizer.betas='0.9': must be a list; e.g. optimizer.betas=[0.9,0.999]",
    "optimizer=adafactor optimizer.eps=1": "must be a list; e.g. optimizer.eps=[null,0.001]",
    "scheduler=product scheduler.factors=1": "must be a mapping; set a key below scheduler.factors (--cfg job",
    "checkpoint=off": "must be a mapping; set a key below checkpoint (--cfg job --package checkpoint prints the",
    "max_duration=null": "max_duration=None: must not be null; e.g. max_duration=20ep",
    "optimizer.lr=null": "optimizer.lr=None: must not be null; e.g. optimizer.lr=0.1",
    "checkpoint.enabled=null": "e.g. checkpoint.enabled=true",
    "checkpoint=null": "must not be null; set keys of checkpoint (--cfg job --package checkpoint prints them)",
    "scheduler=multistep scheduler.milestones=null": "e.g. scheduler.milestones=[0.5dur,0.75dur]",
    "~scheduler '+scheduler=[{_target_:a},{_target_:b}]'": "scheduler='[{_target_:a},{_target_:b}]': the command line",
    # syntax
    "ssr": "overrides='ssr': cannot be read; write key=value, with matching quotes",
    "ssr=0.5,1": "ssr='0.5,1': must be one value, because this is a single run; add -m to sweep",
    "seed==1": "seed='=1': cannot be read; write only one =: seed=1",
    "'ssr = 0.5'": "ssr=' 0.5': cannot be read; remove the spaces: ssr=0.5",
    "'ssr =0.5'": "ssr='0.5': cannot be read; remove the spaces: ssr=0.5",
    "' ssr=0.5'": "ssr='0.5': cannot be read; remove the spaces: ssr=0.5",
    "hydra.run.dir=~/runs": "hydra.run.dir='~/runs': cannot be read; write hydra.run.dir=$HOME/runs, because the shell",
    "optimizer=adam 'optimizer.betas=(0.9,0.99)'": "cannot be read; write a list: optimizer.betas=[0.9,0.99]",
    "-m ssr=0.5,": "ssr='0.5,': cannot be read; remove the extra comma",
    "-m ssr=0.5,,1": "ssr='0.5,,1': cannot be read; remove the extra comma",
    "ssr=[1]2": "ssr='[1]2': cannot be read; write key=value, and quote characters that the shell would change",
    "-m 'seed=range(0,3'": "seed='range(0,3': cannot be read; close each bracket",
    "-m 'x=zip(ssr=choice(1,2),seed=choice(1,2))'": "to pair values, write e.g. ssr=0.5,1 ",
    "-m ssr,seed=0.5,1": "to pair values, write e.g. ssr=0.5,1 ",
    # flags
    "--cfg": "--cfg='': needs a value; see --help",
    "--cfg jobs": "--cfg='jobs': must be one of job, hydra, all; see --help",
    "--cfg=job --run": "flags='--run, --cfg': cannot be used together",
    "--multirn ssr=1,2": "unrecognized arguments: --multirn; did you mean --multirun?",
    "--ssr=0.5": "unrecognized arguments: --ssr=0.5; write overrides without dashes, for example ssr=0.5",
    "--resolve": "--resolve=True: works only with --cfg and --help",
    "--experimental-rerun=x": "--experimental-rerun='x': is not supported",
    "--cfg job --package optimizr": "'optimizr': not found in the output of --cfg job; did you mean optimizer?",
    "--cfg job --package hydra.run": "--package='hydra.run': not found in the output of --cfg job; write --cfg hydra",
    "--cfg hydra --package ssr": "write --cfg job",
    "--cfg job data=arrays --package data.train.path": "'???': must be set, because it has no default; set data.train.",
    "--package optimizer": "--package='optimizer': works only with --cfg; remove --package, or add --cfg job",
    "--help --package optimizer": "works only with --cfg",
    "--config-dir= ssr=0.5": "--config-dir='': needs a value; leave out --config-dir, or write a value",
    "--config-dir=nowhere": "--config-dir='nowhere': folder not found; check the path",
    "--config-dir pkg://nowhere.conf": "--config-dir='pkg://nowhere.conf': folder not found",
    "hydra.searchpath=[nowhere]": "hydra.searchpath='nowhere': folder not found; check the path",
    "hydra.searchpath=[pkg://nowhere.conf]": "hydra.searchpath='pkg://nowhere.conf': folder not found",
    "--shell-completion": "must be followed by install, uninstall or query, and by bash, fish or zsh;",
    "--shell-completion install=tcsh": "--shell-completion='install=tcsh': must be followed by",
    # checks of this package
    "study=a": "study='a': works only in a sweep, but this is a single run; add -m, or remove study",
    "zip=[a,b]": "zip='[a,b]': works only in a sweep",
    "~zip=ssr,seed": "zip='~zip=ssr,seed': cannot be deleted; remove ~zip",
    "-m ssr=0.5,1 ~plan=true": "plan='~plan=true': cannot be deleted; remove ~plan",
    "-m ssr=0.5,1 seed=0,1 zip=[ssr,seed] hydra/sweeper=basic": "zip='[ssr,seed]': works only with hydra/sweeper=study",
    "-m study=a hydra.sweep.dir=b": "study='a': cannot be used with hydra.sweep.dir; remove study or hydra.sweep.dir",
    "-m study=": "study='': must contain only letters, digits and . _ + - /; e.g. study=first",
    "-m study=..": "study='..': must contain only letters, digits and . _ + - /",
    "-m study='a b'": "study='a b': ",
    "-m study_code=maybe": "study_code='maybe': unknown value",
    "-m study_report=perhaps": "study_report='perhaps': must be true or false",
    "-m workers=0": "workers=0: must be a whole number of at least 1, or null",
    "-m workers=1.5": "workers='1.5': must be a whole number",
    "-m trust=a,b": "trust='a,b': cannot be swept, because all jobs of a sweep share it",
    "-m ssr=1,2 hydra.run.dir=a,b": "hydra.run.dir='a,b': cannot be swept, because all jobs of a sweep share it",
    "-m ssr=0.5,-1": "ssr=-1.0: the scale schedule ratio must be above 0",
    "-m ssr=1,half": "ssr='half': must be a number",
    "trust=[a": "trust='[a': cannot be read; close each bracket",
    "trust=3": "trust=3: must be the name of a module, class or function",
    "trust=[os]": "trust='os': ",
    "trust=[no_such_module]": "trust='no_such_module': module no_such_module not found",
    "optimizer=custom optimizer._target_=torch.optim.SGD": "optimizer.lr=None: is missing; set optimizer.lr, or",
    "+callbacks.e._target_=ssr_hydra.callbacks.EMA": "callbacks.e.decay=None: is missing; set callbacks.e.decay, or",
    "scheduler=custom scheduler._target_=torch.nn.Linear +scheduler.in_features=4": "is not a scheduler",
    "trainer.loss._target_=torch.nn.MSELos": "did you mean torch.nn.MSELoss?",
    "trainer.device=cuda:99": "use 'auto' or 'cpu'",
    "checkpoint.enabled=false checkpoint.best=eval/accuracy": "set checkpoint.enabled=true, or checkpoint.best=null",
    "checkpoint.best=eval/wer_accuracy +trainer.metrics.wer_accuracy._target_=ssr_hydra.trainer.accuracy": (
        "checkpoint.mode='auto': the name eval/wer_accuracy does not show whether higher is better; write max or min"
    ),
    "checkpoint.best=eval/acuracy": "'eval/acuracy': must be one of train/loss, eval/loss, eval/accuracy;",
    "data=custom": "data.train._target_=",
    "resume.on_change=extand": "did you mean extend?",
    "resume=": "resume.path='': must be auto, never or a path; write resume=auto",
    "-m ssr=1,2 share=true share_keep=al": "share_keep='al': unknown value; did you mean all?",
    "-m ssr=1,2 share_keep=all": "share_keep='all': works only with share=true; add share=true",
    "-m ssr=1,2 share.keep=none": "share_keep='none': works only with share=true; add share=true",
    "hydra.job.name=a/b": "hydra.job.name='a/b': must not contain /",
    "hydra.verbose=3": "hydra.verbose=3: must be true, false or names of loggers",
    "hydra.verbose=null": "hydra.verbose=None: must be true, false or names of loggers",
    "hydra.run.dir=": "remove hydra.run.dir, or set it to a folder",
}


@pytest.mark.parametrize("typed", ERRORS)
def test_error_is_one_line_with_the_value_and_a_valid_value(refused, typed):
    error = refused(*shlex.split(typed))
    assert re.fullmatch(r"error: [^\n]+=[^\n]+: [^\n]+; [^\n]+\n", error)
    assert ERRORS[typed] in error


@pytest.mark.parametrize(
    "typed",
    [
        "optimizer=adamw +scheduler@schedules.weight_decay=cosine",
        "optimizer=adam optimizer.betas=[0.9,0.999]",
        "scheduler=torch_cosine scheduler.T_max=0.5dur",
        "+trainer.loss={_target_:torch.nn.CrossEntropyLoss,label_smoothing:0.2}",
        "logger=[] callbacks=[] param_groups=[]",
        "~experiment",
    ],
)
def test_overrides_that_error_messages_suggest_are_valid(composed, typed):
    check(composed(*typed.split()))
