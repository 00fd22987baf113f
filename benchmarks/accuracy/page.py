"""A report as one page that needs no network: tables, plots, and structures to turn."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from benchmarks.accuracy.learning_curve import QUANTITIES, FitResult, curves, fits, over_seeds
from benchmarks.accuracy.table import notes, subject, table
from benchmarks.literature import MARKS, in_columns_unit
from schnetgeo.units import KCAL_MOL

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; padding: 0 1rem; max-width: 76rem;
  color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem;
  margin: 1rem 0 }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right }
td:nth-child(2), td.text { min-width: 8rem }
th:nth-child(-n+2), td:nth-child(-n+2), td.text { text-align: left }
th { cursor: pointer }
tfoot td { border: 0 }
tfoot span { display: inline-block; position: sticky; left: .6rem; white-space: normal;
  max-width: min(70rem, calc(100vw - 4rem)) }
.wide { overflow-x: auto }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
svg, canvas { max-width: 100%; height: auto }
svg text { font-size: 11px; fill: currentColor } svg .title { font-weight: 600; font-size: 13px }
canvas { box-sizing: border-box; border: 1px solid #ddd; cursor: grab; touch-action: pan-y }
figure { margin: 0 }
figcaption { font-size: .85rem; max-width: 360px }
"""
# the browser itself refuses whatever the page would load
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


def page(rows: list[dict], details: list[dict], title: str) -> str:
    """The report of a suite.

    Args:
        rows: of results.json.
        details: of each row, what `accuracy/details.py` gathers.
        title: head of the page.
    """
    drawn = [k for k, d in enumerate(details) if d]
    facts = {
        "rows": [details[k] for k in drawn],
        "curves": curves(rows),
        "elements": _elements(details),
        "kcal": KCAL_MOL,
    }
    # "<" would end the script element early
    content = json.dumps(facts, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    shown = max(drawn, key=lambda k: (rows[k]["steps"] > 0, k), default=None)
    choices = "".join(
        f"<option{' selected' * (k == shown)}>{escape(_name(rows[k]))}</option>" for k in drawn
    )
    foot = [f"{mark} {note}" for mark, note in notes(rows).items()]
    made = "".join(f"<p>{escape(text)}</p>\n" for text in dict.fromkeys(map(_machine, rows)))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{_table(*table(rows), foot)}
<p>Mean absolute errors on structures that were in neither training nor validation: energy per
structure, force per component. A click on a head sorts.</p>
{made}
{_seeds(rows)}{_curves(facts["curves"], fits(rows))}<h2>One row</h2>
<p><label>Row <select id="choice">{choices}</select></label></p>
<p id="options"></p>
<div class="plots" id="plots"></div>
<h3>Worst structures</h3>
<p>Arrows are forces, <span style="color:#1f4e9c">reference</span> and
<span style="color:#d6186f">predicted</span>. Drag or use the arrow keys to turn, the wheel to
zoom.</p>
<div class="plots" id="worst"></div>
{_published(rows)}<script type="application/json" id="data">{content}</script>
<script>{Path(__file__).with_name("page.js").read_text()}</script>
</body></html>
"""


def _seeds(rows: list[dict]) -> str:
    header, cells = over_seeds(rows)
    return f"<h2>Mean over seeds</h2>\n{_table(header, cells)}\n" if cells else ""


def _curves(drawn: list[dict], laws: list[FitResult]) -> str:
    if not drawn:
        return ""
    plots = '<h2>Learning curves</h2>\n<div class="plots" id="curves"></div>'
    return f"{plots}\n{_fits(laws)}\n"


def _fits(found: list[FitResult]) -> str:
    if not found:
        return "<p>Three training sizes or more give an exponent.</p>"
    header = ["subject", "model", "error", "α of error ∝ N^−α", "residual of ln error"]
    return _table(header, [
        [f.subject, f.model, QUANTITIES[f.quantity][0], f"{f.exponent:.3f}", f"{f.residual:.3f}"]
        for f in found
    ])  # fmt: skip


def _published(rows: list[dict]) -> str:
    header = ["subject", "model", "split", "quantity", "value", "unit", "in the table", "source",
              "how sure"]  # fmt: skip
    cells = {}
    for row in rows:
        for n in row["published"]:
            quantity, _ = QUANTITIES[n["quantity"]]
            line = [subject(row), n["model"], n["split"], quantity, f"{n['value']:g}", n["unit"]]
            cells[tuple([*line, f"{in_columns_unit(n):.4g}", n["source"], MARKS[n["mark"]]])] = None
    return f"<h2>Published values</h2>\n{_table(header, list(cells))}\n" if cells else ""


def _table(header: list[str], cells: list, foot: Sequence[str] = ()) -> str:
    head = "".join(f'<th tabindex="0">{escape(h)}</th>' for h in header)
    body = "\n".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in cells)
    below = "".join(
        f'<tr><td colspan="{len(header)}"><span>{escape(s)}</span></td></tr>' for s in foot
    )
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody><tfoot>{below}</tfoot></table></div>"
    )


def _cell(text: str) -> str:
    long = ' class="text"' if len(text) > 30 else ""
    return f"<td{long}>{escape(text)}</td>"


def _machine(row: dict) -> str:
    return "; ".join([row["hardware"], ", ".join(f"{k} {v}" for k, v in row["versions"].items())])


def _name(row: dict) -> str:
    return f"{subject(row)}, {row['model']}, {row['num_train']:,} training, seed {row['seed']}"


def _elements(details: list[dict]) -> dict[int, list]:
    """Symbol, covalent radius in Å and color of all elements that are drawn."""
    present = {z for d in details for w in d.get("worst", []) for z in w["z"]}
    for d in details:
        for name in ("by_element", "by_element_forces"):
            present |= {line[0] for line in d.get(name, [])}
    return {z: [chemical_symbols[z], float(covalent_radii[z]), _color(z)] for z in sorted(present)}


def _color(z: int) -> str:
    red, green, blue = (255 * jmol_colors[min(z, len(jmol_colors) - 1)]).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
