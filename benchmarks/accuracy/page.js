"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const COLORS = ["#1f4e9c", "#d6186f", "#0b7a55", "#b35c00", "#6a3fa0", "#555555"];
const text = (s) => String(s).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const short = (v) => (v === 0 ? "0" : Number(v.toPrecision(3)).toString());

// ---- tables: a click on a head sorts, a second one the other way round
function sortTable(table, column) {
  const body = table.tBodies[0], rows = [...body.rows];
  const up = table.dataset.sorted !== `${column} up`;
  table.dataset.sorted = `${column} ${up ? "up" : "down"}`;
  const key = (row) => row.cells[column].textContent.replace(/,/g, "").trim();
  rows.sort((a, b) => {
    const [s, t] = [key(a), key(b)], [x, y] = [parseFloat(s), parseFloat(t)];
    if (!s || !t) return (s ? 0 : 1) - (t ? 0 : 1); // empty cells stay below
    const order = isNaN(x) || isNaN(y) ? s.localeCompare(t) : x - y;
    return up ? order : -order;
  });
  rows.forEach((row) => body.appendChild(row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, k) => {
    cell.addEventListener("click", () => sortTable(table, k));
    cell.addEventListener("keydown", (e) => { if (e.key === "Enter") sortTable(table, k); });
  });
}

// ---- plots: strings of SVG
const W = 380, H = 290, LEFT = 62, BOTTOM = 44, TOP = 28, RIGHT = 12;
function rounded(low, high, log) {
  const found = [], step = 10 ** Math.floor(Math.log10((high - low) / 3)), nice = [1, 2, 5].map((m) => m * step);
  const by = nice.find((v) => (high - low) / v < 6) || 10 * step;
  if (log) {
    for (let k = Math.floor(low); k <= high; k++) for (const m of [1, 2, 5]) found.push(Math.log10(m) + k);
    const within = found.filter((t) => t >= low && t <= high);
    if (within.length > 1) return within.length > 7 ? within.filter((t) => Number.isInteger(t)) : within;
    return rounded(10 ** low, 10 ** high).map(Math.log10);
  }
  for (let k = Math.ceil(low / by); k * by <= high; k++) found.push(k * by);
  return found;
}
function axis(values, log, from, to) {
  const f = log ? Math.log10 : (v) => v;
  let [low, high] = [Math.min(...values.map(f)), Math.max(...values.map(f))];
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  [low, high] = [low - pad, high + pad];
  const at = (v) => from + ((f(v) - low) / (high - low)) * (to - from);
  return { at, ticks: rounded(low, high, log).map((t) => (log ? 10 ** t : t)) };
}
// a tick at each size where there is room for its text, the largest always
function sizeTicks(sizes, at) {
  const chosen = [];
  for (const size of [...new Set(sizes)].sort((a, b) => b - a)) {
    if (!chosen.length || at(chosen[chosen.length - 1]) - at(size) > 46) chosen.push(size);
  }
  return chosen;
}
function frame(title, xlabel, ylabel, x, y, inside, names = []) {
  const height = H + 15 * names.length;
  inside += names.map((n, k) => `<text x="${LEFT}" y="${H + 7 + 15 * k}" style="fill:${COLORS[k % COLORS.length]}">${text(n)}</text>`).join("");
  const ticks =
    x.ticks.map((t) => `<text x="${x.at(t)}" y="${H - BOTTOM + 15}" text-anchor="middle">${x.label ? x.label(t) : short(t)}</text>`).join("") +
    y.ticks.map((t) => `<text x="${LEFT - 5}" y="${y.at(t) + 4}" text-anchor="end">${short(t)}</text>`).join("");
  return `<svg viewBox="0 0 ${W} ${height}" width="${W}" height="${height}" role="img" aria-label="${text(title)}">
<rect x="${LEFT}" y="${TOP}" width="${W - LEFT - RIGHT}" height="${H - TOP - BOTTOM}" fill="none" stroke="#999"/>
<text x="${LEFT}" y="17" class="title">${text(title)}</text>${ticks}
<text x="${(LEFT + W) / 2}" y="${H - 8}" text-anchor="middle">${text(xlabel)}</text>
<text x="13" y="${H / 2}" text-anchor="middle" transform="rotate(-90 13 ${H / 2})">${text(ylabel)}</text>${inside}</svg>`;
}
function plot(title, xlabel, ylabel, series, { sizes, logy, diagonal } = {}) {
  const points = series.flatMap((s) => s.points);
  if (!points.length) return "";
  const both = diagonal ? points.flat() : null;
  const x = axis(both || points.map((p) => p[0]), sizes, LEFT, W - RIGHT);
  if (sizes) Object.assign(x, { ticks: sizeTicks(points.map((p) => p[0]), x.at), label: (t) => t.toLocaleString("en") });
  const y = axis(both || points.map((p) => p[1]), logy, H - BOTTOM, TOP);
  let inside = "";
  if (diagonal) {
    const [a, b] = [Math.min(...both), Math.max(...both)];
    inside += `<line x1="${x.at(a)}" y1="${y.at(a)}" x2="${x.at(b)}" y2="${y.at(b)}" stroke="#999"/>`;
  }
  series.forEach((s, k) => {
    const color = COLORS[k % COLORS.length], at = s.points.map((p) => [x.at(p[0]).toFixed(1), y.at(p[1]).toFixed(1)]);
    if (s.line) inside += `<polyline points="${at.map((p) => p.join(",")).join(" ")}" fill="none" stroke="${color}"/>`;
    const r = s.line ? 3 : diagonal ? 1.6 : 4;
    inside += at.map((p) => `<circle cx="${p[0]}" cy="${p[1]}" r="${r}" fill="${color}" fill-opacity="0.7"/>`).join("");
  });
  return frame(title, xlabel, ylabel, x, y, inside, series.map((s) => s.name).filter(Boolean));
}
function histogram(title, unit, part) {
  const n = part.histogram.length, most = Math.max(...part.histogram), step = (2 * part.edge) / n;
  const x = axis([-part.edge, part.edge], false, LEFT, W - RIGHT), y = axis([0, most], false, H - BOTTOM, TOP);
  const bars = part.histogram.map((c, k) => {
    const [a, b] = [x.at(-part.edge + k * step), x.at(-part.edge + (k + 1) * step)];
    return `<rect x="${a}" y="${y.at(c)}" width="${b - a}" height="${y.at(0) - y.at(c)}" fill="${COLORS[0]}"/>`;
  });
  return frame(title, `error, ${unit} (${part.outside} farther out)`, "number", x, y, bars.join(""));
}
function bars(title, unit, rows) {
  if (!rows || !rows.length) return "";
  const most = Math.max(...rows.map((r) => r[1])) || 1, height = 30 + 20 * rows.length;
  const lines = rows.map(([label, value, count], k) => {
    const y = 30 + 20 * k;
    return `<text x="50" y="${y + 12}" text-anchor="end">${text(label)}</text>
<rect x="56" y="${y}" width="${(170 * value) / most}" height="15" fill="${COLORS[0]}"/>
<text x="${62 + (170 * value) / most}" y="${y + 12}">${short(value)} (of ${count})</text>`;
  });
  return `<svg viewBox="0 0 ${W} ${height}" width="${W}" height="${height}" role="img" aria-label="${text(title)}">
<text x="8" y="17" class="title">${text(title)}, ${text(unit)}</text>${lines.join("")}</svg>`;
}

