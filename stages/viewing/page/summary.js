// What stands above the rows: figures, errors by kind, how far confidence can be trusted, the bundle, what changed.

import { count, counted, element, facts, panel, percent, tile } from "./dom.js";
import { gauge, reliability } from "./charts.js";

/** The tiles and panels; `choose` sets filters. */
export function summary(data, names, choose) {
  const { survey, bundle } = data;
  const panels = [
    data.changes && changes(data, names, choose),
    errors(survey, choose),
    survey.reliability.length > 0 && trust(survey),
    bundle ? theBundle(bundle, survey) : models(survey),
  ];
  return [element("div", { class: "tiles" }, tiles(survey, bundle)), element("div", { class: "panels" }, panels.filter(Boolean))];
}

function tiles(survey, bundle) {
  const { failed } = survey;
  const answered = survey.rows - failed - survey.unanswered;
  return [
    tile("Rows", count(survey.rows), `in ${counted(survey.files, "file")}`),
    tile("Answered", count(answered), percent(answered / survey.rows)),
    survey.unanswered > 0 && tile("No answer", count(survey.unanswered), percent(survey.unanswered / survey.rows)),
    tile("Errors", count(failed), failed ? percent(failed / survey.rows) : "none"),
    survey.expected > 0 && tile("Exact match", percent(survey.exact), `of ${counted(survey.expected, "row")} with an expected answer`),
    survey.expected > 0 && tile("F1", percent(survey.f1), "of their words"),
    bundle && tile("Tokens per row", count(Math.round(bundle.tokens / Math.max(1, bundle.tokenRows))), `${count(bundle.tokens)} for ${counted(bundle.tokenRows, "row")}`),
  ].filter(Boolean);
}

function errors(survey, choose) {
  const kinds = survey.errors;
  if (!kinds.length) return null;
  const most = Math.max(...kinds.map(([, rows]) => rows));
  const lines = kinds.map(([error, rows]) =>
    element(
      "li",
      {},
      element(
        "div",
        {},
        element("button", { class: "link", type: "button", onclick: () => choose({ only: "errors", error }) }, error),
        element("span", {}, count(rows)),
      ),
      gauge(rows / most, `${error}: ${counted(rows, "row")}`),
    ),
  );
  const more = survey.errorKinds - kinds.length;
  return panel("Errors by kind", {}, element("ul", { class: "kinds" }, lines), more > 0 && element("p", { class: "quiet" }, `and ${counted(more, "kind")} more`));
}

function trust(survey) {
  const off = `On average the ${survey.measure} is ${percent(survey.calibrationError)} away from the share of right answers (exact match).`;
  const scale = survey.measure === "score" ? " A score is no probability of being right; bundles with a confidence say that." : "";
  return panel(`Right answers by ${survey.measure}`, { class: "reliability" }, reliability(survey.reliability, survey.measure), element("p", { class: "quiet" }, off + scale));
}

function models(survey) {
  const known = survey.models.filter(([id]) => id);
  // A single one stands below the title.
  if (known.length < 2) return null;
  return panel("Answered by", {}, facts(known.map(([id, rows]) => [id, counted(rows, "row")])));
}

function theBundle(bundle, survey) {
  const { source, quantization, verification } = bundle;
  const strangers = survey.models.map(([id]) => id).filter((id) => id && id !== bundle.id);
  return panel(
    "The bundle",
    {},
    facts([
      ["name", bundle.id],
      ["checkpoint", source.checkpoint],
      ["revision", source.revision],
      ["licence", source.licence ?? "not stated"],
      ["architecture", bundle.architecture],
      ["precision", quantization ? `${bundle.precision}: ${quantization.weights}` : bundle.precision],
      ["size", `${(bundle.bytes / 1e6).toFixed(1)} MB`],
      ["agrees with fp32", verification && `${percent(verification.agreement)} of ${counted(verification.rows, "row")}`],
      ["F1 when exported", verification?.f1 && `${verification.f1.toFixed(1)}% (fp32 ${verification.float_f1.toFixed(1)}%)`],
    ]),
    strangers.length > 0 && element("p", { class: "notice" }, `Rows were answered by other bundles too: ${strangers.join(", ")}.`),
    bundle.card && element("details", {}, element("summary", {}, "Model card"), element("pre", {}, bundle.card)),
  );
}

function changes({ changes: counts, survey, before }, names, choose) {
  const link = (only, rows) => element("button", { class: "link", type: "button", onclick: () => choose({ only }) }, count(rows));
  const line = (name, here, there) =>
    element("tr", {}, element("th", { scope: "row" }, name), [here, there].map((value) => element("td", { class: "number" }, value)));
  const judged = survey.expected > 0 && before.expected > 0;
  return panel(
    "What changed",
    {},
    facts([
      ["same answer", count(counts.same)],
      ["changed", link("changed", counts.changed)],
      ["became right", judged && link("right", counts.becameRight)],
      ["became wrong", judged && link("wrong", counts.becameWrong)],
      [`only in ${names.here}`, counts.onlyHere || null],
      [`only in ${names.there}`, counts.onlyThere || null],
    ].filter(([, value]) => value !== false)),
    element(
      "div",
      { class: "table" },
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ["", names.here, names.there].map((name) => element("th", { scope: "col", class: name && "number" }, name)))),
        element(
          "tbody",
          {},
          line("rows", count(survey.rows), count(before.rows)),
          line("errors", count(survey.failed), count(before.failed)),
          line("no answer", count(survey.unanswered), count(before.unanswered)),
          judged && line("exact match", percent(survey.exact), percent(before.exact)),
          judged && line("F1", percent(survey.f1), percent(before.f1)),
        ),
      ),
    ),
  );
}
