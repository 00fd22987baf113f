"""Tables of text, and the same content as JSON."""

import json

from schnetgeo.files import atomic_write


def print_and_write(lines: list[str], content: dict, path: str | None) -> None:
    print("\n".join(lines))
    if path:
        atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def format_value(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(rows: list[dict]) -> list[str]:
    """Columns of equal width under their names."""
    if not rows:
        return []
    cells = [list(rows[0]), *([format_value(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
