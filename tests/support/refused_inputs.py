"""A table of inputs that the app refuses: the arguments, the files that the app reads, and the error.

For each row, ``main(argv)`` must end with exit code 2 and one line ``error: field=value: rule; fix`` on stderr. It must
print nothing on stdout, change nothing on disk, run no code of the input, and take less than five seconds of CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Refused(NamedTuple):
    """An input and its error.

    Args:
        argv: The arguments of the command.
        field: The field that the error names.
        rule: A part of the error after the value.
        files: Path below the working directory -> content.
    """

    argv: str | tuple[str, ...]
    field: str
    rule: str
    files: Mapping[str, str | bytes] = {}

    @property
    def arguments(self) -> list[str]:
        """Return the arguments as a list; split a text at spaces."""
        return self.argv.split(" ") if isinstance(self.argv, str) else list(self.argv)


GLOBAL = "# @package _global_\n"
NOT_CHOSEN, NOT_SET = "cannot be chosen in a file", "cannot be set in a file"
BELOW, NOT_TYPED = "below hydra", "can be set only on the command line"
U = "--config-dir mine experiment=u"
FILE_OF_U = "mine/experiment/u.yaml"
MAIN = "--config-path mine --config-name config"
REPLAY = "--config-path RUN/.hydra --config-name config"
EVIL = "{_target_: os.mkdir, path: PWNED}"


def overlay(text: str, others: Mapping[str, str] = {}) -> dict[str, str | bytes]:
    """Return the file of the experiment ``u`` in ``mine``, and other files in ``mine``."""
    start = "" if text.startswith("# @package") else GLOBAL
    return {FILE_OF_U: start + text, **{f"mine/{name}.yaml": body for name, body in others.items()}}


def replayed(rows: Mapping[str, tuple[str, str, str]]) -> dict[str, Refused]:
    """Return rows for a command that repeats a run. Each value has the field, a part of the rule, and the config."""
    return {
        name: Refused(REPLAY, field, rule, {"RUN/.hydra/config.yaml": text})
        for name, (field, rule, text) in rows.items()
    }


def of_u(rows: Mapping[str, tuple[Any, ...]]) -> dict[str, Refused]:
    """Return rows for the experiment ``u``. Each value has the field, a part of the rule, and arguments of overlay."""
    return {name: Refused(U, field, rule, overlay(*files)) for name, (field, rule, *files) in rows.items()}


def sweep(params: str) -> str:
    """Return a file that describes a sweep over ``params``."""
    return f"hydra: {{mode: MULTIRUN, sweeper: {{params: {params}}}}}\n"


def chain(text: str, count: int, first: str = "{a: 1, b: aaaaaaaaaaaaaaaa}") -> str:
    """Return the values ``x1`` to ``x<count>`` of ``schedules``. Each value refers to the previous value."""
    lines = [f"  x{i}: {text.replace('@', f'schedules.x{i - 1}')}\n" for i in range(1, count)]
    return f"schedules:\n  x0: {first}\n" + "".join(lines)


PARAMS = "hydra.sweeper.params"
SWEEP = sweep("{seed: '0,1', ssr: '1,2'}")
_LINES = chain("['${@}', '${@}']", 60).replace("schedules.", "").splitlines(keepends=True)
TOP = "".join(line.removeprefix("  ") for line in _LINES[1:])

_RUNS_CODE = {
    "target in a sweep": (f"{PARAMS}.seed", "must be a number or text", sweep(f"{{seed: {EVIL}}}")),
    "target in a list": (f"{PARAMS}.seed", "number or text", sweep(f"{{seed: [{EVIL}]}}")),
    "target deep in a sweep": (f"{PARAMS}.a", "number or text", sweep(f"{{a: {{b: [{{c: {EVIL}}}]}}}}")),
    "the params are the target": (f"{PARAMS}._target_", "number or text", sweep(EVIL)),
    "the params are a list": (PARAMS, "must be a mapping", sweep(f"[{EVIL}]")),
    "partial in a sweep": (f"{PARAMS}._partial_", "number or text", sweep("{_partial_: true}")),
    "a preset put there": ("model", NOT_CHOSEN, "defaults: [/model@hydra.callbacks.x: conv]"),
    "target of a job": ("model._target_", "nor in the setting trust", sweep("{model._target_: os.mkdir}")),
    "another sweeper": ("hydra/sweeper", NOT_CHOSEN, "defaults: [override /hydra/sweeper: optuna]"),
    "another launcher's preset": ("launcher", NOT_CHOSEN, "defaults: [override /launcher: ray]"),
    "a launcher": ("hydra/launcher", "write launcher=joblib on", "defaults: [override /hydra/launcher: joblib]"),
    "a sweep over hydra": ("hydra.job.name", "cannot be swept", sweep("{hydra.job.name: x}")),
    "callbacks": ("hydra.callbacks.x._target_", NOT_SET, f"hydra: {{callbacks: {{x: {EVIL}}}}}"),
    "text for the whole": ("hydra", NOT_SET, "hydra: text"),
    "null for the whole": ("hydra", NOT_SET, "hydra: null"),
    "a list for the whole": ("hydra", NOT_SET, "hydra: []"),
    "trust": ("trust", NOT_TYPED, "trust: [os]"),
    "trust as text": ("trust", NOT_TYPED, "trust: os"),
    "a sweeper elsewhere": ("hydra/sweeper", NOT_CHOSEN, "defaults: [{/hydra/sweeper@model: study}]"),
    "a zip with a target": ("zip", "must list keys", SWEEP + f"zip: {EVIL}"),
    "a zip of a reference": ("zip", "must list keys", SWEEP + "zip: ['${hydra.mode}', seed]"),
    "a zip of brackets": ("zip", "must list keys", SWEEP + "zip: '" + "[" * 90_000 + "'"),
    "a zip as a parameter": (f"{PARAMS}.zip", "must not contain $", sweep("{seed: '0,1', zip: 'seed,${name}'}")),
    "package of the params": ("defaults", BELOW, f"# @package {PARAMS}.seed\n_target_: os.mkdir\npath: PWNED\n"),
    "package in brackets": ("defaults", BELOW, f"# @package hydra[sweeper]\nparams: {{seed: {EVIL}}}"),
    "put there by a defaults list": (
        "model", NOT_CHOSEN, "defaults: [/model@hydra.sweeper.params.x: evil]", {"model/evil": EVIL}
    ),
    "put there over the whole": (
        "model", NOT_CHOSEN, "defaults: [/model@_global_.hydra.callbacks.x: evil]", {"model/evil": EVIL}
    ),
    "put there from below hydra": ("defaults", BELOW, "# @package hydra\ndefaults: [/model@callbacks.x: conv]\n"),
    "callbacks of the folder's own": (
        "hydra/callbacks", NOT_CHOSEN, "defaults: [override /hydra/callbacks: evil]",
        {"hydra/callbacks/evil": f"x: {EVIL}"},
    ),
    "job that chooses it": (
        "hydra.job.env_set.A", NOT_SET, sweep("{debug: evil}"),
        {"debug/evil": f"{GLOBAL}hydra: {{job: {{env_set: {{A: b}}}}}}\n"},
    ),
}  # fmt: skip
_REPLAYED = {
    "replayed sweep": (f"{PARAMS}.seed", "number or text", sweep(f"{{seed: {EVIL}}}")),
    "replayed callbacks": ("hydra.callbacks.x._target_", NOT_SET, f"hydra: {{callbacks: {{x: {EVIL}}}}}\n"),
    "search path": ("hydra.searchpath", NOT_SET, "hydra: {searchpath: ['pkg://antigravity']}"),
    "replayed folder": ("hydra.run.dir", "must not contain $", "hydra: {run: {dir: 'a-${hydra.mode}'}}\n"),
    "replayed config that doubles": ("x0", "unknown key", TOP),
}
RUNS_CODE = {
    **of_u(_RUNS_CODE),
    **replayed(_REPLAYED),
    "with -m as well": Refused(
        f"-m {U} ssr=0.5,1", f"{PARAMS}.seed", "number or text", overlay(sweep(f"{{seed: {EVIL}}}"))
    ),
    "a preset typed there": Refused("+model@hydra.callbacks.x=conv", "defaults", "below hydra"),
    "replayed launcher": Refused(
        f"-m {REPLAY} ssr=0.5,1",
        "hydra.launcher._target_",
        NOT_SET,
        {"RUN/.hydra/config.yaml": f"hydra: {{launcher: {EVIL}}}\n"},
    ),
    "replayed description of Hydra": Refused(
        "--config-path RUN/.hydra --config-name hydra",
        "hydra.launcher._target_",
        NOT_SET,
        {"RUN/.hydra/hydra.yaml": f"hydra: {{launcher: {EVIL}}}\n"},
    ),
    "a main config's launcher": Refused(
        MAIN,
        "hydra/launcher",
        NOT_CHOSEN,
        {"mine/config.yaml": "defaults: [base_config, override hydra/launcher: ray]"},
    ),
    "a main config's trust": Refused(MAIN, "trust", NOT_TYPED, {"mine/config.yaml": "trust: [os]"}),
    **{
        f"help {flag}": Refused(
            f"{U} {flag}",
            "hydra.hydra_logging.handlers.x.class",
            NOT_SET,
            overlay("hydra: {hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: PWNED}}}}"),
        )
        for flag in ("--help", "--info")
    },
    "chosen for another thing": Refused(
        "--config-dir mine launcher=evil -m ssr=0.5,1",
        "hydra.callbacks.x._target_",
        NOT_SET,
        {"mine/launcher/evil.yaml": f"{GLOBAL}hydra: {{callbacks: {{x: {EVIL}}}}}\n"},
    ),
}

_SHADOWS = {
    "hydra/launcher/processes": ("hydra/launcher=processes -m ssr=0.5,1", "hydra/launcher"),
    "hydra/sweeper/study": ("-m ssr=0.5,1", "hydra/sweeper"),
    "hydra/output/unique": ("ssr=1", "hydra/output"),
    "base_config": ("ssr=1", "config"),
    "config": ("ssr=1", "config"),
    "launcher/joblib": ("launcher=joblib -m ssr=0.5,1", "launcher"),
    "scheduler/cosine": ("scheduler=cosine", "scheduler"),
    "scheduler/custom": ("scheduler=custom", "scheduler"),
    "optimizer/sgd_nesterov": ("ssr=1", "optimizer"),
    "trainer/language": ("trainer=language", "trainer"),
    "logger/csv": ("logger=[csv]", "logger"),
    "experiment/digits_wsd": ("experiment=digits_wsd", "experiment"),
}

SHADOWS = {
    f"{path} {typed}": Refused(
        f"--config-dir mine {typed}", field, "is the name of a preset", {f"mine/{path}.yaml": f"{GLOBAL}seed: 3\n"}
    )
    for path, (typed, field) in _SHADOWS.items()
} | {
    "beside a main config": Refused(
        MAIN,
        "scheduler",
        "is the name of a preset",
        {
            "mine/config.yaml": "defaults: [base_config, scheduler: cosine]\n",
            "mine/scheduler/cosine.yaml": "t_max: 1ep\n",
        },
    ),
    "in a folder of the search path": Refused(
        "hydra.searchpath=[file://mine] scheduler=cosine",
        "scheduler",
        "is the name of a preset",
        {"mine/scheduler/cosine.yaml": "t_max: 1ep\n"},
    ),
    **of_u(
        {
            "preset that an overlay chooses": (
                "scheduler",
                "is the name of a preset",
                "defaults: [override /scheduler: rex]",
                {"scheduler/rex": "t_max: 1ep\n"},
            )
        }
    ),
}

_DIRS = (
    *("${hydra.mode}", "a/${hydra.job.num}", "${name}", "${hydra:runtime.cwd}/x", "${oc.select:hydra.mode,../x}"),
    *("\\${oc.env:HOME}", "\\\\${oc.env:HOME}/x", "a\\${hydra.mode}", "$x", "${oc.env:HOME}/PWNED"),
)
_OUTSIDE = ("../PWNED", "a/../../PWNED", "/tmp/PWNED", "~/PWNED", "..", "a\\..\\..\\PWNED")

_FOLDERS = {
    "output": ("hydra.output_subdir", NOT_SET, "hydra: {output_subdir: ../PWNED}\n"),
    "subdir": ("hydra.sweep.subdir", NOT_SET, "hydra: {sweep: {subdir: ../PWNED}}"),
    "job name": ("hydra.job.name", NOT_SET, "hydra: {job: {name: ../PWNED}}\n"),
    "a choice that leads out": ("defaults", "must be inside the folder", "defaults: [override /model: ../../secret]"),
    "a folder by a study": ("hydra.sweep.dir", "must be below", SWEEP + "study: ../PWNED"),
    "a defaults list that leads out": (
        "defaults", "must be inside the folder", "defaults: ['/../secret@model']", {"../secret": "x: 1"}
    ),
    "a choice by its absolute path": ("defaults", "must be inside the folder", "defaults: ['//etc/hosts@model']"),
}  # fmt: skip
FOLDERS = {
    **of_u(_FOLDERS),
    **{
        f"{kind} {folder}": Refused(
            typed,
            f"hydra.{kind}.dir",
            "must not call" if "oc.env" in folder and folder[:2] != "\\$" else "must not contain $",
            overlay(f"hydra: {{{kind}: {{dir: '{folder}'}}}}\n"),
        )
        for kind, typed, folders in (("run", U, _DIRS), ("sweep", f"-m {U} ssr=0.5,1", _DIRS[:2]))
        for folder in folders
    },
    **{
        f"{kind} {folder}": Refused(
            typed, f"hydra.{kind}.dir", "must be below the folder", overlay(f"hydra: {{{kind}: {{dir: '{folder}'}}}}\n")
        )
        for kind, typed, folders in (("run", U, _OUTSIDE), ("sweep", f"-m {U} ssr=0.5,1", _OUTSIDE[:1]))
        for folder in folders
    },
    **{
        f"{typed} {name}": Refused(typed, field, rule, overlay(f"name: '{name}'\n"))
        for typed, field, name, rule in (
            (f"{U} hydra.run.dir=runs/${{name}}", "hydra.run.dir", "../../PWNED", "must be below"),
            (f"{U} hydra.run.dir=${{name}}/x", "hydra.run.dir", "/tmp/PWNED", "must be below"),
            (f"-m {U} ssr=0.5,1 hydra.sweep.dir=runs/${{name}}", "hydra.sweep.dir", "../../PWNED", "must be below"),
            (
                f"{U} hydra.run.dir=runs/${{name}}",
                "hydra.run.dir",
                "\\${hydra.mode}",
                "after its references",
            ),
        )
    },
    "a subdir from a file's sweep": Refused(
        f"-m {U} study=x hydra.sweep.subdir=${{hydra.job.override_dirname}}",
        "hydra.sweep.subdir",
        "must be below the sweep's folder",
        overlay(sweep("{name: '../../../PWNED,x'}")),
    ),
}

_MANY_KEYS = "".join(f"  k{i}: 0\n" for i in range(6000))
_BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 40)]
)
_MERGES = "a: &a0 {x: 1}\n" + "".join(f"b{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 8)}]}}\n" for i in range(1, 7))
_TREE = {f"x/f{i}": "defaults:\n" + "".join(f"  - f{i + 1}@b{j}\n" for j in range(20)) for i in range(5)}

_ENDLESS = {
    "range": ("seed", "makes a sweep of 100,000,000 jobs", sweep("{seed: 'range(0,100000000)'}")),
    "range without a step": ("ssr", "infinitely many jobs", sweep("{ssr: 'range(0,1,0)'}")),
    "range that is shuffled": ("seed", "100,000,000", sweep("{seed: 'shuffle(range(0,100000000))'}")),
    "product of ranges": ("seed", "makes a sweep of 40,000 jobs", sweep("{seed: 'range(0,200)', ssr: 'range(1,201)'}")),
    "long list": (PARAMS, "at most 2,000 characters", sweep(f"{{seed: '{'1,' * 500_000}1'}}")),
    "brackets": (f"{PARAMS}.seed", "levels of brackets", sweep(f"{{seed: '{'[' * 900}{']' * 900}'}}")),
    "calls": (f"{PARAMS}.seed", "levels of brackets", sweep(f"{{seed: '{'sort(' * 300}1{')' * 300}'}}")),
    "many defaults": (
        "defaults",
        "more than 100 configs",
        "defaults:\n" + "".join(f"  - /scheduler@schedules.s{i}: cosine\n" for i in range(1000)),
    ),
    "defaults that contain themselves": ("defaults", "contains itself", "defaults: [u]"),
    "many values": ("config", "at most 5,000 values", "schedules:\n" + _MANY_KEYS),
    "large file": ("config", "at most 1,048,576 bytes", "name: " + "x" * 2**20),
    "aliases of aliases": ("config", "at most 5,000 values", _BOMB),
    "merged aliases": ("config", "at most 5,000 values", _MERGES),
    "an alias in itself": ("config", "before the end of &a", "a: &a [*a]"),
    "an alias in its mapping": ("config", "before the end of &a", "a: &a {b: *a}"),
    "deep lists": ("config", "at most 100 levels", "x: " + "[" * 101 + "]" * 101),
    "deep mappings": ("config", "at most 100 levels", "x: " + "{a: " * 101 + "1" + "}" * 101),
    "deep without an end": ("config", "nesting depth", "x: " + "[" * 100_000),
    "deep by aliases": ("config", "at most 100 levels", f"a: &a {'[' * 60}{']' * 60}\nb: {'[' * 60}*a {']' * 60}"),
    "sexagesimal": ("config", "has a number of", "seed: 1" + ":59" * 300_000),
    "sexagesimal with a tag": ("config", "has a number of", "seed: !!int '1" + ":59" * 300_000 + "'"),
    "sexagesimal fraction": ("config", "has a number of", "seed: 1" + ":0" * 180 + ".5"),
    "sexagesimal key": ("config", "has a number of", "1" + ":59" * 300 + ": 1"),
    "spaces in a reference": ("config", "characters with references", "name: '${" + " " * 900_000 + "seed}'"),
    "references without an end": ("config", "characters with references", "name: '" + "${" * 9000 + "'"),
    "references in a text": ("config", "characters with references", "name: '" + "${seed}" * 9000 + "'"),
    "references in many texts": (
        "config",
        "at most 1,000 references",
        "schedules:\n" + "".join(f"  k{i}: ${{seed}}\n" for i in range(1001)),
    ),
    "nested references": ("config", "nested too deeply", f"name: '{'${' * 600}seed{'}' * 600}'"),
    "texts that double": ("schedules.x13", "resolves to more than", chain("'${@}${@}'", 60, "a" * 16)),
    "lists that double": ("schedules.x12", "resolves to more than", chain("['${@}', '${@}']", 60)),
    "mappings that double": ("schedules.x12", "resolves to more than", chain("{p: '${@}', q: '${@}'}", 60)),
    "values that double": (
        "schedules.x12",
        "resolves to more than",
        chain("{a: '${oc.dict.values:@}', b: '${oc.dict.values:@}'}", 60),
    ),
    "selections that double": (
        "schedules.x12",
        "resolves to more than",
        chain("['${oc.select:@}', '${oc.select: \"@\" ,b}']", 60),
    ),
    "relative references that double": (
        "schedules.x12",
        "resolves to more than",
        chain("['${..@}', '${..@}']", 60).replace("..schedules.", ".."),
    ),
    "references of references": (
        "schedules.x1",
        "whose name starts with a reference",
        "schedules: {n: seed, x1: '${${schedules.n}}'}",
    ),
    "defaults of defaults": ("defaults", "more than 100 configs", "defaults: [/x/f0]", _TREE),
    "defaults in a circle": (
        "defaults", "contains itself", "defaults: [v]", {"experiment/v": f"{GLOBAL}defaults: [u]\n"}
    ),
    "many values in many files": (
        "config", "at most 5,000 values",
        "defaults: [" + ", ".join(f"/x/f{i}@schedules.f{i}" for i in range(20)) + "]",
        {f"x/f{i}": "a: [" + "0, " * 400 + "0]" for i in range(20)},
    ),
    "a long duration": ("max_duration", "at most 64 characters", "max_duration: '1" + " " * 500_000 + "ba'"),
    "a long number": ("ssr", "must be a finite number", f"ssr: '{'9' * 500_000}'"),
}  # fmt: skip
ENDLESS = {
    **of_u(_ENDLESS),
    "typed range": Refused("-m seed=range(0,100000000)", "seed", "makes a sweep of 100,000,000 jobs"),
}

_SLIPS = {
    "model": ("- model: mlp", "write - override /model: mlp"),
    "scheduler": ("- /scheduler: rex", "write - override /scheduler: rex"),
    "logger": ("- logger: [csv]", "write - override /logger: [csv]"),
}
_VALUES = {
    "scheduler: cosine": "- override /scheduler: cosine",
    "logger: [csv]": "- override /logger: [csv]",
    "logger: csv": "- override /logger: [csv]",
    "param_groups: no_decay": "- override /param_groups: [no_decay]",
}
_BASELESS = {
    "trainer": ("eval_interval: 2ep", "begin the YAML file of the group trainer with defaults: [default, _self_]"),
    "data": ("batch_size: 32", "begin the YAML file of the group data with defaults: [custom, _self_]"),
    "scheduler": ("t_max: 1ep", "begin the YAML file with defaults: [cosine_warmup, _self_]"),
}
_QUOTED = {
    "name=größe": """write 'name="größe"'""",
    "name=a(b)": """write 'name="a(b)"'""",
    "hydra.run.dir=runs/lr=0.1": """write 'hydra.run.dir="runs/lr=0.1"'""",
}
_LONG = "x" * 256
_UMLAUTS = "ö" * 128  # 256 bytes
_PATHS = {
    f"hydra.run.dir={_LONG}": "hydra.run.dir",
    f'hydra.run.dir="{_UMLAUTS}"': "hydra.run.dir",
    f"-m ssr=0.5,1 hydra.sweep.dir={_LONG}": "hydra.sweep.dir",
    f"-m ssr=0.5,1 hydra.sweep.subdir={_LONG}": "hydra.sweep.subdir",
    f"hydra.output_subdir={_LONG}": "hydra.output_subdir",
    f"hydra.job.name={_LONG}": "hydra.job.name",
    f"resume={_LONG}": "resume",
    f"--config-dir {_LONG}": "--config-dir",
    f"--config-path {_LONG}": "--config-path",
    f"--config-name {_LONG}": "--config-name",
}

_FILE_SLIPS = {
    "an open list": ("config", "correct the YAML", "a: [1"),
    "a tab": ("config", "correct the YAML", "\tx: 1"),
    "a tag of Python": ("config", "correct the YAML", "a: !!python/name:os.system x"),
    "null as verbose": ("hydra.verbose", "must be true, false or names of loggers", "hydra: {verbose: null}"),
    "a number in defaults": ("config", "Unsupported type in defaults : int", "defaults: [1]"),
    "a mapping as trust": ("config", "a mapping cannot replace a list", "trust: {a: b}"),
    "an unknown choice": ("scheduler", "(in mine/experiment/u.yaml)", "defaults: [override /scheduler: cosin]"),
    "a key twice": ("config", "sets ssr twice, in lines 2 and 4", "ssr: 1\nseed: 2\nssr: 2\n"),
    "a nested key twice": ("config", "sets lr twice, in lines 3 and 4", "optimizer:\n  lr: 1\n  lr: 2\n"),
    "a dotted key": ("config", "nest it: optimizer: {lr: ...}", "optimizer.lr: 0.1\n"),
    "a tag of another type": ("config", "does not fit its YAML tag", "seed: !!bool x\n"),
    "a tag without a value": ("config", "does not fit its YAML tag", "seed: !!int ''\n"),
    "a number as defaults": ("config", "defaults", "defaults: 3\n"),
    "a dotted key in a mapping": ("data.train.split", "train: {split: ...}", "data: {train.split: eval}\n"),
    "what is not trusted": (
        "model._target_",
        "write trust=[lab_a,lab_b] on the command line",
        "model: {_target_: lab_a.models.net.Net}\ntrainer: {loss: {_target_: lab_b.m.f}}\n",
    ),
}
SLIPS = {
    **of_u(_FILE_SLIPS),
    **{item: Refused(U, group, fix, overlay(f"defaults:\n  {item}\n")) for group, (item, fix) in _SLIPS.items()},
    **{item: Refused(U, item.partition(":")[0], fix, overlay(item)) for item, fix in _VALUES.items()},
    **{
        f"{group} without its base": Refused(
            f"--config-dir mine {group}=mine", group, fix, {f"mine/{group}/mine.yaml": text}
        )
        for group, (text, fix) in _BASELESS.items()
    },
    "trainer without its base, and an override": Refused(
        "--config-dir mine trainer=mine trainer.progress=none",
        "trainer",
        "begin the YAML file of the group trainer with defaults: [default, _self_]",
        {"mine/trainer/mine.yaml": "eval_interval: 2ep"},
    ),
    **{typed: Refused((typed,), typed.partition("=")[0], fix) for typed, fix in _QUOTED.items()},
    **{typed[:40]: Refused(typed, field, "at most 255 bytes (the longest has 256)") for typed, field in _PATHS.items()},
    "many folders": Refused(f"hydra.run.dir={'a/' * 3000}", "hydra.run.dir", "at most 3,500 bytes"),
    "a byte order mark": Refused(U, "config", "byte order mark", {FILE_OF_U: f"\ufeff{GLOBAL}ssr: 0.5\n"}),
    "no UTF-8": Refused(U, "config", "must be UTF-8", {FILE_OF_U: b"name: \xff\xfe"}),
    "a list of schedulers": Refused("scheduler=[cosine,linear]", "scheduler", "-m scheduler=cosine,linear"),
    "a list of models": Refused("model=[mlp,conv]", "model", "-m model=mlp,conv"),
    **{
        f"name: {word}": Refused(U, "name", f"must be text, but YAML reads it as {value}", overlay(f"name: {word}\n"))
        for word, value in {
            "on": True,
            "1.10": 1.1,
            "1_000": 1000,
            "12:30": 750,
        }.items()
    },
    "a word in a preset": Refused(
        "--config-dir mine model=mine",
        "name",
        "must be text",
        {"mine/model/mine.yaml": "defaults: [torchvision, _self_]\nname: 1.10\n"},
    ),
}

ALL = {"code": RUNS_CODE, "name": SHADOWS, "folder": FOLDERS, "endless": ENDLESS, "slip": SLIPS}
"""Kind -> name -> row."""
