"""The function :func:`evaluate`. ``python -m ssr_hydra.evaluate`` does the same as the command ``ssr-evaluate``."""

from ssr_hydra.app.evaluate import Evaluation, evaluate
from ssr_hydra.app.evaluate_command import main

__all__ = ["Evaluation", "evaluate", "main"]

if __name__ == "__main__":
    main()
