"""``python -m ssr_hydra``: the same as ``ssr-train``."""

from ssr_hydra.app.main import run

if __name__ == "__main__":
    run()
