// Places in texts. The data counts code points, as Python does; JavaScript counts UTF-16 units.

const SURROGATE = /[\ud800-\udfff]/;

/** Where code points stand in UTF-16; beyond the text's end, its end. `points` need no order. */
export function units(text, points) {
  if (!SURROGATE.test(text)) return points.map((point) => Math.min(Math.max(point, 0), text.length));
  const places = [0];
  let unit = 0;
  for (const char of text) places.push((unit += char.length));
  return points.map((point) => places[Math.min(Math.max(point, 0), places.length - 1)]);
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

/** What a folded text shows: `around` units before and after the span, ending between words where there are any. */
export function visible(text, start, end, around) {
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
