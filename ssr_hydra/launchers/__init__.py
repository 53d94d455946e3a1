"""Launchers: what runs the jobs of a sweep, and what sees to it that all of them come to an end."""
