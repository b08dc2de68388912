"""A recipe: model + guide + data + objective + settings, as `pyrometer fit` runs it."""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..inference.energy import BoundView, EnergyView
from ..inference.svi import Fit, fit
from ..inference.svi.augmentation import Augment

__all__ = ["Recipe", "find", "names", "settings_of", "typed_settings"]

ModelType = TypeVar("ModelType")
GuideType = TypeVar("GuideType")


@dataclass(frozen=True)
class Recipe:
    """What one training needs, and what is measured of it.

    A recipe file defines a function ``recipe(*, seed=0, ...) -> Recipe`` whose keyword arguments, with their types
    and defaults, are the settings that ``--set name=value`` changes.

    Attributes:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program with the same arguments.
        data: what ``pyrometer.fit`` trains on.
        held_out: the arguments of model and guide that energies and diagnoses are measured at: data not trained on.
        epochs: passes over the data.
        whole: the data share latents, so that the guide is that of all data together: ``held_out`` is then what it was
            trained on, and measured as a whole.
        validation: like ``held_out``, with the labels where there are any: data by which settings, temperatures and the
            names of classes are chosen, neither trained nor tested on.
        labels: true values of discrete latents at ``held_out``, which a diagnosis compares the guide with.
        objective, batch_size, augment, optimizer, schedule: as ``pyrometer.fit`` takes them.
        validate: metrics of (model, guide) after each epoch, on data that are neither trained nor tested on.
        score: metrics of (model, guide) at the end, on the test set; they go into ``summary.json``.
        pictures: figures by file name, drawn at the end from the recipe itself.
    """

    model: Callable
    guide: Callable
    data: Any
    held_out: Mapping[str, Tensor]
    epochs: int
    validation: Mapping[str, Tensor] | None = None
    labels: Mapping[str, Tensor] | None = None
    whole: bool = False
    objective: Any = None
    batch_size: int | Mapping[str, int | None] | None = 256
    augment: Augment | None = None
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None
    schedule: Callable[[float], float] | None = None
    validate: Callable[[Any, Any], Mapping[str, float]] | None = None
    score: Callable[[Any, Any], Mapping[str, float]] | None = None
    pictures: Mapping[str, Callable[["Recipe"], Figure]] | None = None

    def fit(self, epochs: int | None = None, **how: Any) -> Fit:
        """Trains model and guide in place, for so many epochs or the recipe's own; ``how`` is passed to ``fit``.

        With ``steps`` it is for so many steps instead.
        """
        if epochs is None and "steps" not in how:
            epochs = self.epochs
        return fit(
            self.model,
            self.guide,
            self.data,
            objective=self.objective,
            epochs=epochs,
            batch_size=self.batch_size,
            augment=self.augment,
            optimizer=self.optimizer,
            schedule=self.schedule,
            **{"on_epoch": self.validate, **how},
        )

    def view(self, count: int | None = None) -> BoundView:
        """The energy view of the model at the first ``count`` held-out data (all without)."""
        return EnergyView(self.model).bind(**self.first(count))

    def first(self, count: int | None = None) -> dict[str, Tensor]:
        """The first ``count`` held-out data; all without, and where the guide is that of all data."""
        return {name: value[: None if self.whole else count] for name, value in self.held_out.items()}

    def pair(self, model: type[ModelType], guide: type[GuideType], pictures: str) -> tuple[ModelType, GuideType]:
        """The model and the guide, which ``pictures`` need to be of these types.

        Raises:
            TypeError: if they are of others.
        """
        own: tuple[Any, Any] = self.model, self.guide
        if not isinstance(own[0], model) or not isinstance(own[1], guide):
            raise TypeError(
                f"recipe must have a {model.__name__} and a {guide.__name__} for its {pictures} to be drawn, got "
                f"{type(self.model).__name__} and {type(self.guide).__name__}; leave {pictures} out of the recipe."
            )
        return own


def names() -> list[str]:
    """The recipes that come with the package: the modules of this folder that define ``recipe``."""
    return sorted(name for name in _modules() if hasattr(_module(name), "recipe"))


def find(name: str) -> Callable[..., Recipe]:
    """The recipe function of a name, or of a user's own file.

    Raises:
        ValueError: if there is no recipe of that name, listing those there are, or the file defines none.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name not in _modules() or not hasattr(_module(name), "recipe"):
        raise ValueError(f"unknown recipe {name!r}; there are {', '.join(names())}, or pass a FILE.py of your own.")
    return _module(name).recipe


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(__package__ or "").__path__)]


def _module(name: str) -> Any:
    return importlib.import_module(f".{name}", __package__)


def settings_of(recipe: Callable[..., Recipe]) -> dict[str, inspect.Parameter]:
    """The settings of a recipe function: its keyword arguments."""
    return dict(inspect.signature(recipe).parameters)


def typed_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a recipe: those given, whose values may be text, and the defaults of the others.

    Raises:
        ValueError: if the recipe or a setting is unknown, or a text cannot be read as the default's type.
    """
    known = settings_of(find(name))
    for key in settings:
        if key not in known:
            raise ValueError(f"recipe {name!r} has no setting {key!r}; it has {', '.join(known)}.")
    return {key: _read(key, settings.get(key, known[key].default), known[key].default) for key in known}


def _read(key: str, value: Any, default: Any) -> Any:
    if not isinstance(value, str) or isinstance(default, str) or default is inspect.Parameter.empty:
        return value
    if isinstance(default, bool):
        if value.lower() not in ("true", "false"):
            raise ValueError(f"setting {key!r} must be true or false, got {value!r}.")
        return value.lower() == "true"
    try:
        return type(default)(value)
    except ValueError:
        raise ValueError(f"setting {key!r} must be of type {type(default).__name__}, got {value!r}.") from None


def _from_file(path: Path) -> Callable[..., Recipe]:
    if not path.is_file():
        raise ValueError(f"there is no recipe file {str(path)!r}; give the path of a Python file.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "recipe", None)):
        raise ValueError(f"{str(path)!r} must define a function recipe(*, seed=0, ...) -> pyrometer.Recipe.")
    return module.recipe
