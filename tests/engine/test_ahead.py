"""What a second process compiles is what the first one will call."""

import numpy as np
import pytest
import torch
from ase.build import molecule

import schnetgeo as sg
from schnetgeo.engine.numba import ahead
from schnetgeo.ops import symbols


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("architecture", [sg.SchNet, sg.PaiNN])
def test_kernels_ahead_are_those_of_a_training_step(architecture, dtype):
    model = architecture(channels=16, num_layers=1, num_basis=8, cutoff=3.0).to(dtype)
    result = sg.Potential(model)(sg.from_ase(molecule("CH3OH")))
    (result.energy.sum() + result.forces.square().sum()).backward()
    prediction, training = ahead.symbols(np.dtype(str(dtype).removeprefix("torch.")))
    for symbol in prediction + training:
        assert symbols._addresses[symbol.name].value, symbol.function
