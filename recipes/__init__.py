"""SVI scripts: a recipe is a model, a guide, data, an objective and settings."""

from .recipe import Recipe

__all__ = ["Recipe"]
