"""The server that forks warm processes, and the script that replaces ``python``. Tests use warm.py.

    python warm_server.py serve SOCKET              start the server; it ends when its standard input is closed
    python -I -S warm_server.py python SOCKET ...   start a warm process with the arguments of ``python``

Each connection to the socket is one process. The client sends the order and file descriptors, and the server sends the
process id and later the exit code. If the client closes the connection or is killed, the server kills the process.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

PRELOADED = (
    "torch._dynamo",  # optimizers and DDP import it
    "torch.distributed.fsdp",
    "hydra.main",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "rich.progress",
    "rich.table",
    "scipy.stats",
    "sklearn.datasets",
)
"""What the package imports when it is first needed; none of it starts a thread, which a fork would lose."""

AT_START = ("PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE")
"""Variables that are read only when Python starts."""

_FLAGS = {"-u": "PYTHONUNBUFFERED", "-B": "PYTHONDONTWRITEBYTECODE"}
"""Options that a variable stands for."""

_CHILDREN = "joblib."
"""Modules whose processes look at their parent, which is the server for a warm one."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)


def send_order(connection: socket.socket, order: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Request a process with copies of these file descriptors, numbered ``order["targets"]``."""
    body = json.dumps(order).encode()
    socket.send_fds(connection, [len(body).to_bytes(4, "big")], descriptors)
    connection.sendall(body)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process of the server. The process may not exist any more."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _receive_order(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    size, descriptors, _, _ = socket.recv_fds(connection, 4, 64)
    length, body = int.from_bytes(size, "big"), b""
    while len(body) < length and (part := connection.recv(length - len(body))):
        body += part
    return (json.loads(body), descriptors) if length and len(body) == length else None


# ---- the server


def serve(address: str) -> Callable[[], None]:
    """Fork a process for each connection. Return the function to run in a child, and None when the server ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)  # clients wait until the imports are done
    os.rename(f"{address}.new", address)  # rename it after listen, because an earlier client would be refused  # noqa: PTH104
    _preload()
    wakes, woken = socket.socketpair()
    wakes.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    clients: dict[int, socket.socket | None] = {}  # pid -> connection; None after the client closed it
    with selectors.DefaultSelector() as selector:
        for waits in (listener, woken, sys.stdin):
            selector.register(waits, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    for pid in clients:
                        os.kill(pid, signal.SIGKILL)
                    return lambda: None
                if key.fileobj is listener:
                    client, _ = listener.accept()
                    if (order := _receive_order(client)) is None:
                        client.close()
                        continue
                    if any(order[0]["env"].get(name) != os.environ.get(name) for name in AT_START):
                        _tell(client, pid=0)
                        client.close()
                        continue
                    pid = os.fork()
                    if pid == 0:
                        signal.set_wakeup_fd(-1)
                        for each in (listener, wakes, woken, client, *clients.values()):
                            if each is not None:
                                each.close()
                        return lambda: _become(*order)  # the loop has ended
                    for descriptor in order[1]:
                        os.close(descriptor)
                    clients[pid] = client
                    selector.register(client, selectors.EVENT_READ, data=pid)
                    _tell(client, pid=pid)
                elif key.fileobj is woken:
                    woken.recv(4096)
                    for pid, code in _ended():
                        if (client := clients.pop(pid)) is not None:
                            selector.unregister(client)
                            _tell(client, code=code)
                            client.close()
                elif key.data in clients:
                    selector.unregister(key.fileobj)
                    clients[key.data].close()
                    clients[key.data] = None
                    os.kill(key.data, signal.SIGKILL)


def _preload() -> None:
    import gc
    import importlib
    import pkgutil
    import threading

    import torch
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    import ssr_hydra
    import ssr_hydra.configs

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(ssr_hydra.__path__, "ssr_hydra."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    for name in PRELOADED:
        importlib.import_module(name)
    ssr_hydra.configs.register(ssr_hydra.configs.GROUPS)  # a second registration in a child changes nothing
    with initialize_config_dir(f"{ssr_hydra.__path__[0]}/conf", version_base="1.3"):
        compose("config", ["ssr=0.5", "scheduler=wsd"])  # the first composition fills the caches of the parser
    GlobalHydra.instance().clear()
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()  # otherwise a garbage collection in a child would copy all memory pages


def _tell(client: socket.socket, **what: int) -> None:
    with suppress(OSError):  # the client has closed the connection, and the loop handles this next
        client.sendall(json.dumps(what).encode() + b"\n")


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


# ---- its children


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Make this process equal to a new process of ``python`` with these arguments."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["session"]:
        os.setsid()
    _number(descriptors, order["targets"])
    os.chdir(order["cwd"])
    environment, searched = order["env"], os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    for name, limit in order["limits"].items():
        import resource

        number = getattr(resource, name)
        resource.setrlimit(number, (limit, resource.getrlimit(number)[1]))
    _open_standard_streams(environment.get("PYTHONIOENCODING", ""), bool(environment.get("PYTHONUNBUFFERED")))
    _forget()
    _set_threads(environment.get("OMP_NUM_THREADS", ""))
    sys.executable = order["executable"] or sys.executable
    sys.orig_argv = [sys.executable, *order["argv"]]
    own = [*environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.path[:] = list(filter(None, own)) + [each for each in sys.path[1:] if each not in searched]
    code = 1
    try:
        _execute(*order["argv"])
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error.code, int | None):
            print(error.code, file=sys.stderr)
    except BaseException as error:
        trace = _own(error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    _end(code)


def _end(code: int) -> None:
    """Exit like an interpreter, but without the slow cleanup of all modules."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):  # the output has no reader, or is closed
        code = code or 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _number(descriptors: list[int], targets: list[int]) -> None:
    """Move the file descriptors to their target numbers."""
    import fcntl

    above = max([2, *targets, *descriptors]) + 1
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, above) for each in descriptors]
    for each in descriptors:
        os.close(each)
    for each, target in zip(moved, targets, strict=True):
        os.dup2(each, target)
        os.close(each)
    for number in {0, 1, 2} - set(targets):
        os.close(number)


def _open_standard_streams(encoding: str, unbuffered: bool) -> None:
    """Replace the server's standard streams, which may have buffered text and use other file descriptors."""
    import io

    encoding, _, handler = encoding.partition(":")

    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if not _is_open(descriptor):
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
            continue
        raw = open(descriptor, f"{mode}b", 0, closefd=False)  # noqa: SIM115
        binary = io.BufferedReader(raw) if mode == "r" else raw if unbuffered else io.BufferedWriter(raw)
        lines = name == "stderr" or os.isatty(descriptor)
        errors = "backslashreplace" if name == "stderr" else handler or "strict"
        stream = io.TextIOWrapper(
            binary, encoding or "utf-8", errors, line_buffering=lines and mode == "w", write_through=unbuffered
        )
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _forget() -> None:
    """Reset values that an interpreter chooses at random or caches at its start."""
    import random
    import tempfile

    import numpy

    random.seed()
    numpy.random.seed()
    tempfile.tempdir = None
    sys.path_importer_cache.clear()


def _set_threads(number: str) -> None:
    """Set the number of threads, which torch reads only at import."""
    import torch

    torch.set_num_threads(int(number) if number.isdecimal() else os.cpu_count() or 1)


def _execute(first: str, *arguments: str) -> None:
    """Run ``-c code``, ``-m module`` or a script as the main program."""
    import runpy
    import types

    sys.modules["warm_server"] = sys.modules["__main__"]  # the child still calls functions of this module
    if first == "-m":
        name, *rest = arguments
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        sys.argv = [name, *rest]
        sys.modules.pop(name, None)  # otherwise runpy warns
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__dict__["__builtins__"] = __builtins__
    if first == "-c":
        source, *rest = arguments
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest]
        exec(compile(source, "<string>", "exec", dont_inherit=True), main.__dict__)
        return
    sys.path.insert(0, os.path.dirname(os.path.realpath(first)))  # noqa: PTH120
    sys.argv = [first, *arguments]
    main.__file__ = first
    with open(first, "rb") as file:  # noqa: PTH123
        source = file.read()
    exec(compile(source, first, "exec", dont_inherit=True), main.__dict__)


def _own(trace: Any) -> Any:
    """Print a traceback without the frames of this module."""
    while trace is not None and trace.tb_next is not None:
        if os.path.basename(trace.tb_frame.f_code.co_filename) not in (os.path.basename(__file__), "<frozen runpy>"):  # noqa: PTH119
            return trace
        trace = trace.tb_next
    return trace


# ---- the client of a shell


def python(address: str, arguments: list[str]) -> int:
    """Run a warm ``python`` with the descriptors, the environment and the working directory of this process."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    own = {connection.fileno()}
    numbers = sorted(int(each) for each in os.listdir("/dev/fd"))  # noqa: PTH208
    numbers = [each for each in numbers if each not in own and _is_open(each)]
    real, executable = os.environ.pop("WARM_REAL"), os.environ.pop("WARM_PYTHON")
    while arguments and arguments[0] in _FLAGS:
        os.environ[_FLAGS[arguments.pop(0)]] = "1"
    order = {
        "argv": arguments, "cwd": os.getcwd(), "env": dict(os.environ), "targets": numbers, "session": False,  # noqa: PTH109
        "limits": {}, "executable": executable,
    }  # fmt: skip
    pid = 0
    is_supported = bool(arguments) and (arguments[0] in ("-c", "-m") or not arguments[0].startswith("-"))
    if is_supported and not any(each.startswith(_CHILDREN) for each in arguments[1:2]):
        send_order(connection, order, numbers)
        lines = connection.makefile("r")
        pid = json.loads(lines.readline())["pid"]
    if not pid:
        os.execv(real, [real, *arguments])
    for number in numbers:
        if number > 2:  # otherwise a reader of the pipe would not see its end when the process ends
            os.close(number)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: send_signal(pid, number))
    code: int = json.loads(lines.readline())["code"]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    return code


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])()
    else:
        sys.exit(python(sys.argv[2], sys.argv[3:]))
