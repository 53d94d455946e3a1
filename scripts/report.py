"""Report on a study: see ``python scripts/report.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra.report import main

if __name__ == "__main__":
    main()
