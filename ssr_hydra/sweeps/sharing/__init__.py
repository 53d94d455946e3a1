"""Shared prefixes: jobs of a sweep that train the same first steps, and which job trains them. Needs no torch."""
