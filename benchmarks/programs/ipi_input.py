"""Input of i-PI for the dynamics of one structure."""

from pathlib import Path

import ase.io
from ase import Atoms

INPUT = """<simulation verbosity='quiet'>
  <output prefix='{folder}/i-pi'> </output>
  <total_steps> {steps} </total_steps>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'> <file mode='ase'> {start} </file> </initialize>
    <forces> <force forcefield='model'> </force> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  </system>
</simulation>
"""
DIRECT = """<ffdirect name='model'>
    <pes> {pes} </pes> {path} <batch_size> {batch} </batch_size>
    <parameters> {{ template: {start}, model: {model}, {more} }} </parameters>
  </ffdirect>"""
SOCKET = """<ffsocket name='model' mode='unix' pbc='False'> <address> {address} </address>
  </ffsocket>"""


def write_start(atoms: Atoms, folder: Path) -> Path:
    """A file with the structure, a molecule in a box so large that images do not meet."""
    atoms = atoms.copy()
    if not atoms.pbc.any():
        atoms.cell = [200.0] * 3
    atoms.calc = None
    atoms.set_pbc(atoms.pbc)
    path = folder / "start.xyz"
    ase.io.write(path, atoms, format="extxyz")
    return path


def direct(start: Path, model: Path, pes: str, path: str = "", batch: int = 1, more: str = "a: 0"):
    """A force field inside the process of i-PI: its own driver `pes`, or one of a file."""
    path = f"<pes_path> {path} </pes_path>" if path else ""
    return DIRECT.format(start=start, model=model, pes=pes, path=path, batch=batch, more=more)


def simulation(forcefield: str, start: Path, steps: int = 0, beads: int = 1) -> str:
    """The input: NVE at 300 K, or a ring polymer of several beads."""
    return INPUT.format(
        folder=start.parent, steps=steps, forcefield=forcefield, beads=beads, start=start
    )
