// Places in texts. The data counts code points, as Python does; JavaScript counts UTF-16 units.

const SURROGATE = /[\ud800-\udfff]/;

const INK = /[^\s\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}]/u;

/** Whether there is anything to see in the text. */
export function hasInk(text) {
  return INK.test(text);
}

/** How many code points the text has. */
export function codePoints(text) {
  let points = 0;
  for (const _ of text) points++;
  return points;
}

/** Where code points stand in UTF-16; beyond the text's end, its end. `points` need no order. */
export function units(text, points) {
  if (!SURROGATE.test(text)) return points.map((point) => Math.min(Math.max(point, 0), text.length));
  const places = new Map();
  let unit = 0;
  let passed = 0;
  for (const point of [...points].sort((a, b) => a - b)) {
    for (; passed < point && unit < text.length; passed++) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
    places.set(point, unit);
  }
  return points.map((point) => places.get(point));
}

/** The text between `from` and `to`, cut wherever a mark begins or ends; each piece with the marks that cover it. */
export function pieces(text, from, to, marks) {
  const inside = marks.filter((mark) => mark.start < to && mark.end > from);
  const edges = new Set([from, to]);
  for (const mark of inside) for (const edge of [mark.start, mark.end]) if (edge > from && edge < to) edges.add(edge);
  const sorted = [...edges].sort((a, b) => a - b);
  return sorted.slice(1).map((end, index) => {
    const start = sorted[index];
    return { text: text.slice(start, end), marks: inside.filter((mark) => mark.start <= start && mark.end >= end) };
  });
}

/** What a folded text shows: the spans with `around` units on both sides, what is nearly adjacent as one piece. */
export function windows(text, spans) {
  const shown = [];
  for (const [from, to] of spans.map((span) => visible(text, span)).sort((a, b) => a[0] - b[0])) {
    const last = shown.at(-1);
    if (last && from - last[1] < NEAR) last[1] = Math.max(last[1], to);
    else shown.push([from, to]);
  }
  return shown;
}

// A gap of fewer units than this is not worth a button.
const NEAR = 60;

/** A span with what is around it, from one word's beginning to another's end where there are any. */
function visible(text, { start, end, around }) {
  let from = Math.max(0, start - around);
  let to = Math.min(text.length, end + around);
  if (from > 0) from = beforeWord(text, from, start);
  if (to < text.length) to = afterWord(text, to, end);
  return [from, to];
}

const REACH = 40;

function beforeWord(text, from, start) {
  const space = text.slice(from, Math.min(start, from + REACH)).search(/\s/);
  return space < 0 ? whole(text, from) : from + space + 1;
}

function afterWord(text, to, end) {
  for (let place = to; place > Math.max(end, to - REACH); place--) if (/\s/.test(text[place])) return place;
  return whole(text, to);
}

/** A place that is not between the two halves of a character. */
function whole(text, place) {
  const isLow = (text.charCodeAt(place) & 0xfc00) === 0xdc00;
  return isLow ? place - 1 : place;
}
