"""Draw learning-rate schedules without training: see ``python scripts/preview.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra.previews import main

if __name__ == "__main__":
    main()
