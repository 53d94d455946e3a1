import functools
import sys
import types
from collections import OrderedDict
from fnmatch import fnmatchcase

import pytest
from cases import each
from refusals import refused

from ssr_hydra.app.targets import REGISTERED, TORCH_SCHEDULERS, check_targets, check_trust, instantiate, locate
from ssr_hydra.configs import TORCHMETRICS
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    UnknownNameError,
    UntrustedError,
    UserCodeError,
    WrongTypeError,
)
from ssr_hydra.schedulers import LinearScheduler, ProductScheduler, StepScheduler

HOSTILE = """
os.system os.popen os.execv os.remove os.rename os.putenv posix.system nt.system subprocess.Popen subprocess.run
subprocess.check_output builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open eval exec
pickle.loads pickle.load _pickle.loads marshal.loads shelve.open dill.loads cloudpickle.loads joblib.load
torch.load torch.hub.load torch.jit.load torch.package.PackageImporter torch.utils.cpp_extension.load
torch.serialization.load numpy.load numpy.memmap numpy.lib.npyio.load pandas.read_pickle
site.addsitedir site.addpackage runpy.run_path runpy.run_module importlib.import_module shutil.rmtree shutil.move
ctypes.CDLL pty.spawn code.interact pdb.run timeit.timeit webbrowser.open urllib.request.urlopen
socket.create_connection multiprocessing.Process threading.Thread concurrent.futures.ThreadPoolExecutor
functools.partial functools.reduce operator.methodcaller operator.attrgetter types.FunctionType
hydra.utils.call hydra.utils.instantiate hydra.utils.get_method hydra.main omegaconf.OmegaConf.register_new_resolver
logging.config.dictConfig yaml.unsafe_load tempfile.NamedTemporaryFile pathlib.Path.write_text
ssr_hydra.app.train.train ssr_hydra.app.train.main ssr_hydra.app.targets.locate ssr_hydra.schedulers.protocol.importlib
torch.optim.SGD.__init__.__globals__ torch.optim.SGD.step torch.nn torch.nn.Module torch.optim.LBFGS
torch.optim.lr_scheduler.LambdaLR Torch.nn.Linear torch..nn.Linear .torch.nn.Linear torch.nn.Linear.
""".split()


@each("target", [*HOSTILE, "torch.nn.Linear ", "torch.nn.Linear\n", "tоrch.nn.Linear", ""])
@pytest.mark.parametrize("trust", [(), ("my_package",)])
def test_hostile_targets_are_refused_anywhere_in_the_config(target, trust):
    node = {"_target_": target, "x": 1}
    outer = {"_target_": "torch.nn.Linear"}
    places = [
        node,
        {**node, "_partial_": True},
        {**node, "_recursive_": False},
        {**node, "_convert_": "all"},
        {"a": {"b": [{"c": [[node]]}]}},
        {**outer, "x": node},
        {**outer, "x": [1, node]},
        {**outer, "_args_": [node]},
        {**outer, "_args_": [{"deep": node}]},
        {**outer, "_recursive_": False, "x": node},
    ]
    for place in places:
        with pytest.raises(InputError):
            check_targets(place, trust)
        with pytest.raises(InputError):
            instantiate(place, trust)
    with pytest.raises(InputError):
        locate(target, trust)


def test_no_module_is_imported_before_its_name_is_checked():
    sys.modules.pop("antigravity", None)
    with refused("_target_", UntrustedError):
        locate("antigravity.fly")
    assert "antigravity" not in sys.modules


LINEAR = {"_target_": "torch.nn.Linear"}
INVALID = [
    *(({"_target_": name}, "_target_", FormatError) for name in (None, 1, ["os.system"], {"_target_": "os.system"})),
    *(({"a": {key: True}}, f"a.{key}", ConflictError) for key in ("_args_", "_partial_", "_recursive_", "_convert_")),
    ({**LINEAR, "_args_": "ab"}, "_args_", UntrustedError),
    ({**LINEAR, "_partial_": "yes"}, "_partial_", UntrustedError),
    ({**LINEAR, "_recursive_": False}, "_recursive_", UntrustedError),
    ({**LINEAR, "_convert_": "none"}, "_convert_", UntrustedError),
    (OrderedDict(_target_="os.system"), "_target_", UntrustedError),
    (types.MappingProxyType({"_target_": "os.system"}), "_target_", UntrustedError),
]


