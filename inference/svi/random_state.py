"""The random state of a process: torch's (every device), numpy's and Python's, as plain types and tensors."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch

__all__ = ["default_generators", "get_random_state", "noise_state", "preserved_random_state", "set_random_state"]


def get_random_state() -> dict[str, Any]:
    """The state, in a form that ``torch.load(..., weights_only=True)`` reads back."""
    algorithm, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the global generator is meant
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [str(algorithm), torch.from_numpy(np.array(keys)), int(position), int(has_gauss), float(cached)],
        "python": [version, torch.tensor(words, device="cpu"), gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put a state of :func:`get_random_state` back."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    algorithm, keys, *rest = state["numpy"]
    np.random.set_state((algorithm, keys.numpy(), *rest))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))


def default_generators(device: torch.device) -> list[torch.Generator]:
    """Torch's global generators from which a program on the device may draw; their states are cheap to get."""
    on_device = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *on_device]


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Whatever is drawn inside, the random state afterwards is what it was before."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)


def noise_state(seed: int, rank: int, step: int = 0) -> dict[str, Any]:
    """The random state with which process ``rank`` begins at a step, unlike that of any other seed, process or step."""
    digest = hashlib.blake2b(f"{seed}/process {rank}/{step}".encode(), digest_size=4).digest()
    with preserved_random_state():
        pyro.set_rng_seed(int.from_bytes(digest, "big"))
        return get_random_state()
