"""How large a configuration is before it is built: some lines can stand for a billion values."""

import yaml

from schnetgeo.errors import InputError

_VALUES, _DEPTH = 10_000, 50


def check_yaml(text: str, path: object) -> None:
    """Raise `InputError` for more values than a configuration has, with aliases written out.

    Text that is no YAML passes; the parser says what is wrong with it.
    """
    sizes, anchors, values = [0], [], {}
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                anchors.append(event.anchor)
                sizes.append(1)
            elif isinstance(event, yaml.CollectionEndEvent):
                values[anchors.pop()] = size = sizes.pop()
                sizes[-1] += size
            elif isinstance(event, yaml.AliasEvent):  # of what has no end yet: of itself
                sizes[-1] += values.get(event.anchor, _VALUES)
            elif isinstance(event, yaml.ScalarEvent):
                values[event.anchor] = 1
                sizes[-1] += 1
            if sizes[-1] > _VALUES or len(sizes) > _DEPTH:
                raise InputError(
                    f"{path}: is no configuration: with its aliases (*name) written out it has "
                    f"more than {_VALUES:,} values, or {_DEPTH} levels; write them out yourself"
                )
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
