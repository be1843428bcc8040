// What is wrong with this page, as sentences.
const flaws = [];
const say = (text) => { if (flaws.length < 40 && !flaws.includes(text)) flaws.push(text); };
const name = (el) => {
  const id = el.id ? `#${el.id}` : "";
  const text = (el.innerText || el.value || el.getAttribute("aria-label") || "").trim().replace(/\s+/g, " ").slice(0, 40);
  return `${el.tagName.toLowerCase()}${id}${typeof el.className === "string" && el.className ? "." + el.className.trim().split(/\s+/).join(".") : ""} "${text}"`;
};
const seen = (el) => el.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && el.getClientRects().length > 0;

if (!document.documentElement.lang) say("the page does not say its language");
if (!document.title.trim()) say("the page has no title");
const heads = [...document.querySelectorAll("h1")].filter(seen).length;
if (heads !== 1) say(`the page has ${heads} first headings`);
if (!document.querySelector("main")) say("the page has no main part");
const ids = new Map();
document.querySelectorAll("[id]").forEach((el) => ids.set(el.id, (ids.get(el.id) || 0) + 1));
ids.forEach((count, id) => { if (count > 1) say(`${count} elements are #${id}`); });

const root = document.scrollingElement;
if (root.scrollWidth > root.clientWidth) {
  say(`the page scrolls sideways: ${root.scrollWidth} of ${root.clientWidth} pixels`);
  document.querySelectorAll("body *").forEach((el) => {
    const box = el.getBoundingClientRect();
    const own = [...el.children].every((child) => child.getBoundingClientRect().right <= root.clientWidth);
    if (own && box.right > root.clientWidth + 1 && seen(el) && !el.closest(".scroll")) say(`too wide: ${name(el)}`);
  });
}

// A table in a box that scrolls: what is cut off is not seen, and without a mouse not reached.
document.querySelectorAll("table").forEach((table) => {
  const box = table.parentElement;
  if (seen(table) && getComputedStyle(box).overflowX !== "visible" && box.scrollWidth > box.clientWidth + 1) {
    const last = [...table.rows].flatMap((row) => [...row.cells]).find((cell) => cell.getBoundingClientRect().right > box.getBoundingClientRect().right + 1);
    say(`cut off: a table shows ${box.clientWidth} of ${box.scrollWidth} pixels, up to ${last ? name(last) : "its end"}`);
  }
});

document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary").forEach((el) => {
  if (!seen(el)) return;
  const label = (el.labels && [...el.labels].map((l) => l.innerText).join("")) || el.innerText || el.getAttribute("aria-label") || el.title;
  if (!label || !label.trim()) say(`a control without a name: ${name(el)}`);
  if (el.matches("a[href]") && new URL(el.href).origin !== location.origin && !/noopener|noreferrer/.test(el.rel)) say(`a link out without rel: ${name(el)}`);
});

// Contrast as WCAG 2 counts it: 4.5 for text, 3 for large text.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const colours = new Map();
const colour = (text) => {
  if (!colours.has(text)) {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    colours.set(text, [r, g, b, a / 255]);
  }
  return colours.get(text);
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const ground = (el) => {
  const layers = [];
  for (let at = el; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.backgroundImage !== "none") return null;
    layers.push(colour(style.backgroundColor));
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return layers.reverse().reduce((below, top) => over(top, below), dark ? [18, 18, 18, 1] : [255, 255, 255, 1]);
};
const light = ([r, g, b]) => {
  const part = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const done = new Set();
while (walker.nextNode() && done.size < 3000) {
  const el = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || done.has(el) || el.closest("svg, script, style, [aria-hidden=true]") || !seen(el)) continue;
  const box = el.getBoundingClientRect();
  if (box.right < 0 || box.bottom < 0 || el.matches(":disabled, .skip, .hide")) continue;
  done.add(el);
  const below = ground(el);
  if (!below) continue;
  const style = getComputedStyle(el);
  const [a, b] = [light(over(colour(style.color), below)), light(below)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (large ? 3 : 4.5)) say(`too pale (${ratio.toFixed(1)}): ${name(el)}`);
}
return flaws;
