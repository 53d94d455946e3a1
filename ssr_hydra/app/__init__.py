"""The app: parse the command line, compose and check each job, then let Hydra run it."""
