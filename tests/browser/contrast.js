// Every text that is rendered with less contrast than WCAG 2 AA asks of it, by the colours that it really has.
() => {
  const parse = (text) => (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number).concat(1).slice(0, 4);
  const over = ([r, g, b, a], under) => [r, g, b].map((value, index) => a * value + (1 - a) * under[index]);
  const ground = (node) => {
    const layers = [];
    for (let at = node; at instanceof Element; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
    const base = matchMedia("(prefers-color-scheme: dark)").matches && !matchMedia("print").matches ? [18, 18, 18] : [255, 255, 255];
    return layers.reduce((under, layer) => over(layer, under), base);
  };
  const light = (color) => {
    const [r, g, b] = color.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => { const [a, b] = [light(one), light(other)].sort((a, b) => a - b); return (b + 0.05) / (a + 0.05); };
  const faint = [];
  let texts = 0;
  const check = (node, text, color, style) => {
    texts++;
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const under = ground(node);
    const found = ratio(over(parse(color), under), under);
    if (found < (isLarge ? 3 : 4.5)) faint.push(`${text.trim().slice(0, 30)}: ${found.toFixed(2)} ${color}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || /^(SCRIPT|TITLE)$/i.test(node.tagName)) continue;
    const style = getComputedStyle(node);
    check(node, walker.currentNode.data, node instanceof SVGElement ? style.fill : style.color, style);
  }
  for (const node of document.querySelectorAll("input, select, button")) check(node, node.placeholder || "control", getComputedStyle(node, "::placeholder").color, getComputedStyle(node));
  return { texts, faint };
}
