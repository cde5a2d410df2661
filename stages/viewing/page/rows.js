// The data's columns -> one object for each row.

import { codePoints } from "./text.js";

/** An answer: text, score, confidence, and start and end in code points of the whole passage. */
function choice([text, score, confidence, start, end]) {
  return { text, score, confidence, start, end, sure: confidence ?? score };
}

/** All rows of the page, the worst first. */
export function allRows(data) {
  const own = Object.entries(data.own);
  // Only a passage that is cut needs to be counted.
  const kept = (context, length) => (data.width ? codePoints(data.contexts[context]) : length);
  return data.row.map((row, index) => {
    const against = data.against[index];
    const best = choice(data.best[index]);
    return {
      index,
      row,
      best,
      file: data.files[data.file[index]],
      question: data.question[index],
      context: data.contexts[data.context[index]],
      offset: data.offset[index],
      length: data.length[index],
      kept: kept(data.context[index], data.length[index]),
      error: data.errors[data.error[index]],
      expected: data.expected[index],
      exact: data.exact[index],
      f1: data.f1[index],
      others: data.others[index].map(choice),
      against: against && { ...against, best: choice(against.best) },
      own: own.map(([name, values]) => [name, values[index]]).filter(([, value]) => value !== ""),
      sure: data.errors[data.error[index]] ? null : best.sure,
    };
  });
}

/** Whether the row was answered with "no answer". */
export function isUnanswered(row) {
  return !row.error && row.best.text === "";
}

/** What became of the row since the other run: "right", "wrong", "changed", or nothing. */
export function change(row) {
  if (!row.against?.changed) return null;
  if (row.exact === 1 && row.against.exact === 0) return "right";
  if (row.exact === 0 && row.against.exact === 1) return "wrong";
  return "changed";
}

/** A text as a search compares it: without capitals, and the same however its accents are written. */
export function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

/** Whether a row holds the words, which are folded; what it compares them with is put together once. */
export function holdsWords(row, words) {
  row.texts ??= folded([row.question, row.best.text, row.error, row.expected, row.against?.best.text, ...row.own.flat()].join("\n"));
  return row.texts.includes(words) || passageOf(row).includes(words);
}

// Rows may share a passage, of a megabyte even: it is kept once.
const passages = new Map();

function passageOf({ context }) {
  if (!passages.has(context)) passages.set(context, folded(context));
  return passages.get(context);
}
