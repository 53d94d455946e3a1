"""``python -m ssr_hydra`` does the same as the command ``ssr-train``."""

from ssr_hydra.app.main import run

if __name__ == "__main__":
    run()
