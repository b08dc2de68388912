"""Measuring and training: energies, SVI, diagnostics. Imports no model, guide, data set or recipe of ours."""

__all__: list[str] = []
