"""Train an experiment: ``python train.py scheduler=cosine_warmup ssr=0.5``; ``python train.py --help``."""

from ssr_hydra.app.main import run

if __name__ == "__main__":
    run()
