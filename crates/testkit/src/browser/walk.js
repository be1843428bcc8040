// A walk through the page by keyboard; the state lives in the window between two calls.
const controls = () => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex='-1'])")]
  .filter((el) => !el.disabled && el.tabIndex >= 0 && el.checkVisibility({ visibilityProperty: true }) && el.getClientRects().length > 0)
  // Of a group of radio buttons one stop is enough.
  .filter((el) => el.type !== "radio" || el.checked);
const name = (el) => `${el.tagName.toLowerCase()} "${(el.innerText || el.value || el.getAttribute("aria-label") || el.name || "").trim().replace(/\s+/g, " ").slice(0, 40)}"`;
const begin = () => {
  if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  getSelection().removeAllRanges();
  // In a list of thousands the first few hundred speak for the rest.
  window.__walk = { all: controls().slice(0, 300), reached: new Set(), unseen: new Set() };
  window.__walk.plain = new Map(window.__walk.all.map((el) => [el, marks(el)]));
  return window.__walk.all.length;
};
const marks = (el) => { const s = getComputedStyle(el); return [s.outlineStyle, s.outlineWidth, s.outlineColor, s.boxShadow, s.borderColor, s.backgroundColor, s.textDecorationLine].join("|"); };
const note = () => {
  const el = document.activeElement;
  if (!el || el === document.body) return;
  window.__walk.reached.add(el);
  const plain = window.__walk.plain.get(el);
  const outlined = getComputedStyle(el).outlineStyle !== "none";
  if (plain !== undefined && plain === marks(el) && !outlined) window.__walk.unseen.add(el);
};
const missed = () => [
  ...window.__walk.all.filter((el) => el.isConnected && !window.__walk.reached.has(el)).map((el) => `not reached: ${name(el)}`),
  ...[...window.__walk.unseen].map((el) => `focus is not shown: ${name(el)}`),
];
