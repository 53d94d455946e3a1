"""Test that mypy infers the types of the public API."""

import re

import pytest


def test_type_checkers_know_the_names_and_arguments_of_schedulers(tmp_path):
    api = pytest.importorskip("mypy.api")
    file = tmp_path / "use.py"
    file.write_text(
        "from ssr_hydra import WarmupStableDecayScheduler\n"
        "from ssr_hydra.schedulers import RexScheduler, rex_scheduler\n"
        "from ssr_hydra.schedulers import RexSheduler\n"
        "from ssr_hydra.schedulers import rexx_scheduler\n"
        "rex_scheduler(None, alpha_f='x')\n"
        "rex_scheduler(None, 0.5, alpha_f=0.1)\n"
    )
    # These options make mypy skip other packages. To read them would take a minute.
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", f"--cache-dir={tmp_path}"]
    output, _, _ = api.run([*options, str(file)])
    errors = re.findall(rf"^{re.escape(str(file))}:(\d+): error: .*\[([a-z-]+)\]$", output, re.MULTILINE)
    assert errors == [("3", "attr-defined"), ("4", "attr-defined"), ("5", "arg-type")], output
