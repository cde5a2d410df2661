// Pipelines as a graph: boxes by level, and a line from each repo to the pipelines that read it.

import { byId, element, panel } from "./dom.js";

/** The panel of the graph. `describe` says in words what stands in a pipeline's box. */
export function graph(sources, pipelines, describe) {
  const levels = new Map(sources.length ? [[0, sources.map(source)]] : []);
  for (const one of pipelines) {
    const box = element("li", { class: "node", "data-name": one.name }, describe(one), inputs(one.input));
    levels.set(one.level, [...(levels.get(one.level) ?? []), box]);
  }
  const lists = [...levels].map(([, boxes]) => element("ol", { class: "level" }, boxes));
  return panel("Pipelines", {}, element("div", { class: "graph", id: "graph" }, element("svg", { id: "lines", "aria-hidden": "true" }), lists));
}

function source({ name, kind, spec }) {
  return element(
    "li",
    { class: "node source", "data-name": name },
    element("p", {}, element("strong", {}, name)),
    element("p", { class: "quiet" }, kind === "cron" ? `ticks ${spec}` : "a repo of yours"),
  );
}

const COMBINED = { cross: "every pair of", union: "all of", join: "what matches of", group: "groups of" };

/** What a pipeline reads, as a list in a list where inputs are combined. */
function inputs(tree) {
  const lines = leavesAndLists(tree);
  return lines.length > 0 && element("div", { class: "reads" }, element("p", { class: "quiet" }, "reads"), element("ul", {}, lines));
}

function leavesAndLists(tree) {
  const lines = [];
  if (tree.pfs) lines.push(element("li", {}, leaf(tree.pfs)));
  if (tree.cron) lines.push(element("li", {}, `the ticks of ${tree.cron.name ?? tree.cron.repo}, ${tree.cron.spec}`));
  for (const [kind, words] of Object.entries(COMBINED))
    if (tree[kind]) lines.push(element("li", {}, `${words} (${kind})`, element("ul", {}, tree[kind].flatMap(leavesAndLists))));
  return lines;
}

function leaf(pfs) {
  const on = pfs.join_on ?? pfs.group_by;
  return [
    pfs.glob ? `${pfs.repo} ${pfs.glob}` : pfs.repo,
    pfs.branch && pfs.branch !== "master" && `branch ${pfs.branch}`,
    pfs.name && pfs.name !== pfs.repo && `as ${pfs.name}`,
    on && `by ${on}`,
    pfs.outer_join && "unmatched ones too",
    pfs.empty_files && "names only",
  ].filter(Boolean).join(", ");
}

/** Draws the lines, now and whenever the boxes move. */
export function drawLines(pipelines) {
  const draw = () => byId("lines").replaceChildren(...lines(pipelines));
  new ResizeObserver(draw).observe(byId("graph"));
  addEventListener("beforeprint", draw);
  draw();
}

function lines(pipelines) {
  const frame = byId("graph").getBoundingClientRect();
  const boxes = new Map();
  [...byId("graph").querySelectorAll(".level")].forEach((level, index) => {
    for (const node of level.children) boxes.set(node.dataset.name, placed(node.getBoundingClientRect(), frame, index));
  });
  byId("lines").setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const levels = [...boxes.values()];
  const isColumn = levels.every((box) => box.left === levels[0].left) && levels.length > 1;
  const edges = pipelines.flatMap((one) => one.reads.map((repo) => [boxes.get(repo), boxes.get(one.name)]));
  return edges.filter(([from, to]) => from && to && from !== to).flatMap(([from, to]) => (isColumn ? down(from, to) : across(from, to, levels)));
}

function placed(rect, frame, level) {
  const [left, top] = [rect.left - frame.left, rect.top - frame.top];
  return { level, left, top, right: left + rect.width, bottom: top + rect.height, middle: top + rect.height / 2, center: left + rect.width / 2 };
}

/** From left to right; one that passes over a level runs below all boxes, so that it crosses none. */
function across(from, to, boxes) {
  if (to.level - from.level === 1) {
    const half = (to.left - from.right) / 2;
    return line(`M${from.right} ${from.middle}C${from.right + half} ${from.middle} ${to.left - half} ${to.middle} ${to.left - 6} ${to.middle}`, to.left, to.middle, "h");
  }
  const below = Math.max(...boxes.map((box) => box.bottom)) + 16;
  return line(`M${from.center} ${from.bottom}V${below - 8}Q${from.center} ${below} ${from.center + 8} ${below}H${to.center - 8}Q${to.center} ${below} ${to.center} ${below - 8}V${to.bottom + 6}`, to.center, to.bottom, "up");
}

/** From top to bottom, where the page is narrow; one that passes over a box runs left of all. */
function down(from, to) {
  if (to.top > from.bottom && to.top - from.bottom < 64) return line(`M${from.center} ${from.bottom}V${to.top - 6}`, to.center, to.top, "v");
  const beside = from.left - 14;
  return line(`M${from.left} ${from.middle}H${beside + 8}Q${beside} ${from.middle} ${beside} ${from.middle + 8}V${to.middle - 8}Q${beside} ${to.middle} ${beside + 8} ${to.middle}H${to.left - 6}`, to.left, to.middle, "h");
}

const HEADS = { h: "l-7 -4v8z", v: "l-4 -7h8z", up: "l-4 7h8z" };

function line(path, x, y, head) {
  return [element("path", { class: "axis", d: path }), element("path", { class: "head", d: `M${x} ${y}${HEADS[head]}` })];
}
