// The page of answers: puts the parts together, and listens.

import { byId, count, counted, element, pageData, pictured } from "./dom.js";
import { histogram, shade } from "./charts.js";
import { allRows } from "./rows.js";
import { KINDS, NOTHING, ORDERS, fromAddress, selection, toAddress } from "./filters.js";
import { card } from "./passage.js";
import { summary } from "./summary.js";

const AT_A_TIME = 40;
const data = pageData();
const rows = allRows(data.rows);
const names = runNames(data);
const form = byId("filters");
let state = fromAddress(location.hash);
let chosen = [];
let current = -1;
// Controls that change bit by bit, and what changed the address last.
const GRADUAL = new Set(["text", "low", "high"]);
let lastSource = "";

/** What the two runs are called: the last part of their paths, or all of it where that is the same. */
function runNames({ name, beforeName }) {
  const last = beforeName?.split("/").filter(Boolean).pop();
  return { here: name, there: last === name ? beforeName : last };
}

function fillHeader() {
  const { survey } = data;
  byId("title").textContent = data.name;
  const made = new Date(data.made).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  const models = survey.models.map(([id]) => id).filter(Boolean);
  const model = models.length === 1 && `answered by ${models[0]}`;
  const about = [model, names.there && `compared with ${names.there}`, `page made ${made}`];
  byId("about").textContent = pictured(about.filter(Boolean).join(" · "));
  const notices = [];
  if (rows.length < survey.rows)
    notices.push(
      `${count(rows.length)} of ${counted(survey.rows, "row")} are in this page, the worst first: errors, changed and wrong answers, then the least certain ones. The figures count all rows; filters and search cover only the ${count(rows.length)}.`,
    );
  if (data.rows.ownLeftOut) notices.push("Your own columns are left out to keep the page small; fewer rows (--rows) leave room for them.");
  if (data.rows.width) notices.push(`Texts of more than ${count(data.rows.width)} characters are cut, passages around their answers, to keep the page small.`);
  const failed = data.failed.map(([name, reason]) => element("li", {}, element("bdi", {}, name), ": ", element("bdi", {}, reason)));
  if (data.failedFiles > failed.length) failed.push(element("li", {}, `and ${count(data.failedFiles - failed.length)} more`));
  if (failed.length) notices.push([`${counted(data.failedFiles, "file")} could not be read whole:`, element("ul", {}, failed)]);
  byId("notices").append(...notices.map((notice) => element("div", { class: "notice" }, notice)));
  byId("summary").append(...summary(data, names, choose));
}

function fillForm() {
  for (const [kind, { label, holds }] of Object.entries(KINDS)) {
    const found = rows.filter(holds).length;
    if (!found && kind !== "all" && state.only !== kind) continue;
    const input = element("input", { type: "radio", name: "only", value: kind });
    byId("only").append(element("label", {}, input, `${label} `, element("span", {}, count(found))));
  }
  byId("file").append(element("option", { value: "" }, `All (${count(data.rows.files.length)})`));
  byId("file").append(...[...data.rows.files].sort().map((file) => element("option", { value: file }, file)));
  const orders = Object.entries(ORDERS).filter(([order]) => order !== "f1" || data.survey.expected);
  byId("sort").append(...orders.map(([order, { label }]) => element("option", { value: order }, label)));
  byId("histogram").append(histogram(data.survey.bins, data.survey.measure));
  byId("range-title").closest("fieldset").hidden = !data.survey.bins.some(Boolean);
  byId("range-title").textContent = data.survey.measure === "score" ? "Score" : "Confidence";
}

/** Puts the filters into the form. */
function showState() {
  for (const name of ["text", "low", "high", "file", "sort"]) byId(name).value = state[name];
  const radio = form.querySelector(`input[name="only"][value="${state.only}"]`);
  if (radio) radio.checked = true;
  byId("range").textContent = state.low === 0 && state.high === 100 ? "any" : `${state.low}% to ${state.high}%`;
  shade(byId("histogram"), state.low / 100, state.high / 100);
}