@each("node,field,kind", INVALID)
def test_error_for_an_invalid_node_names_the_key(node, field, kind):
    with refused(f"model.{field}", kind):
        check_targets(node, path="model")
    with refused(f"[1].{field}", kind):
        check_targets([1, node])


def test_every_registered_name_exists():
    for name in sorted(REGISTERED - TORCHMETRICS):
        assert callable(locate(name)), name


@pytest.mark.extra("torchmetrics")
def test_every_registered_name_of_torchmetrics_exists():
    import torchmetrics

    for name in sorted(TORCHMETRICS):
        metric_class = locate(name)
        assert isinstance(metric_class, type)
        assert issubclass(metric_class, (torchmetrics.Metric, torchmetrics.MetricCollection))


def test_metrics_that_do_not_return_a_number_need_trust():
    names = {name.rpartition(".")[2] for name in TORCHMETRICS}
    assert not {"ROC", "ConfusionMatrix", "MulticlassConfusionMatrix", "StatScores", "BERTScore", "MeanMetric"} & names


def test_torch_schedulers_without_function_arguments_are_registered():
    import torch.optim.lr_scheduler as module

    others = {*"LambdaLR MultiplicativeLR SequentialLR ChainedScheduler LRScheduler _LRScheduler".split()}
    assert {name.rpartition(".")[2] for name in TORCH_SCHEDULERS} == {*module.__all__} - others


# -- trust


@pytest.mark.parametrize(
    "name",
    ["os", "builtins", "subprocess", "os.path", "torch", "numpy", "hydra", "", "*", "a.*", "a b", "a/b", "a..b", 3],
)
def test_trust_in_an_invalid_name_or_a_large_library_is_refused(name):
    with refused("trust"):
        check_trust([name])


