"""The state of every random number generator of a process, as tensors that a file can hold."""

import math
import random

import numpy
import torch


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Returns the state of the generators of Python, numpy, torch and `device`, by name."""
    _, python, python_gauss = random.getstate()
    _, key, position, has_gauss, gauss = numpy.random.get_state()
    state = {
        "python": torch.tensor(python, dtype=torch.int64),
        # Both generators draw normal numbers in pairs, and keep the second one for the next call.
        "python_gauss": torch.tensor(math.nan if python_gauss is None else python_gauss, dtype=torch.float64),
        "numpy": torch.tensor([*map(int, key), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device).cpu()
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Sets the generators to a state that `random_state` returned."""
    gauss = state["python_gauss"].item()
    random.setstate((3, tuple(state["python"].tolist()), None if math.isnan(gauss) else gauss))
    *key, position, has_gauss = state["numpy"].tolist()
    numpy.random.set_state(
        ("MT19937", numpy.array(key, dtype=numpy.uint32), position, has_gauss, state["numpy_gauss"].item())
    )
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"], device)
