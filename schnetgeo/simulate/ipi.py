"""Potentials in i-PI: as a driver inside its process, or as a client at the end of a socket."""

from ase import Atoms
from ase.calculators.socketio import SocketClient

from schnetgeo.errors import InputError
from schnetgeo.simulate.step import Runnable, as_calculator, check_known


def run_client(
    potential: Runnable,
    atoms: Atoms,
    host: str = "localhost",
    port: int = 31415,
    unixsocket: str | None = None,
    stress: bool | None = None,
) -> None:
    """Serve the i-PI at a socket until it stops; so do other programs that speak its protocol.

    Args:
        potential: model file, `Potential`, tabulated one or `Calculator`, as `step.as_calculator`.
        atoms: elements in the order of i-PI, and `pbc`.
        host, port: of a TCP socket.
        unixsocket: name of a UNIX socket instead, as i-PI's `address`.
        stress: whether virials are sent; `None` is where a direction is periodic.

    Raises:
        InputError: if nobody listens there, for elements that the potential does not know, and as
            `Calculator`.
    """
    calculator = as_calculator(potential)
    check_known(calculator.potential, atoms.numbers)
    try:
        client = SocketClient(host=host, port=port, unixsocket=unixsocket)
    except OSError as error:
        where = f"/tmp/ipi_{unixsocket}" if unixsocket else f"{host}:{port}"
        raise InputError(
            f"no i-PI listens at {where} ({error.strerror or error}); start it first, with the "
            "same address and port in its <ffsocket>"
        ) from None
    atoms = atoms.copy()
    atoms.calc = calculator
    try:
        client.run(atoms, use_stress=stress)
    finally:
        client.close()
