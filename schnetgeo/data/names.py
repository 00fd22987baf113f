"""Names of fields, which come out of files and become attributes and file names."""

from schnetgeo.data.structure import GRAPH, Structure
from schnetgeo.errors import InputError

_LONGEST = 100  # characters; file systems end at 255 bytes
_FIELDS = (
    "pos",
    "x",
    "y",
    "time",
    "edge_attr",
    "edge_weight",
    *GRAPH,
)  # that PyG has as properties


def check_name(name: object, where: str) -> None:
    """Raise `InputError` unless a field of a structure may have this name.

    Every data set and every store asks here, so no reader can forget to. A name consists of
    letters, digits and _, begins with a letter, and is none of what each structure has anyway: it
    becomes an attribute of a `Structure` and the name of a file in a store.

    Args:
        name: what a file calls a column, array or property.
        where: the file, for the message.
    """
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        raise InputError(
            f"{where}: {name!r:.60} cannot be the name of a field, which has letters, digits and _ "
            "and begins with a letter; rename it in the file or leave it out"
        )
    if len(name) > _LONGEST:
        raise InputError(
            f"{where}: a field has a name of {len(name)} characters, {name[:20]}…, more than "
            f"{_LONGEST}; rename it in the file or leave it out"
        )
    if name in ("self", "ptr") or (hasattr(Structure, name) and name not in _FIELDS):
        raise InputError(
            f"{where}: a field cannot be called {name!r}, which every PyG Data has already; rename "
            "it in the file or leave it out"
        )
