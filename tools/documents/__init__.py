"""Runs the commands of README and docs as a reader does, and compares what they print with what the pages show.

CONTRIBUTING.md says how a page is written for this.
"""
