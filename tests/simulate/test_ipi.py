"""Potentials in i-PI: its metatomic driver, ours, batches of beads, and a socket."""

import subprocess
import sys
import threading
import uuid

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.socketio import SocketIOCalculator

import schnetgeo as sg
from benchmarks.programs import ipi_input
from schnetgeo.simulate import ipi
from tests.engine.potentials import potential_of, rattled
from tests.export.test_flat_potential import covered


@pytest.mark.parametrize("beads", [1, 4])
@pytest.mark.parametrize("atoms", ["CH3CH2OH", "crystal"])
def test_our_driver_equals_the_calculator(atoms, beads, tmp_path, monkeypatch):
    """In a simulation of i-PI; several beads are one batch."""
    simulation = pytest.importorskip("ipi.engine.simulation", reason="pip install ipi")
    from ipi.utils.units import unit_to_user

    from schnetgeo.simulate import ipi_driver

    monkeypatch.chdir(tmp_path)
    atoms = rattled(bulk("Al", cubic=True) if atoms == "crystal" else atoms)
    potential = potential_of("PaiNN").eval()
    potential.save(tmp_path / "model.safetensors")
    start = ipi_input.write_start(atoms, tmp_path)
    forcefield = ipi_input.direct(
        start, tmp_path / "model.safetensors", "custom", ipi_driver.__file__, beads,
        "tolerance: 1e-8",
    )  # fmt: skip
    run = simulation.Simulation.load_from_xml(ipi_input.simulation(forcefield, start, 5, beads))
    result = run.syslist[0].forces
    atoms.calc = sg.Calculator(potential.tabulate(1e-8))
    energies = unit_to_user("energy", "electronvolt", np.array(result.pots))
    assert energies == pytest.approx([atoms.get_potential_energy()] * beads, abs=1e-6)
    forces = unit_to_user("force", "ev/ang", np.array(result.f)).reshape(beads, -1, 3)
    assert abs(forces - atoms.get_forces()).max() < 1e-6  # of positions with eight digits
    if atoms.pbc.any():
        virials = unit_to_user("energy", "electronvolt", np.array(result.virs))
        expected = np.triu(-atoms.get_stress(voigt=False) * atoms.get_volume())  # as i-PI keeps it
        assert abs(virials.reshape(beads, 3, 3) - expected).max() < 1e-6
    run.run(write_outputs=False)


def test_a_batch_equals_single_structures(tmp_path):
    pytest.importorskip("ipi", reason="pip install ipi")
    from schnetgeo.simulate.ipi_driver import Driver

    potential_of().eval().save(tmp_path / "model.safetensors")
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.0))
    atoms.write(tmp_path / "start.extxyz")
    driver = Driver(str(tmp_path / "start.extxyz"), str(tmp_path / "model.safetensors"))
    cells = [atoms.cell.array.T * 1.9 * (1 + 0.01 * k) for k in range(3)]
    positions = [atoms.positions * 1.9 + 0.05 * k for k in range(3)]
    for one, other in zip(
        driver.compute(cells, positions),
        map(driver.compute_structure, cells, positions),
        strict=True,
    ):
        for a, b in zip(one[:3], other[:3], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_the_client_serves_a_socket():
    """Of ASE, which speaks i-PI's protocol."""
    atoms, name = rattled(bulk("Al", cubic=True)), f"schnetgeo_{uuid.uuid4().hex[:8]}"
    potential = potential_of().eval()
    server = SocketIOCalculator(unixsocket=name, timeout=60)
    client = threading.Thread(target=ipi.run_client, args=(potential, atoms.copy()),
                              kwargs={"unixsocket": name})  # fmt: skip
    client.start()
    with server:
        results = atoms.copy()
        results.calc = server
        expected = atoms.copy()
        expected.calc = sg.Calculator(potential.tabulate())
        for _ in range(2):
            energy = expected.get_potential_energy()
            assert results.get_potential_energy() == pytest.approx(energy, abs=1e-7)
            assert abs(results.get_forces() - expected.get_forces()).max() < 1e-7
            assert abs(results.get_stress() - expected.get_stress()).max() < 1e-7
            for each in (results, expected):
                each.rattle(0.05, seed=7)
    client.join(30)
    assert not client.is_alive()


def test_nobody_listens():
    with pytest.raises(sg.InputError, match="no i-PI listens at /tmp/ipi_nobody"):
        ipi.run_client(potential_of().eval(), rattled("H2O"), unixsocket="nobody")


def test_unseen_elements_are_refused_before_anything_is_sent():
    with pytest.raises(sg.InputError, match=r"O \(z = 8\)"):
        ipi.run_client(covered(potential_of().eval(), 1), rattled("H2O"), unixsocket="nobody")


def test_the_path_of_the_driver_is_printed():
    pytest.importorskip("ipi", reason="pip install ipi")
    command = [sys.executable, "-m", "schnetgeo.simulate.ipi_driver"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("ipi_driver.py")
