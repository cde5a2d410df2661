// One row as a card: question, answer, and the passage with the answer marked in it.

import { count, element, facts, percent } from "./dom.js";
import { gauge } from "./charts.js";
import { pieces, units, visible } from "./text.js";
import { change, isUnanswered } from "./rows.js";

// Passages of more units than this are folded, to about as many on each side of the answer as AROUND says.
const LONG = 700;
const AROUND = 260;

/** The card of a row. `names` are those of the two runs. */
export function card(row, names) {
  const title = `row-${row.index}`;
  return element(
    "article",
    { class: "row", tabindex: -1, "aria-labelledby": title },
    element("h3", { id: title, dir: "auto" }, row.question || element("span", { class: "none" }, "no question")),
    answers(row, names),
    row.expected !== null && element("p", { class: "expected" }, "expected ", element("b", { dir: "auto" }, row.expected)),
    passage(row),
    footer(row),
  );
}

function answers(row, names) {
  const here = answer(row, row.best, row.error, row.against ? names.here : null, tags(row));
  if (!row.against?.changed) return [here];
  const { best, error, exact, samePassage } = row.against;
  const marks = [
    exact === 0 && row.exact !== 0 ? tag("warn", "differs from expected") : null,
    samePassage ? null : tag("note", "asked of another text"),
  ];
  return [here, answer(row, best, error, names.there, marks)];
}

function answer(row, best, error, run, marks) {
  const text = error
    ? element("span", { class: "tag bad" }, error)
    : best.text === ""
      ? element("span", { class: "none" }, "no answer")
      : element("strong", { class: "text", dir: "auto" }, best.text);
  return element("p", { class: "answer" }, run && element("span", { class: "run" }, run), text, error ? null : certaintyOf(best), marks);
}

function certaintyOf(best) {
  if (best.sure === null) return null;
  const what = best.confidence === null ? "score" : "confidence";
  return element("span", { class: "sure", title: scores(best) }, gauge(best.sure, `${what} ${percent(best.sure, 0)}`), percent(best.sure, 0));
}

function scores(best) {
  return [["confidence", best.confidence], ["score", best.score]].filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`).join(", ");
}

function tag(kind, text) {
  return element("span", { class: `tag ${kind}` }, text);
}

function tags(row) {
  const changed = { right: ["good", "became right"], wrong: ["bad", "became wrong"], changed: ["note", "changed"] }[change(row)];
  return [row.exact === 0 && tag("warn", "differs from expected"), changed && tag(...changed)];
}

/** The passage, folded around its answer if it is long; a button shows all of it. */
function passage(row) {
  if (!row.context) return element("p", { class: "none" }, "no passage");
  const marks = marksOf(row);
  const node = element("blockquote", { class: "passage", dir: "auto" });
  const [start, end] = focus(row, marks);
  const isLong = row.context.length > LONG + 200;
  fill(node, row, marks, isLong ? visible(row.context, start, end, AROUND) : [0, row.context.length]);
  return node;
}

function focus(row, marks) {
  const best = marks.find((mark) => mark.kind === "best") ?? marks[0];
  return best ? [best.start, best.end] : [0, 0];
}

function fill(node, row, marks, [from, to]) {
  const before = row.offset;
  const after = row.length - row.offset - [...row.context].length;
  const unfold = () => {
    const anchor = node.querySelector("mark") ?? node;
    const height = anchor.getBoundingClientRect().top;
    fill(node, row, marks, [0, row.context.length]);
    // The answer stays where the reader's eyes are.
    globalThis.scrollBy(0, (node.querySelector("mark") ?? node).getBoundingClientRect().top - height);
    node.closest(".row").focus({ preventScroll: true });
  };
  const fold = (text) => element("button", { class: "link fold", type: "button", onclick: unfold }, text);
  node.replaceChildren(
    ...[
      before > 0 && from === 0 ? left(before, "before") : null,
      from > 0 ? [fold(`… ${count(from)} characters before`), " "] : null,
      pieces(row.context, from, to, marks).map(marked),
      to < row.context.length ? [" ", fold(`${count(row.context.length - to)} characters after …`)] : null,
      after > 0 && to === row.context.length ? left(after, "after") : null,
    ]
      .flat(2)
      .filter(Boolean),
  );
}

function left(characters, where) {
  return element("span", { class: "none fold" }, ` [${count(characters)} characters ${where} are not in this page] `);
}

/** What is marked, in UTF-16 units of the passage as the page holds it. */
function marksOf(row) {
  const wanted = row.others.map((other, index) => ({ kind: "rank", title: `rank ${index + 2}, ${scores(other)}`, ...other }));
  if (row.against?.changed && row.against.samePassage && !row.against.error)
    wanted.push({ kind: "against", title: "the other run's answer", ...row.against.best });
  if (!row.error && !isUnanswered(row)) wanted.push({ kind: "best", title: scores(row.best), ...row.best });
  const placed = wanted.filter((mark) => mark.start !== null && mark.end > mark.start);
  const places = units(row.context, placed.flatMap((mark) => [mark.start - row.offset, mark.end - row.offset]));
  return placed
    .map(({ kind, title }, index) => ({ kind, title, start: places[2 * index], end: places[2 * index + 1] }))
    .filter((mark) => mark.end > mark.start);
}

function marked(piece) {
  if (!piece.marks.length) return piece.text;
  const kinds = new Set(piece.marks.map((mark) => mark.kind));
  if (kinds.has("best")) kinds.delete("rank");
  return element("mark", { class: [...kinds].join(" "), title: piece.marks.map((mark) => mark.title).join("; ") }, piece.text);
}

function footer(row) {
  const own = row.own.filter(([, value]) => value !== null);
  return element(
    "footer",
    {},
    element("span", {}, `${row.file}, row ${count(row.row)}`),
    own.length > 0 &&
      element("details", {}, element("summary", {}, own.length === 1 ? "1 more column" : `${own.length} more columns`), facts(own)),
    row.others.length > 0 && element("details", {}, element("summary", {}, `${row.others.length + 1} ranks`), ranks(row)),
  );
}

function ranks(row) {
  const lines = [row.best, ...row.others].map((choice, index) => [`${index + 1}`, `${choice.text || "no answer"} (${percent(choice.sure)})`]);
  return facts(lines);
}
