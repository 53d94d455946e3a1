"""Write the files of a report into a folder."""

from __future__ import annotations

import json
from pathlib import Path

from ssr_hydra.drawing import render
from ssr_hydra.errors import PathError
from ssr_hydra.files import read_bounded, write_atomically
from ssr_hydra.report.content import Content
from ssr_hydra.report.exports import as_json, as_latex, as_markdown, runs_csv, table_csv
from ssr_hydra.report.figures import NAMES, figures
from ssr_hydra.report.page import page
from ssr_hydra.report.tables import main_table
from ssr_hydra.studies.study import Study

_MOST_BYTES = 256 << 20


def looks_at(study: Study, folder: str | Path) -> int:
    """Return the number of reports written into a folder while the study grew, including the next report.

    The next report counts only if the number of completed runs has changed since the last report.
    """
    try:
        earlier = json.loads(read_bounded(Path(folder) / "report.json", _MOST_BYTES))
        looks, completed = int(earlier.get("looks", 1)), int(earlier["totals"]["completed"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 1
    runs = sum(study.summarized.get(index, (1,))[0] for index in study.completed.index)
    return max(looks, 1) + (completed != runs)


def report_folder(study: Path) -> Path:
    """Return the default folder of a study's report. Refuse a link: in a study from elsewhere, it may lead anywhere."""
    folder = study / "report"
    for path in (folder, folder / "figures"):
        if path.is_symlink():
            rule = f"must not be a link (got a link to {path.readlink()})"
            raise PathError("--out", str(path), rule, "remove the link, or run ssr-report with --out DIR")
    return folder


def write(content: Content, folder: str | Path) -> list[Path]:
    """Write the page, figures, tables and JSON of a report. The same records always give files with the same bytes.

    Args:
        content: The result of :func:`build`.
        folder: The output folder, created if it does not exist. Files of an earlier report are replaced atomically.
            Figures that only the earlier report has are removed.

    Returns:
        The paths of the files, the page first.

    Raises:
        OSError: A file cannot be written.

    Example:
        >>> from ssr_hydra.studies import load
        >>> write(build(load("studies/digits")), "studies/digits/report")  # doctest: +SKIP
    """
    target = Path(folder)
    images = {
        f"figures/{name}.{kind}": render(figure, kind)
        for name, figure in figures(content).items()
        for kind in ("png", "svg")
    }
    texts = {
        "report.html": page(content, images["figures/frontier.svg"]),
        "table.md": as_markdown(main_table(content)),
        "table.csv": table_csv(content),
        "table.tex": as_latex(content),
        "runs.csv": runs_csv(content),
        "report.json": as_json(content),
    }
    (target / "figures").mkdir(parents=True, exist_ok=True)
    for name in {f"figures/{name}.{kind}" for name in NAMES for kind in ("png", "svg")} - images.keys():
        (target / name).unlink(missing_ok=True)  # an earlier report may have this figure
    files: dict[str, str | bytes] = {**texts, **images}
    for name, file_content in files.items():
        write_atomically(target / name, file_content)
    return [target / name for name in files]
