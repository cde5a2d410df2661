// One row as a card: question, answer, and the passage with the answer marked in it.

import { count, counted, element, facts, percent, pictured } from "./dom.js";
import { gauge } from "./charts.js";
import { hasInk, pieces, units, windows } from "./text.js";
import { change, isUnanswered } from "./rows.js";

// Passages of more units than this are folded, to about as many on each side of an answer as AROUND says by its kind.
const LONG = 900;
const AROUND = { best: 260, against: 160, rank: 80 };

/** The card of a row. `names` are those of the two runs. */
export function card(row, names) {
  const title = `row-${row.index}`;
  return element(
    "article",
    { class: "row", tabindex: -1, "aria-labelledby": title },
    element("h3", { id: title, dir: "auto" }, legible(row.question, "question")),
    answers(row, names),
    row.expected !== null && element("p", { class: "expected" }, "expected ", row.expected ? element("b", { dir: "auto" }, row.expected) : "no answer"),
    passage(row),
    footer(row),
  );
}

/** The text; where there is nothing to see in it, words that say so. */
function legible(text, noun) {
  if (hasInk(text)) return text;
  return element("span", { class: "none" }, text ? `${noun} of white space only` : `no ${noun}`);
}

function answers(row, names) {
  const here = answer(row, row.best, row.error, row.against?.changed ? names.here : null, tags(row));
  if (!row.against?.changed) return [here];
  const { best, error, exact, samePassage } = row.against;
  const marks = [
    exact === 0 && row.exact !== 0 ? tag("warn", "differs from expected") : null,
    samePassage ? null : tag("note", "about another passage"),
  ];
  return [here, answer(row, best, error, names.there, marks)];
}

function answer(row, best, error, run, marks) {
  const text = error
    ? element("span", { class: "tag bad", dir: "auto" }, error)
    : hasInk(best.text)
      ? element("strong", { class: "text", dir: "auto" }, best.text)
      : legible(best.text, "answer");
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

/** The passage, folded around its answers if it is long; a button shows all of it. */
function passage(row) {
  if (!hasInk(row.context)) return element("p", { class: "none" }, legible(row.context, "passage"));
  const { marks, outside } = marksOf(row);
  const node = element("blockquote", { class: "passage", dir: "auto" });
  fill(node, row, marks, row.context.length > LONG ? folds(row.context, marks) : [[0, row.context.length]]);
  if (!outside) return node;
  const where = row.kept < row.length ? "what this page keeps of the passage" : "the passage";
  return [node, element("p", { class: "outside none" }, `${counted(outside, "answer")} more outside of ${where}`)];
}

function folds(text, marks) {
  return windows(text, marks.length ? marks.map((mark) => ({ ...mark, around: AROUND[mark.kind] })) : [{ start: 0, end: 0, around: 2 * AROUND.best }]);
}

function fill(node, row, marks, shown) {
  const end = row.context.length;
  const unfold = () => {
    const anchor = () => node.querySelector("mark.best") ?? node.querySelector("mark") ?? node;
    const height = anchor().getBoundingClientRect().top;
    fill(node, row, marks, [[0, end]]);
    // The answer stays where the reader's eyes are.
    globalThis.scrollBy(0, anchor().getBoundingClientRect().top - height);
    node.closest(".row").focus({ preventScroll: true });
  };
  const fold = (text) => element("button", { class: "link fold", type: "button", onclick: unfold }, text);
  const before = row.offset;
  const after = row.length - row.offset - row.kept;
  const last = shown.at(-1)[1];
  node.replaceChildren(
    ...[
      before > 0 && shown[0][0] === 0 ? left(before, "before") : null,
      shown.map(([from, to], index) => [gap(index ? shown[index - 1][1] : 0, from, fold), pieces(row.context, from, to, marks).map(marked)]),
      last < end ? [" ", fold(`${count(end - last)} characters after …`)] : null,
      after > 0 && last === end ? left(after, "after") : null,
    ]
      .flat(3)
      .filter(Boolean),
  );
}

function gap(from, to, fold) {
  if (from === to) return null;
  return from ? [" ", fold(`… ${count(to - from)} characters …`), " "] : [fold(`… ${count(to)} characters before`), " "];
}

function left(characters, where) {
  return element("span", { class: "none fold" }, ` [${count(characters)} characters ${where} are not in this page] `);
}

/** What is marked, in UTF-16 units of the passage as the page holds it, and how many answers lie outside of that. */
function marksOf(row) {
  const wanted = row.others.map((other, index) => ({ kind: "rank", title: `rank ${index + 2}, ${scores(other)}`, ...other }));
  if (row.against?.changed && row.against.samePassage && !row.against.error)
    wanted.push({ kind: "against", title: "the other run's answer", ...row.against.best });
  if (!row.error && !isUnanswered(row)) wanted.push({ kind: "best", title: scores(row.best), ...row.best });
  const placed = wanted.filter((mark) => mark.start !== null && mark.end > mark.start);
  const places = units(row.context, placed.flatMap((mark) => [mark.start - row.offset, mark.end - row.offset]));
  const marks = placed
    .map(({ kind, title }, index) => ({ kind, title, start: places[2 * index], end: places[2 * index + 1] }))
    .filter((mark) => mark.end > mark.start);
  return { marks, outside: placed.length - marks.length };
}

function marked(piece) {
  if (!piece.marks.length) return pictured(piece.text);
  const kinds = new Set(piece.marks.map((mark) => mark.kind));
  if (kinds.has("best")) kinds.delete("rank");
  return element("mark", { class: [...kinds].join(" "), title: piece.marks.map((mark) => mark.title).join("; ") }, piece.text);
}

function footer(row) {
  const own = row.own.filter(([, value]) => value !== null);
  return element(
    "footer",
    {},
    element("span", {}, element("bdi", {}, row.file), `, row ${count(row.row)}`),
    own.length > 0 &&
      element("details", {}, element("summary", {}, own.length === 1 ? "1 more column" : `${own.length} more columns`), facts(own)),
    row.others.length > 0 && element("details", {}, element("summary", {}, `${row.others.length + 1} ranks`), ranks(row)),
  );
}

function ranks(row) {
  const lines = [row.best, ...row.others].map((choice, index) => [`${index + 1}`, `${choice.text || "no answer"} (${percent(choice.sure)})`]);
  return facts(lines);
}
