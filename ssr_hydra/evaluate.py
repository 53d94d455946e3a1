"""``python -m ssr_hydra.evaluate``: the same as ``ssr-evaluate``. See :mod:`ssr_hydra.app.evaluate`."""

from ssr_hydra.app.evaluate import Evaluation, evaluate, main

__all__ = ["Evaluation", "evaluate", "main"]

if __name__ == "__main__":
    main()
