"""``python -m ssr_hydra``: the same as ``ssr-train``."""

from ssr_hydra.train import main

if __name__ == "__main__":
    main()