function readForm() {
  const form = { text: byId("text").value, file: byId("file").value, sort: byId("sort").value };
  const only = document.querySelector('input[name="only"]:checked')?.value ?? "all";
  const [low, high] = [Number(byId("low").value), Number(byId("high").value)].sort((a, b) => a - b);
  const error = only === "errors" ? state.error : "";
  return { ...state, ...form, only, error, low, high, at: "" };
}

function choose(changed) {
  state = { ...state, at: "", ...changed };
  if (changed.only) state.error = changed.error ?? "";
  apply();
  keepAddress("choice");
}

/** Shows the rows that the filters leave. */
function apply() {
  showState();
  chosen = selection(rows, state);
  current = -1;
  const isAll = chosen.length === rows.length;
  const error = state.error ? [" with the error ", element("bdi", {}, state.error)] : [];
  byId("count").replaceChildren(isAll ? counted(rows.length, "row") : `${count(chosen.length)} of ${counted(rows.length, "row")}`, ...error);
  byId("list").replaceChildren(...(chosen.length ? [] : [element("p", { class: "empty" }, "No row matches these filters.")]));
  showMore();
}

/** Keeps the filters in the address. A word that is typed, or a slider that is moved, is one step of Back; a row none. */
function keepAddress(source) {
  const address = toAddress(state) || location.href.split("#")[0];
  const isStep = source !== "row" && (!GRADUAL.has(source) || source !== lastSource);
  try {
    if (isStep && address !== (location.hash || location.href)) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  } catch {
    // A page shown inside of another, as mails are, may have no address of its own. Its filters work all the same.
  }
  lastSource = source;
}

/** Shows what the address says: when the page opens, and on the way back and forth. */
function followAddress() {
  state = fromAddress(location.hash);
  lastSource = "";
  const { at } = state;
  apply();
  const place = at ? chosen.findIndex((row) => `${row.row}:${row.file}` === at) : -1;
  if (place >= 0) go(place);
}

function showMore(upTo = 0) {
  const list = byId("list");
  const shown = chosen.length && list.childElementCount;
  const next = chosen.slice(shown, Math.max(shown + AT_A_TIME, upTo));
  list.append(...next.map((row) => card(row, names)));
  byId("more").hidden = shown + next.length >= chosen.length;
}

/** Goes to a row of those chosen, and scrolls its answer into view. */
function go(index) {
  if (!chosen.length) return;
  current = Math.max(0, Math.min(index, chosen.length - 1));
  if (current >= byId("list").childElementCount - 1) showMore(current + 2);
  const node = byId("list").children[current];
  node.focus({ preventScroll: true });
  const isTall = node.getBoundingClientRect().height > innerHeight;
  ((isTall && node.querySelector("mark")) || node).scrollIntoView({ block: "center" });
  state.at = `${chosen[current].row}:${chosen[current].file}`;
  keepAddress("row");
}

const KEYS = {
  j: () => go(current + 1),
  k: () => go(current - 1),
  o: () => byId("list").children[current]?.querySelector(".fold")?.click(),
  "/": () => byId("text").focus(),
  Escape: () => choose(NOTHING),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=search], select")) {
    if (event.key !== "Escape") return;
    // Browsers would empty the search; that is what the next Escape is for.
    event.preventDefault();
    event.target.blur();
    return;
  }
  if (!Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

fillHeader();
fillForm();
form.addEventListener("input", (event) => {
  state = readForm();
  apply();
  keepAddress(event.target.name);
});
byId("text").addEventListener("change", () => (lastSource = ""));
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", (event) => {
  event.preventDefault();
  choose(NOTHING);
});
byId("list").addEventListener("focusin", (event) => {
  current = [...byId("list").children].indexOf(event.target.closest(".row"));
});
byId("more").addEventListener("click", () => showMore());
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && showMore(), { rootMargin: "1200px" }).observe(byId("more"));
addEventListener("keydown", onKey);
addEventListener("beforeprint", () => showMore(chosen.length));
addEventListener("popstate", followAddress);
followAddress();
