"""From a composed config to objects: what is allowed, whether the values can be meant, and the making."""

from ssr_hydra.build.check import check
from ssr_hydra.build.targets import instantiate, locate

__all__ = ["check", "instantiate", "locate"]
