// Which rows are shown, in which order, and how the address says so.

import { change, folded, holdsWords, isUnanswered } from "./rows.js";

export const NOTHING = { text: "", only: "all", error: "", low: 0, high: 100, file: "", sort: "worst", at: "" };

/** The kinds of rows that can be shown alone. */
export const KINDS = {
  all: { label: "All", holds: () => true },
  errors: { label: "Errors", holds: (row) => row.error !== "" },
  unanswered: { label: "No answer", holds: isUnanswered },
  differs: { label: "Differs from expected", holds: (row) => row.exact === 0 },
  changed: { label: "Changed", holds: (row) => change(row) !== null },
  right: { label: "Became right", holds: (row) => change(row) === "right" },
  wrong: { label: "Became wrong", holds: (row) => change(row) === "wrong" },
};

const sureness = (row) => row.sure ?? -1;

/** The orders; the data itself comes worst first. */
export const ORDERS = {
  worst: { label: "Worst first", compare: (a, b) => a.index - b.index },
  file: { label: "File and row", compare: (a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.row - b.row) },
  unsure: { label: "Least certain first", compare: (a, b) => sureness(a) - sureness(b) || a.index - b.index },
  sure: { label: "Most certain first", compare: (a, b) => sureness(b) - sureness(a) || a.index - b.index },
  f1: { label: "Lowest F1 first", compare: (a, b) => (a.f1 ?? 2) - (b.f1 ?? 2) || a.index - b.index },
  long: { label: "Longest passage first", compare: (a, b) => b.length - a.length || a.index - b.index },
};

/** The rows that the filters leave, in their order. */
export function selection(rows, state) {
  const words = folded(state.text.trim());
  const [low, high] = [state.low / 100, state.high / 100];
  const isWhole = state.low === 0 && state.high === 100;
  const { holds } = KINDS[state.only];
  const chosen = rows.filter(
    (row) =>
      holds(row) &&
      (!state.error || row.error === state.error) &&
      (!state.file || row.file === state.file) &&
      (isWhole || (row.sure !== null && row.sure >= low && row.sure <= high)) &&
      (!words || holdsWords(row, words)),
  );
  return chosen.sort(ORDERS[state.sort].compare);
}

/** The filters that an address names; what it does not name, or what makes no sense, is as if nothing was chosen. */
export function fromAddress(hash) {
  const state = { ...NOTHING };
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (!Object.hasOwn(NOTHING, name)) continue;
    state[name] = typeof NOTHING[name] === "number" ? Number(value) : value;
  }
  if (!Object.hasOwn(KINDS, state.only)) state.only = NOTHING.only;
  if (!Object.hasOwn(ORDERS, state.sort)) state.sort = NOTHING.sort;
  for (const name of ["low", "high"]) if (!(state[name] >= 0 && state[name] <= 100)) state[name] = NOTHING[name];
  return state;
}

/** The address's part for the filters: only what differs from nothing. */
export function toAddress(state) {
  const chosen = Object.entries(state).filter(([name, value]) => value !== NOTHING[name]);
  return chosen.length ? `#${new URLSearchParams(chosen)}` : "";
}
