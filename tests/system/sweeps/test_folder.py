"""Two processes that claim folders of one study at the same time."""

from subprocess import PIPE

from warm import warm

from ssr_hydra.records import RunResult

CLAIM = """
import sys
from pathlib import Path
from subprocess import PIPE
from ssr_hydra.sweeps.folder import StudyFolder
from ssr_hydra.sweeps.heartbeat import Heartbeat
from ssr_hydra.sweeps.job_status import JobDescription
from ssr_hydra.records import RunResult
folder, names = StudyFolder(Path(sys.argv[1])), sys.argv[2].split(",")
sys.stdin.readline()
with Heartbeat(folder.sign):
    for start in range(0, len(names), 10):
        folder.open({"a": 1}, ["x"], {"c": "1"}, any_code=False)
        plan = folder.assign([((f"x={name}",), JobDescription(name, name)) for name in names[start:start + 10]])
        for job in plan.mine:
            assert not (job.folder / "result.json").exists()
            RunResult("completed", None, job.overrides[0], 1.0, "1ep", 0, 1, 1, 0, 1.0, 1.0).save(job.folder)
"""


def test_two_simultaneous_sweeps_get_different_folders(tmp_path):
    # Twice, two processes claim fifty jobs each, in batches of ten.
    for time in range(2):
        study = tmp_path / str(time)
        names = [[f"{side}{number}" for number in range(50)] for side in "ab"]
        processes = [
            warm.start("-c", CLAIM, str(study), ",".join(side), cwd=tmp_path, stdin=PIPE, stdout=None, stderr=None)
            for side in names
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait() for process in processes] == [0, 0]
        rows = [RunResult.load(path).name for path in study.glob("*/result.json")]
        assert len(rows) == 100
        assert set(rows) == {f"x={name}" for side in names for name in side}
        assert {path.parent.name for path in study.glob("*/result.json")} == {str(number) for number in range(100)}
