"""The launcher ``hydra/launcher=processes``, and changes to the launchers of Hydra's plugins."""
