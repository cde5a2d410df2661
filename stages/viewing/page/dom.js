// Nodes for the page. What comes from the data becomes text or the value of an attribute, never HTML.

const SVG = new Set(["svg", "g", "rect", "path", "line", "circle", "text", "title"]);

/** An element with its attributes, listeners (`onclick`) and children: nodes, or text. Empty children are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  const present = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...present.map((child) => (typeof child === "string" ? pictured(child) : child)));
  return node;
}

// Control characters but for tabs and line ends. Each becomes its picture, one for one, so that places stay true.
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

/** The text with a picture, such as ␛, for every control character that would not be seen. */
export function pictured(text) {
  return text.replace(CONTROLS, (char) => String.fromCharCode(char === "\x7f" ? 0x2421 : 0x2400 + char.charCodeAt(0)));
}

/** The element of the page's own HTML with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** The data that stands in the page. */
export function pageData() {
  return JSON.parse(byId("data").textContent);
}

/** 12345 as 12,345. */
export function count(number) {
  return number.toLocaleString("en");
}

/** 1 as "1 row", 2 as "2 rows". */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** 0.8312 as 83.1%. */
export function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)}%`;
}

/** A list of terms and what stands for each. Entries without a value are left out. */
export function facts(entries) {
  const known = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { class: "facts" }, known.map(([term, value]) => [element("dt", { dir: "auto" }, term), element("dd", { dir: "auto" }, value)]).flat());
}

/** A figure with its name, and a word on it. */
export function tile(name, value, more) {
  return element("dl", { class: "tile" }, element("dt", {}, name), element("dd", {}, value), more && element("dd", { class: "more" }, more));
}

/** A box with a heading. */
export function panel(heading, attributes, ...children) {
  return element("section", { ...attributes, class: `panel ${attributes.class ?? ""}` }, element("h2", {}, heading), ...children);
}
