"""Sweeps: the Hydra sweeper that runs the jobs of a study."""
