// Drawings. Every one says in words what it shows.

import { element, count, percent } from "./dom.js";

/** A thin bar, filled to a share. */
export function gauge(share, label) {
  const filled = Math.max(0, Math.min(1, share)) * 100;
  return element(
    "svg",
    { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": label ?? percent(share, 0) },
    element("rect", { class: "track", width: 100, height: 10 }),
    element("rect", { class: "bar", width: filled, height: 10 }),
  );
}

/** Bars of a histogram over 0..1; those outside of low..high are drawn fainter by `shade`. */
export function histogram(bins, what) {
  const most = Math.max(1, ...bins);
  const width = 100 / bins.length;
  const bars = bins.map((rows, index) => {
    const height = rows ? Math.max(1.5, (38 * rows) / most) : 0;
    const label = `${percent(index / bins.length, 0)} to ${percent((index + 1) / bins.length, 0)}: ${count(rows)}`;
    return element("rect", { class: "bar", x: index * width + 0.4, y: 40 - height, width: width - 0.8, height }, element("title", {}, label));
  });
  const label = `Rows by ${what}, from 0% to 100%: ${bins.map(count).join(", ")}`;
  return element("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label }, bars);
}

/** Shades the bars of a histogram that lie outside of a range. */
export function shade(chart, low, high) {
  const bars = chart.querySelectorAll("rect");
  bars.forEach((bar, index) => {
    const middle = (index + 0.5) / bars.length;
    bar.classList.toggle("outside", middle < low || middle > high);
  });
}

/** How often answers are right, by how sure they are: on the diagonal where a confidence means what it says. */
export function reliability(points, measure) {
  const side = 190;
  const left = 34;
  const top = 8;
  const at = (share) => Math.max(0, Math.min(1, share)) * side;
  const most = Math.max(...points.map((point) => point.rows));
  const words = points.map((point) => `${percent(point.confidence, 0)} sure, ${percent(point.exact, 0)} right, ${count(point.rows)} rows`);
  const ticks = [0, 0.5, 1].flatMap((share) => [
    element("text", { x: left + at(share), y: top + side + 15, "text-anchor": "middle" }, percent(share, 0)),
    element("text", { x: left - 5, y: top + side - at(share) + 4, "text-anchor": "end" }, percent(share, 0)),
  ]);
  return element(
    "svg",
    { viewBox: `0 0 ${left + side + 20} ${top + side + 34}`, role: "img", "aria-label": `Right answers by ${measure}: ${words.join("; ")}` },
    element("path", { class: "axis", d: `M${left} ${top}V${top + side}H${left + side}` }),
    element("path", { class: "axis perfect", d: `M${left} ${top + side}L${left + side} ${top}` }),
    ticks,
    element("text", { x: left + side / 2, y: top + side + 30, "text-anchor": "middle" }, measure),
    points.map((point, index) =>
      element(
        "circle",
        { cx: left + at(point.confidence), cy: top + side - at(point.exact), r: 3 + 7 * Math.sqrt(point.rows / most) },
        element("title", {}, words[index]),
      ),
    ),
  );
}
