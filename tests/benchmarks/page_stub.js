// Runs the script of a report without a browser: just enough of a document, and a canvas that
// notes where circles are drawn.
const fs = require("fs"), vm = require("vm");
const html = fs.readFileSync(process.argv[2], "utf8");
const scripts = [...html.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];
const json = scripts.find((s) => s[1].includes("application/json"))[2];
const elements = {}, circles = [];
function element(id) {
  const listeners = {};
  return elements[id] ||= {
    id, listeners, innerHTML: "", textContent: "", selectedIndex: 0, width: 360, height: 300,
    addEventListener: (name, f) => { listeners[name] = f; },
    getContext: () => new Proxy({}, {
      get: (_, name) => (...a) => { if (name === "arc") circles.push(a.slice(0, 2)); },
      set: () => true,
    }),
  };
}
element("data").textContent = json;
function table(cells) {
  const row = (line) => ({ cells: line.map((textContent) => ({ textContent })) });
  const rows = cells.map(row), head = element("head");
  return {
    head, dataset: {}, tHead: { rows: [{ cells: [head] }] },
    tBodies: [{ rows, appendChild: (r) => { rows.splice(rows.indexOf(r), 1); rows.push(r); } }],
  };
}
const numbers = table([["1,000"], [""], ["30"], ["200"]]);
const document = { getElementById: element, querySelectorAll: () => [numbers] };
const window = {};
vm.runInNewContext(scripts[scripts.length - 1][2], { document, window, console, isNaN });
const order = () => numbers.tBodies[0].rows.map((r) => r.cells[0].textContent);
const sorted = [0, 1].map(() => { numbers.head.listeners.click(); return order(); });
const written = () => elements.plots.innerHTML + element("curves").innerHTML + elements.worst.innerHTML;
const rows = JSON.parse(json).rows.map((_, k) => {
  elements.choice.selectedIndex = k;
  elements.choice.listeners.change();
  const count = (id) => (element(id).innerHTML.match(/<svg/g) || []).length;
  return { plots: count("plots"), curves: count("curves"), views: window.views.length,
    broken: /NaN|undefined|Infinity/.test(written()) };
});
circles.length = 0;
window.views[0].draw();
const start = circles.splice(0);
elements.view0.listeners.pointerdown({ clientX: 0, clientY: 0 });
elements.view0.listeners.pointermove({ clientX: 60, clientY: 30 });
const ticks = [...element("curves").innerHTML.matchAll(/middle">([\d,]+)</g)]
  .map((m) => m[1]);
console.log(JSON.stringify({ sorted, rows, ticks, start, turned: circles }));
if (process.argv[3]) fs.writeFileSync(process.argv[3], written());