// ---- 3D: drag or arrow keys turn, the wheel zooms
class View {
  constructor(canvas, structure, elements) {
    Object.assign(this, { canvas, structure, elements, zoom: 1, turn: [[1, 0, 0], [0, 1, 0], [0, 0, 1]] });
    this.size = Math.max(1.5, ...structure.pos.map((p) => Math.hypot(...p))) + 1.5;
    this.longest = Math.max(1e-9, ...(structure.forces || []).flat().map((f) => Math.hypot(...f)));
    this.rotate(0.5, 0.4);
    let last = null;
    canvas.addEventListener("pointerdown", (e) => { last = [e.clientX, e.clientY]; });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointerleave", () => { last = null; });
    canvas.addEventListener("pointermove", (e) => {
      if (!last) return;
      this.rotate((e.clientX - last[0]) / 100, (e.clientY - last[1]) / 100);
      last = [e.clientX, e.clientY];
    });
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom *= Math.exp(-e.deltaY / 500); this.draw(); });
    canvas.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[e.key];
      if (by) { e.preventDefault(); this.rotate(...by); }
    });
  }
  rotate(dx, dy) {
    const [c, s, d, t] = [Math.cos(dx), Math.sin(dx), Math.cos(dy), Math.sin(dy)];
    const by = [[c, 0, s], [t * s, d, -t * c], [-d * s, t, d * c]];
    this.turn = by.map((row) => [0, 1, 2].map((k) => row.reduce((sum, v, j) => sum + v * this.turn[j][k], 0)));
    this.draw();
  }
  at(p) {
    const [x, y, z] = this.turn.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
    const unit = (this.zoom * this.canvas.width) / (2 * this.size);
    return [this.canvas.width / 2 + unit * x, this.canvas.height / 2 - unit * y, z, unit];
  }
  arrow(g, from, force, color) {
    const to = from.map((v, k) => v + (1.5 * force[k]) / this.longest), [x, y] = this.at(from), [u, v] = this.at(to);
    const angle = Math.atan2(v - y, u - x), tip = Math.min(8, Math.hypot(u - x, v - y));
    g.strokeStyle = g.fillStyle = color;
    g.lineWidth = 2.5;
    g.beginPath(); g.moveTo(x, y); g.lineTo(u, v); g.stroke();
    g.beginPath(); g.moveTo(u, v);
    for (const side of [2.7, -2.7]) g.lineTo(u + tip * Math.cos(angle + side), v + tip * Math.sin(angle + side));
    g.fill();
  }
  draw() {
    const g = this.canvas.getContext("2d"), { z, pos, forces } = this.structure, parts = [];
    g.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const look = z.map((n) => this.elements[n]), at = pos.map((p) => this.at(p));
    for (let i = 0; i < z.length; i++) {
      parts.push([at[i][2], () => {
        const r = at[i][3] * look[i][1] * 0.5;
        g.fillStyle = look[i][2]; g.strokeStyle = "#333"; g.lineWidth = 1;
        g.beginPath(); g.arc(at[i][0], at[i][1], r, 0, 7); g.fill(); g.stroke();
      }]);
      for (let j = 0; j < i; j++) {
        const d = Math.hypot(...pos[i].map((v, k) => v - pos[j][k]));
        if (d < 1.25 * (look[i][1] + look[j][1])) parts.push([Math.min(at[i][2], at[j][2]) - 0.01, () => {
          g.strokeStyle = "#888"; g.lineWidth = at[i][3] * 0.12;
          g.beginPath(); g.moveTo(at[i][0], at[i][1]); g.lineTo(at[j][0], at[j][1]); g.stroke();
        }]);
      }
    }
    parts.sort((a, b) => a[0] - b[0]).forEach((part) => part[1]());
    (forces || []).forEach((set, k) => set.forEach((f, i) => this.arrow(g, pos[i], f, COLORS[k])));
  }
}

