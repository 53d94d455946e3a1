"""Create the trainer of an experiment, and run it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ssr_hydra.app.check import check, check_schedule, known_dataloader_len
from ssr_hydra.app.check_task import check_built
from ssr_hydra.app.factory import make_callbacks, make_fields, make_optimizers, make_schedulers
from ssr_hydra.app.prefix import Prefix
from ssr_hydra.app.recording import hydra_run_dir, log, recorded, sweep_dir
from ssr_hydra.app.targets import check_trust, instantiate
from ssr_hydra.errors import InputError, MismatchError, within
from ssr_hydra.settings import CountSettings, StepSettings, keys_of
from ssr_hydra.trainer.processes import launched
from ssr_hydra.trainer.progress import announce, summary
from ssr_hydra.versions import code_version

if TYPE_CHECKING:
    from ssr_hydra.trainer import Trainer

# Settings that may differ between the processes of a run, such as the device and the paths of the data.
_ONE_PROCESS = (
    r"(name|debug|logger|resume\.path|trainer\.(device|threads|progress)|data\.(num_workers|prefetch_factor))(\.|$)"
    r"|data\.\w+\.(path|root|folder)$|data\.test$"
)

__all__ = ["build", "train"]


def train(
    cfg: DictConfig | Mapping[str, Any], trust: Iterable[str] | str = (), run_dir: str | Path | None = None
) -> float | None:
    """Run one experiment.

    Args:
        cfg: The composed experiment.
        trust: Modules, in addition to this package, whose classes and functions the config may name.
        run_dir: The folder for records. None means Hydra's output folder, or no records if Hydra does not run the job.

    Returns:
        The final value of ``trainer.objective``, which a sweeper can optimize; None if the objective is null.

    Raises:
        InputError: See :func:`ssr_hydra.app.check`.

    Example:
        >>> from hydra import compose, initialize_config_dir
        >>> from ssr_hydra.configs import GROUPS, conf_dir, register
        >>> register(GROUPS)
        >>> with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        ...     cfg = compose("config", ["scheduler=wsd", "ssr=0.5", "max_duration=20ba", "trainer.progress=none"])
        >>> 0 < train(cfg) < 1
        True
    """
    if run_dir is None:
        run_dir = hydra_run_dir()
    place = launched()
    is_main = place is None or place.rank == 0
    if is_main and hydra_run_dir() is not None:
        announce(cfg["trainer"]["progress"])
    prefix = Prefix.of(sweep_dir(), run_dir) if is_main else None
    if prefix is not None and not prefix.wait():
        return None
    with recorded(cfg, run_dir if is_main else None) as job:
        trust = check_trust(trust)
        values = check(cfg, trust)
        if prefix is not None:
            prefix.take(values, trust)
        trainer = _build(values, trust, run_dir)
        job.follow(trainer)
        if prefix is not None:
            prefix.follow(trainer)
        result = trainer.fit()
        if is_main and not job.pending.waits:
            log(logging.INFO, summary(result, None))
    objective = cfg["trainer"]["objective"]
    final = None if objective is None else result.metrics[objective]
    return None if final is None else float(final)


def build(
    cfg: DictConfig | Mapping[str, Any], trust: Iterable[str] | str = (), run_dir: str | Path | None = None
) -> Trainer:
    """Create the trainer of an experiment, ready to ``fit()``.

    The function also sets torch's number of threads, and seeds the global random generators of Python, NumPy and torch.

    Args:
        cfg: The composed experiment.
        trust: Modules, in addition to this package, whose classes and functions the config may name.
        run_dir: The folder for records; None to write no records.

    Raises:
        InputError: The config is invalid (see :func:`ssr_hydra.app.check`), or the data is invalid, e.g. empty.
    """
    trust = check_trust(trust)
    return _build(check(cfg, trust), trust, run_dir)


def _build(values: Mapping[str, Any], trust: tuple[str, ...], run_dir: str | Path | None) -> Trainer:
    import torch

    from ssr_hydra.data import known_length, make_loaders, seed_everything
    from ssr_hydra.trainer import Trainer
    from ssr_hydra.trainer.hardware import choose_device
    from ssr_hydra.trainer.parallel import shard
    from ssr_hydra.trainer.processes import Processes

    settings = dict(values["trainer"])
    threads = settings.pop("threads")
    if threads is not None:
        torch.set_num_threads(threads)
    processes = Processes.start()
    with within("trainer"):
        device = choose_device(settings["device"], processes)
    _check_processes(values, processes.world_size)
    processes.check_same(values, _ONE_PROCESS)

    # Seed before the data, and again before the model: creating the data must not change the model's initial weights.
    seed_everything(values["seed"])
    data = instantiate(values["data"], trust, "data")
    test = data.pop("test", None)
    place: dict[str, Any] = {"rank": processes.rank, "world_size": processes.world_size}
    place |= {"seed": values["seed"], "device": device}
    try:
        train_loader, eval_loader = make_loaders(**data, **place)
        test_loader = None if test is None else _test_loader(test, data, place)
    except InputError as error:
        field = error.field.removesuffix(".dataset")  # make_loaders' train.dataset is data.train in the config
        raise error.renamed(f"data.{field}") from None
    check_built(values, data["train"], data["eval"])
    # If the length of an epoch was unknown before the data was read, check the times of the schedule now.
    length = known_length(train_loader)
    if length != known_dataloader_len(values["data"]):
        check_schedule(values, dataloader_len=length)
    seed_everything(values["seed"])
    model = instantiate(values["model"], trust, "model").to(device)
    if settings["parallel"] == "fsdp":  # shard the model first, because the optimizer must hold the shards
        with within("trainer"):
            shard(model, processes, device)
    optimizers = make_optimizers(values, trust, model, device)
    hooks = ("loss", "metrics", "get_num_samples_in_batch", "get_num_tokens_in_batch")
    settings.update(instantiate({key: settings[key] for key in hooks}, trust, "trainer"))
    schedulers = make_schedulers(values, trust, optimizers)
    callbacks, loggers = make_callbacks(values, trust, processes.is_main)
    step, counts = keys_of(StepSettings, settings), keys_of(CountSettings, settings)
    settings = {key: value for key, value in settings.items() if key not in (*step, *counts)}
    try:
        trainer = Trainer(
            model=model,
            train_dataloader=train_loader,
            eval_dataloader=eval_loader,
            test_dataloader=test_loader,
            optimizers=optimizers,
            schedulers=schedulers,
            schedules=make_fields(values, trust),
            max_duration=values["max_duration"],
            ssr=values["ssr"],
            seed=values["seed"],
            name=values["name"] if values["debug"] is None else f"{values['name']} (debug={values['debug']})",
            run_dir=run_dir,
            config=values,
            callbacks=callbacks,
            loggers=loggers,
            step=step,
            counts=counts,
            checkpoint=values["checkpoint"],
            resume=values["resume"],
            control=values["control"],
            **settings,
        )
    except InputError as error:
        raise _as_configured(error, values["trainer"]) from None
    trainer.code = code_version(trust)
    return trainer


def _test_loader(test: Any, data: Mapping[str, Any], place: Mapping[str, Any]) -> Any:
    """Return the loader of the test data, with the settings of the evaluation loader. ``test`` may be a path."""
    from torch.utils.data import TensorDataset

    from ssr_hydra.data import make_loaders
    from ssr_hydra.data.splits import check_apart

    if isinstance(test, str):
        # Test images need the transforms of the evaluation data. If a table has no evaluation data (data.eval=null),
        # use its training data.
        test = (data["train"] if data["eval"] is None else data["eval"]).other(test)
    check_apart(data["train"], test, "test")
    if data["eval"] is not None:
        check_apart(data["eval"], test, "test", "evaluation data")
    size = data["eval_batch_size"]
    settings = {"batch_size": size, "eval_batch_size": size, "limit_train": data["limit_eval"], "shuffle": False}
    if not isinstance(test, TensorDataset):
        settings |= {key: data[key] for key in ("num_workers", "prefetch_factor")}
    try:
        return make_loaders(test, **settings, **place)[0]
    except InputError as error:
        field = "limit_eval" if error.field == "limit_train" else error.field.replace("train", "test", 1)
        raise error.renamed(field) from None


def _check_processes(values: Mapping[str, Any], world_size: int) -> None:
    from ssr_hydra.trainer.parallel import check_several

    if values["trainer"]["parallel"] == "fsdp":
        with within("trainer"):
            check_several(world_size)
    for key in ("batch_size", "eval_batch_size"):
        if values["data"][key] < world_size:
            rule = f"must be at least {world_size}, the number of processes"
            raise MismatchError(f"data.{key}", values["data"][key], rule, f"use {world_size} or more")


def _as_configured(error: InputError, settings: Mapping[str, Any]) -> InputError:
    """Replace the field in an error of ``Trainer`` by its path in the config."""
    first, _, rest = error.field.partition(".")
    if first in ("step", "counts"):
        return error.renamed(f"trainer.{rest}")
    if first in settings:
        return error.renamed(f"trainer.{error.field}")
    return error.renamed(re.sub(r"^(logger|optimizer|scheduler)s\b", r"\1", error.field))
