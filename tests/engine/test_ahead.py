"""What a second process compiles is what the first one will call."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import molecule

import schnetgeo as sg
from schnetgeo.engine.numba import ahead
from schnetgeo.ops import symbols

SURPRISES = """
import ctypes, sys
from ase.build import molecule
import schnetgeo as sg
from schnetgeo.ops import symbols

original, surprises = symbols._compile_called, []

@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def called(place):
    surprises.append(symbols._places[place].name)
    original(place)

symbols._compile_called = called
model = getattr(sg, sys.argv[1])(channels=16, num_layers=1, num_basis=8, cutoff=3.0)
result = sg.Potential(model)(sg.from_ase(molecule("CH3OH")))
(result.energy.sum() + result.forces.square().sum()).backward()
print(surprises, sum(address.value is None for address in symbols._addresses.values()))
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("architecture", [sg.SchNet, sg.PaiNN])
def test_kernels_ahead_are_those_of_a_training_step(architecture, dtype):
    model = architecture(channels=16, num_layers=1, num_basis=8, cutoff=3.0).to(dtype)
    result = sg.Potential(model)(sg.from_ase(molecule("CH3OH")))
    (result.energy.sum() + result.forces.square().sum()).backward()
    prediction, training = ahead.symbols(np.dtype(str(dtype).removeprefix("torch.")))
    for symbol in prediction + training:
        assert symbols._addresses[symbol.name].value, symbol.function


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["SchNet", "PaiNN"])
def test_what_a_model_calls_is_expected_and_some_other_functions_are_not(architecture):
    command = [sys.executable, "-c", SURPRISES, architecture]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    surprises, uncompiled = done.stdout.rsplit(maxsplit=1)
    assert surprises == "[]"
    assert int(uncompiled) > 0


def test_functions_that_may_not_be_called_exist():
    """A path with a mistake would be compiled for every program."""
    program = sg.engine.lowering.lower.lower(sg.SchNet(channels=8)).program
    assert ahead.functions_called(program).keys() <= symbols._functions.keys()
