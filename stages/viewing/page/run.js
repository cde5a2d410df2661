// The page of a run: pipelines, their jobs, what failed and why, rejected files.

import { byId, count, counted, element, pageData, panel } from "./dom.js";
import { gauge } from "./charts.js";

const data = pageData();

function table(heads, rows) {
  const head = element("tr", {}, heads.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((cells) => element("tr", {}, cells.map((cell) => element("td", { dir: "auto" }, cell))));
  return element("div", { class: "table" }, element("table", {}, element("thead", {}, head), element("tbody", {}, body)));
}

function states(counts) {
  return Object.entries(counts).map(([state, datums]) => `${count(datums)} ${state}`).join(", ") || "no datums";
}

function node(pipeline) {
  const last = pipeline.jobs.at(-1);
  return element(
    "div",
    { class: "node" },
    element("p", {}, element("strong", {}, pipeline.name), " ", last && element("span", { class: last.state }, last.state)),
    element("p", { class: "quiet" }, states(pipeline.counts)),
    element("p", { class: "quiet" }, pipeline.inputs.length ? `reads ${pipeline.inputs.join(", ")}` : "reads no repo"),
  );
}

function graph() {
  const levels = [...new Set(data.pipelines.map((one) => one.level))];
  const items = levels.map((level) => element("li", { class: "level" }, data.pipelines.filter((one) => one.level === level).map(node)));
  return panel("Pipelines", {}, element("ol", { class: "graph" }, items));
}

function times() {
  const seconds = (pipeline) => pipeline.jobs.at(-1)?.seconds ?? 0;
  const most = Math.max(0.1, ...data.pipelines.map(seconds));
  const rows = data.pipelines.map((one) => [
    one.name,
    `${seconds(one)} s`,
    element("div", { class: "seconds" }, gauge(seconds(one) / most, `${one.name}: ${seconds(one)} s`)),
  ]);
  return panel("Time of the last job", {}, table(["Pipeline", "Seconds", ""], rows));
}

function jobs() {
  const rows = data.pipelines.flatMap((one) =>
    [...one.jobs].reverse().map((job) => [one.name, job.number, element("span", { class: job.state }, job.state), states(job.counts), `${job.seconds} s`, job.reason]),
  );
  return panel("Jobs", {}, table(["Pipeline", "Job", "State", "Datums", "Time", "Reason"], rows));
}

function trouble(pipeline) {
  const rows = pipeline.trouble.map((datum) => [
    datum.label,
    element("span", { class: datum.state }, datum.state),
    datum.tries,
    [datum.error, datum.log.length ? element("details", {}, element("summary", {}, "Last log lines"), element("pre", {}, datum.log.join("\n"))) : null],
  ]);
  const cells = rows.map(([label, state, tries, [error, log]]) => [label, state, tries, element("div", {}, error, log)]);
  const more = pipeline.troubleCount - rows.length;
  return panel(`Datums of ${pipeline.name} that failed`, {}, table(["Datum", "State", "Tries", "Reason"], cells), more > 0 && element("p", { class: "quiet" }, `and ${count(more)} more`));
}

function rejected() {
  const place = ({ row, column }) => [row && `row ${row}`, column && `column ${column}`].filter(Boolean).join(", ");
  const rows = data.rejected.map((note) => [note.repo, String(note.object ?? note.note), place(note), String(note.reason ?? ""), String(note.remedy ?? "")]);
  const more = data.rejectedCount - rows.length;
  return panel(counted(data.rejectedCount, "rejected file"), {}, table(["Repo", "File", "Where", "Reason", "What to do"], rows), more > 0 && element("p", { class: "quiet" }, `and ${count(more)} more`));
}

byId("about").textContent = `${data.root} · page made ${new Date(data.made).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })}`;
byId("run").append(graph(), ...data.pipelines.filter((one) => one.trouble.length).map(trouble));
if (data.rejectedCount) byId("run").append(rejected());
byId("run").append(times(), jobs());