@pytest.fixture
def my_package(tmp_path, monkeypatch):
    """A user's package that imports dangerous names, as every package does."""
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import os, subprocess, functools\n"
        "import torch\n"
        "from os import system\n"
        "from pickle import loads as restore\n"
        "from my_package.nets import Net, make\n"
        "from torch.nn import Linear\n"
        "from collections import OrderedDict\n"
        "shell = functools.partial(os.system, 'true')\n"
        "table = {}\n"
    )
    (folder / "nets.py").write_text(
        "import sys\n"
        "class Net:\n"
        "    def __init__(self, width=1, parts=()):\n        self.width, self.parts = width, parts\n"
        "    @classmethod\n    def wide(cls):\n        return cls(100)\n"
        "    class Inner:\n        pass\n"
        "def make(width):\n    return Net(width)\n"
        "def broken():\n    raise TypeError('mine')\n"
        "import json\ndef unread():\n    json.loads('{')\n"
    )
    (folder / "unready.py").write_text("import not_installed_anywhere\n")
    (folder / "invalid.py").write_text("def x(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_package"
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def test_target_that_a_trusted_package_imports_from_elsewhere_is_refused(my_package):
    doors = """os.system subprocess.Popen system restore torch.load torch.hub.load shell nets.sys.exit OrderedDict
    nets.sys.modules Net.__init__ Net.__init__.__globals__ nets make.__globals__ table functools.partial Linear"""
    for name in doors.split():
        with pytest.raises(InputError):
            locate(f"{my_package}.{name}", [my_package])


def test_target_that_a_trusted_package_defines_is_found(my_package):
    trust = [my_package]
    assert instantiate({"_target_": "my_package.Net", "width": 3}, trust).width == 3
    assert instantiate({"_target_": "my_package.nets.make", "width": 3}, trust).width == 3
    assert instantiate({"_target_": "my_package.nets.Net.wide"}, trust).width == 100
    assert locate("my_package.nets.Net.Inner", trust).__name__ == "Inner"


def test_trust_in_one_name_does_not_cover_another_name(my_package):
    assert locate("my_package.Net", ["my_package.Net"]).__name__ == "Net"
    with refused("_target_", UntrustedError):
        locate("my_package.make", ["my_package.Net"])
    # A prefix must match whole names.
    with refused("_target_", UntrustedError):
        locate("my_package.Network", ["my_package.Net"])


def test_reexported_name_needs_trust_in_the_original_name(my_package):
    with refused("_target_", UntrustedError) as info:
        locate("my_package.Linear", ["my_package"])
    assert "trust=[my_package,torch.nn.modules.linear]" in info.value.fix
    assert locate("my_package.Linear", ["my_package", "torch.nn.modules.linear"]).__name__ == "Linear"
    with refused("_target_", UntrustedError, match="cannot use the standard library"):
        locate("my_package.OrderedDict", ["my_package"])


@pytest.mark.parametrize(
    "name", ["not_there.Net", "my_package.Nett", "my_package.nets.Nett", "my_package.nowhere.Net", "my_package"]
)
def test_target_that_does_not_exist_is_refused(my_package, name):
    with refused("model._target_"):
        locate(name, ["my_package", "not_there"], "model._target_")


def test_error_names_a_trusted_folder_without_an_init_file(tmp_path, monkeypatch):
    (tmp_path / "outer_lab/outer_lab").mkdir(parents=True)
    (tmp_path / "outer_lab/outer_lab/__init__.py").write_text("Net = dict\n")
    monkeypatch.syspath_prepend(tmp_path)  # Python imports the outer folder as a namespace package
    with refused("_target_", UnknownNameError, match="outer_lab has no __init__.py"):
        locate("outer_lab.Net", ["outer_lab"])


UNREADY = "ModuleNotFoundError: No module named 'not_installed_anywhere' (unready.py, line 1)"
OWN_ERRORS = [
    ("nets.broken", "model.parts (my_package.nets.broken): TypeError: mine (nets.py, line 13)", TypeError),
    ("nets.unread", "model.parts (my_package.nets.unread): JSONDecodeError: * (nets.py, line 16)", ValueError),
    ("unready.Net", f"model.parts._target_ (my_package.unready.Net): {UNREADY}", ModuleNotFoundError),
    ("invalid.Net", "model.parts._target_ (my_package.invalid.Net): SyntaxError: * (invalid.py, line 1)", SyntaxError),
]


@each("target,message,cause", OWN_ERRORS)
def test_error_of_user_code_names_the_config_key_the_target_and_the_line(my_package, target, message, cause):
    # A line of the standard library, here of json and importlib, would not help the user.
    node = {"_target_": "my_package.Net", "parts": {"_target_": f"my_package.{target}"}}
    with pytest.raises(UserCodeError) as caught:
        instantiate(node, [my_package], "model")
    assert fnmatchcase(str(caught.value), message)
    assert isinstance(caught.value.__cause__, cause)


# -- making


def test_targets_within_lists_and_mappings_are_instantiated():
    scheduler = instantiate(
        {
            "_target_": "ssr_hydra.schedulers.ProductScheduler",
            "factors": {
                "a": {"_target_": "ssr_hydra.schedulers.LinearScheduler"},
                "b": {"_target_": "ssr_hydra.schedulers.StepScheduler", "step_size": "2ep"},
            },
        }
    )
    assert scheduler == ProductScheduler({"a": LinearScheduler(), "b": StepScheduler("2ep")})
    plain = instantiate({"a": [1, {"b": (2, 3)}], 4: None})
    assert plain == {"a": [1, {"b": [2, 3]}], 4: None}
    assert (type(plain["a"]), type(plain["a"][1])) == (list, dict)


def test_positional_arguments_and_partial_are_supported():
    layer = instantiate({"_target_": "torch.nn.Linear", "_args_": [3, 2], "bias": False})
    assert (layer.in_features, layer.out_features, layer.bias) == (3, 2, None)
    net = instantiate({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]})
    assert len(net) == 1
    partial = instantiate({"_target_": "torch.nn.Linear", "_partial_": True, "bias": False}, in_features=2)
    assert isinstance(partial, functools.partial)
    assert partial.keywords == {"bias": False, "in_features": 2}


def test_errors_name_the_config_key():
    node = {"factors": {"decay": {"_target_": "ssr_hydra.schedulers.StepScheduler", "step_size": "2"}}}
    with refused("scheduler.factors.decay.step_size", FormatError):
        instantiate({"_target_": "ssr_hydra.schedulers.ProductScheduler", **node}, path="scheduler")


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": "torch.nn.Linear", "widht": 1}, "in_features, out_features"),
        ({"_target_": "torch.nn.Linear"}, "missing"),
        ({"_target_": "torch.nn.Linear", "_args_": [1, 2, True, None, None, 7]}, "too many positional"),
        ({"_target_": "ssr_hydra.trainer.accuracy"}, "_partial_: true"),
    ],
)
def test_arguments_that_the_target_does_not_accept_are_refused(node, says):
    with refused("model._target_", WrongTypeError, match=says):
        instantiate(node, path="model")


def test_error_raised_by_torch_is_one_line():
    with refused("torch.nn.Conv2d", WrongTypeError):
        instantiate({"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 1, "groups": 2})
