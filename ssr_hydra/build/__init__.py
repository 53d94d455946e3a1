"""From a composed config to objects: check targets and values, and create the objects."""

from ssr_hydra.build.check import check
from ssr_hydra.build.targets import instantiate, locate

__all__ = ["check", "instantiate", "locate"]
