"""Find the jobs of a sweep with the same first steps (a shared prefix), and train these steps only once.

The modules of this package do not import torch.
"""
