"""Shared prefixes: find the jobs of a sweep whose first steps are the same, and train these steps only once.

Needs no torch.
"""
