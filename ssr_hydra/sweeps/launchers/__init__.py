"""Launchers start the jobs of a sweep, retry the ones that die, and record how each one ended."""
