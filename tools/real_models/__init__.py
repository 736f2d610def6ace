"""Packages of PyPI and npm that bring trained graphs: what their own pipelines make of photos, and what Ocelli makes of them.

Run by `make test-models`, as `real_models.run`.
"""
