// The page of a run: what is wrong, pipelines, their jobs, what failed and why, rejected files.

import { byId, count, counted, element, pageData, panel } from "./dom.js";
import { gauge } from "./charts.js";
import { drawLines, graph } from "./graph.js";

const data = pageData();
const SAID = { failure: "failed", killed: "killed", unrunnable: "could not run", running: "running", success: "success" };

function table(label, heads, rows) {
  // On a telephone cells stand below each other, and to a screen reader they are a table still.
  const line = (cells) => element("tr", { role: "row" }, cells);
  const head = heads.map((name) => element("th", { scope: "col", role: "columnheader" }, name));
  const body = rows.map((cells) => line(cells.map((cell, index) => element("td", { dir: "auto", role: "cell", "data-head": heads[index] }, cell))));
  const parts = [element("thead", { role: "rowgroup" }, line(head)), element("tbody", { role: "rowgroup" }, body)];
  // A table that is wider than the page scrolls, and so takes the keyboard.
  return element("div", { class: "table", tabindex: 0, role: "region", "aria-label": label }, element("table", { role: "table" }, parts));
}

function said(state) {
  return element("span", { class: state }, SAID[state] ?? state);
}

function states(counts) {
  return Object.entries(counts).map(([state, datums]) => `${count(datums)} ${state}`).join(", ") || "no datums";
}

/** What became of the pipeline's last job, in a word. */
function outcome({ last }) {
  if (!last) return element("span", { class: "quiet" }, data.running ? "waits for its turn" : "no job yet");
  if (last.state === "running" && !data.running) return element("span", { class: "failed" }, "interrupted");
  return said(last.state);
}

function describe(pipeline) {
  return [
    element("p", {}, element("strong", {}, pipeline.name), " ", outcome(pipeline)),
    pipeline.last && element("p", { class: "quiet" }, `${states(pipeline.last.counts)}, ${pipeline.last.seconds} s`),
  ];
}

/** What somebody who opens the page should know first. */
function notices() {
  const lines = [];
  const last = data.pipelines.map((one) => one.last).filter(Boolean);
  const running = last.filter((job) => job.state === "running").map((job) => job.pipeline);
  if (running.length && data.running) lines.push(`${running.join(", ")} was running when this page was made; it shows what was done by then.`);
  if (running.length && !data.running) lines.push(`${running.join(", ")} was interrupted: the runner has ended. Run again to go on from there.`);
  for (const job of last) if (job.reason) lines.push([element("bdi", {}, job.pipeline), ` ${SAID[job.state] ?? job.state}: `, element("bdi", {}, job.reason)]);
  return lines.map((line) => element("div", { class: "notice" }, line));
}

function times() {
  const jobs = data.pipelines.map((one) => one.last).filter(Boolean);
  if (!jobs.length) return null;
  const most = Math.max(0.1, ...jobs.map((job) => job.seconds));
  const rows = jobs.map((job) => [job.pipeline, `${job.seconds} s`, element("div", { class: "seconds" }, gauge(job.seconds / most, `${job.pipeline}: ${job.seconds} s`))]);
  return panel("Time of the last job", {}, table("Time of the last job", ["Pipeline", "Seconds", ""], rows));
}

function jobs() {
  if (!data.jobCount) return panel("Jobs", {}, element("p", { class: "quiet" }, "No pipeline has had a job yet."));
  const when = (job) => new Date(1000 * job.started).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  const rows = data.jobs.map((job) => [job.pipeline, job.number, said(job.state), when(job), states(job.counts), `${job.seconds} s`, job.reason]);
  const isCut = data.jobs.length < data.jobCount;
  const order = isCut ? `${count(data.jobs.length)} of ${counted(data.jobCount, "job")}: failed ones first, then the latest.` : "Failed ones first, then the latest.";
  return panel("Jobs", {}, element("p", { class: "quiet" }, order), table("Jobs", ["Pipeline", "Job", "State", "Started", "Datums", "Time", "Reason"], rows));
}

function trouble(pipeline) {
  const reason = ({ error, log }) =>
    element("div", {}, error, log.length > 0 && element("details", {}, element("summary", {}, "Last log lines"), element("pre", { tabindex: 0 }, log.join("\n"))));
  const rows = pipeline.trouble.map((datum) => [datum.label, said(datum.state), datum.tries, reason(datum)]);
  const more = pipeline.troubleCount - rows.length;
  const heading = `Datums of ${pipeline.name} that failed`;
  return panel(heading, {}, table(heading, ["Datum", "State", "Tries", "Reason"], rows), more > 0 && element("p", { class: "quiet" }, `and ${count(more)} more`));
}

function rejected() {
  const place = ({ row, column }) => [row && `row ${row}`, column && `column ${column}`].filter(Boolean).join(", ");
  const rows = data.rejected.map((note) => [note.repo, note.object, place(note), note.reason, note.remedy]);
  const more = data.rejectedCount - rows.length;
  const heading = counted(data.rejectedCount, "rejected file");
  return panel(heading, {}, table(heading, ["Repo", "File", "Where", "Reason", "What to do"], rows), more > 0 && element("p", { class: "quiet" }, `and ${count(more)} more`));
}

byId("about").textContent = `${data.root} · page made ${new Date(data.made).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })}`;
byId("run").append(
  ...[
    notices(),
    graph(data.sources, data.pipelines, describe),
    data.pipelines.filter((one) => one.trouble.length).map(trouble),
    data.rejectedCount > 0 && rejected(),
    times(),
    jobs(),
  ]
    .flat()
    .filter(Boolean),
);
drawLines(data.pipelines);