// ---- the page
if (data.curves.length) document.getElementById("curves").innerHTML = data.curves
  .map((c) => plot(c.title, "training structures", c.unit, c.series, { sizes: true, logy: true })).join("");
function showRow(index) {
  const d = data.rows[index], unit = d.unit, force = `${unit}/Å`, parts = [];
  document.getElementById("options").textContent = d.options || "";
  const named = (rows) => rows && rows.map(([z, ...rest]) => [data.elements[z][0], ...rest]);
  if (d.energy) {
    parts.push(plot("Energies less composition", `reference, ${unit}`, `predicted, ${unit}`, [{ points: d.energy.points }], { diagonal: true }));
    parts.push(histogram("Errors of energies", unit, d.energy));
  }
  if (d.forces) {
    parts.push(plot("Force components", `reference, ${force}`, `predicted, ${force}`, [{ points: d.forces.points }], { diagonal: true }));
    parts.push(histogram("Errors of force components", force, d.forces));
  }
  const steps = (d.history || []), names = [["val_energy_mae_kcal_mol", "Energy on validation structures", unit], ["val_force_mae_kcal_mol_A", "Forces on validation structures", force]];
  for (const [key, title, of] of names) {
    const points = steps.filter((s) => s[key] > 0).map((s) => [s.step, s[key] * (unit === "kcal/mol" ? 1 : data.kcal)]);
    if (points.length > 1) parts.push(plot(title, "step", `MAE, ${of}`, [{ points, line: true }], { logy: true }));
  }
  parts.push(bars("Energy MAE with an element", unit, named(d.by_element)));
  parts.push(bars("Energy MAE by number of atoms", unit, d.by_size));
  parts.push(bars("Force MAE by element", force, named(d.by_element_forces)));
  document.getElementById("plots").innerHTML = parts.join("") || "<p>This model diverged: there is nothing to draw.</p>";
  const worst = document.getElementById("worst");
  worst.innerHTML = (d.worst || []).map((w, k) => `<figure><canvas id="view${k}" width="360" height="300" tabindex="0"
aria-label="structure ${w.index}, drag to turn"></canvas><figcaption>Structure ${w.index} of the data${
    w.energy_error === undefined ? "" : `, energy off by ${short(w.energy_error)} ${text(unit)}`}${
    w.forces ? `, forces by ${short(w.error)} ${text(force)} on average` : ""}</figcaption></figure>`).join("");
  window.views = (d.worst || []).map((w, k) => new View(document.getElementById(`view${k}`), w, data.elements));
}
const choice = document.getElementById("choice");
choice.addEventListener("change", () => showRow(choice.selectedIndex));
showRow(choice.selectedIndex);
