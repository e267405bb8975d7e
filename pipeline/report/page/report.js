"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const names = data.classes, k = names.length, by = (id) => document.getElementById(id);
const PATH = 0, TRUE = 1, ANSWER = 2, SCORE = 3, IMAGE = 4, NEAR = 5, PAGE = 24;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function picture(photo) {
  if (photo[IMAGE] === null) return make("span", { class: "none" }, "no picture");
  return make("img", { src: "data:image/jpeg;base64," + data.images[photo[IMAGE]], alt: "", width: 96, height: 96, loading: "lazy", decoding: "async" });
}

function words(photo) {
  const right = photo[TRUE] === photo[ANSWER];
  return right ? `${names[photo[TRUE]]} ${photo[SCORE]}` : `${names[photo[TRUE]]}, taken for ${names[photo[ANSWER]]} ${photo[SCORE]}`;
}

// Photos of a cell, some at a time.
const cells = new Map();
data.photos.forEach((photo, place) => {
  const key = photo[TRUE] * k + photo[ANSWER];
  if (!cells.has(key)) cells.set(key, []);
  cells.get(key).push(place);
});
const counts = new Map(data.pairs.map(([t, p, n]) => [t * k + p, n]));
const support = new Array(k).fill(0);
data.pairs.forEach(([t, , n]) => { support[t] += n; });
let waiting = [];

function card(photo) {
  const wrong = photo[TRUE] !== photo[ANSWER];
  const button = make("button", { type: "button", class: wrong ? "wrong" : "ok", title: photo[PATH] }, picture(photo), words(photo));
  button.addEventListener("click", () => open(photo));
  return make("li", {}, button);
}

function more() {
  by("photos").append(...waiting.splice(0, PAGE).map((place) => card(data.photos[place])));
  by("more").hidden = !waiting.length;
}

function show(t, p, move) {
  const key = t * k + p, all = counts.get(key) || 0, found = cells.get(key) || [];
  by("shown-title").textContent = t === p ? `${names[t]}, right: ${all}` : `${names[t]} taken for ${names[p]}: ${all}`;
  const order = t === p ? "the most uncertain first" : "those with the highest score first";
  by("shown-note").textContent = found.length < all ? `${found.length} of ${all} are in this page, ${order}; predictions.csv has all` : all ? order : "no image";
  by("photos").replaceChildren();
  waiting = [...found];
  more();
  if (move) { by("shown-title").focus({ preventScroll: true }); by("shown").scrollIntoView({ block: "nearest" }); }
}
by("more").addEventListener("click", more);
document.querySelectorAll(".pairs button").forEach((button) => button.addEventListener("click", () => {
  const t = names.indexOf(button.dataset.true), p = names.indexOf(button.dataset.predicted);
  press(t, p);
  show(t, p, true);
}));

function open(photo) {
  by("photo-title").textContent = words(photo);
  const body = make("div", {}, picture(photo), make("p", {}, photo[PATH]));
  if (photo[NEAR].length) {
    const near = photo[NEAR].map(([place, alike]) => make("li", {}, picture(data.training[place]), `${names[data.training[place][TRUE]]}, alike ${alike}`, make("br"), data.training[place][PATH]));
    body.append(make("h3", {}, "The nearest training photos"), make("ul", { class: "photos" }, ...near));
  }
  by("photo-body").replaceChildren(body);
  by("photo").showModal();
}

// The matrix: all cells of few classes, of many those that occur; arrow keys go from one to the next.
const grid = by("matrix"), buttons = new Map();
let pressed = null;

function press(t, p) {
  if (!grid) return;
  const button = buttons.get(t * k + p);
  if (!button) return;
  if (pressed) { pressed.setAttribute("aria-pressed", "false"); pressed.tabIndex = -1; }
  pressed = button;
  button.setAttribute("aria-pressed", "true");
  button.tabIndex = 0;
}

function label(t, p) {
  if (!support[t]) return `${names[t]}: no images of this class`;
  const n = counts.get(t * k + p) || 0, share = support[t] ? Math.round(1000 * n / support[t]) / 10 : 0;
  return t === p ? `${names[t]}: ${n} of ${support[t]} right, ${share} %` : `${names[t]} taken for ${names[p]}: ${n} of ${support[t]}, ${share} %`;
}

function draw() {
  const few = k <= 40, side = k <= 12 ? 44 : few ? 26 : 14;
  const at = new Map(data.order.map((name, place) => [name, place]));
  grid.style.gridTemplateColumns = `max-content repeat(${k}, ${side}px)`;
  grid.style.gridAutoRows = `${side}px`;
  grid.style.gridTemplateRows = few ? "max-content" : "";
  const top = few ? 2 : 1, parts = document.createDocumentFragment();
  data.order.forEach((name, place) => {
    const row = make("span", { class: "name", title: names[name] }, names[name]);
    row.style.gridArea = `${place + top} / 1`;
    parts.append(row);
    if (few) {
      const column = make("span", { class: "name top", title: names[name] }, names[name]);
      column.style.gridArea = `1 / ${place + 2}`;
      parts.append(column);
    }
  });
  const drawn = few ? data.order.flatMap((t) => data.order.map((p) => [t, p])) : data.pairs.map(([t, p]) => [t, p]);
  drawn.sort((a, b) => at.get(a[0]) - at.get(b[0]) || at.get(a[1]) - at.get(b[1]));
  for (const [t, p] of drawn) {
    const n = counts.get(t * k + p) || 0, share = support[t] ? n / support[t] : 0;
    const button = make("button", { type: "button", tabindex: "-1", "aria-pressed": "false", "aria-label": label(t, p), class: t === p ? "right" : "" });
    button.style.gridArea = `${at.get(t) + top} / ${at.get(p) + 2}`;
    button.style.setProperty("--v", `${n ? Math.round(25 + 75 * share) : 0}%`);
    if (!support[t]) button.classList.add("absent");
    button.dataset.count = n || "";
    button.dataset.percent = n ? Math.round(100 * share) : "";
    button.dataset.t = t;
    button.dataset.p = p;
    if (few) button.textContent = button.dataset.count;
    buttons.set(t * k + p, button);
    parts.append(button);
  }
  grid.append(parts);
  grid.addEventListener("click", (event) => { const b = event.target.closest("button"); if (b) { press(+b.dataset.t, +b.dataset.p); show(+b.dataset.t, +b.dataset.p, false); } });
  grid.addEventListener("focusin", (event) => { const b = event.target.closest("button"); if (b) by("cell").textContent = label(+b.dataset.t, +b.dataset.p); });
  grid.addEventListener("mouseover", (event) => { const b = event.target.closest("button"); if (b) by("cell").textContent = label(+b.dataset.t, +b.dataset.p); });
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const b = event.target.closest("button");
    if (!steps || !b) return;
    event.preventDefault();
    let i = at.get(+b.dataset.t) + steps[0], j = at.get(+b.dataset.p) + steps[1];
    while (i >= 0 && j >= 0 && i < k && j < k) {
      const next = buttons.get(data.order[i] * k + data.order[j]);
      if (next) { b.tabIndex = -1; next.tabIndex = 0; next.focus(); return; }
      i += steps[0]; j += steps[1];
    }
  });
  by("percent").addEventListener("change", (event) => { if (few) for (const b of buttons.values()) b.textContent = event.target.checked ? b.dataset.percent : b.dataset.count; });
}

// The map of the codes.
function colour(label) { return `hsl(${(label * 137.508) % 360} 65% 50%)`; }

function dots() {
  const space = "http://www.w3.org/2000/svg", svg = by("dots"), tip = by("tip");
  const xs = data.dots.map((d) => d[0]), ys = data.dots.map((d) => d[1]);
  const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
  const scale = (v, i, size) => 20 + (size - 40) * (v - low[i]) / (high[i] - low[i] || 1);
  for (const [x, y, place] of data.dots) {
    const photo = data.photos[place], circle = document.createElementNS(space, "circle");
    const wrong = photo[TRUE] !== photo[ANSWER];
    for (const [name, value] of Object.entries({ cx: scale(x, 0, 1000), cy: 700 - scale(y, 1, 700), r: wrong ? 7 : 5, fill: colour(photo[TRUE]), "fill-opacity": 0.75, stroke: wrong ? "var(--wrong)" : "none", "stroke-width": 3 })) circle.setAttribute(name, value);
    circle.addEventListener("mouseenter", () => {
      tip.replaceChildren(picture(photo), words(photo));
      tip.hidden = false;
      const box = svg.getBoundingClientRect(), here = circle.getBoundingClientRect();
      tip.style.left = `${Math.min(here.left - box.left + 12, box.width - 150)}px`;
      tip.style.top = `${here.top - box.top + 12}px`;
    });
    circle.addEventListener("mouseleave", () => { tip.hidden = true; });
    circle.addEventListener("click", () => open(photo));
    svg.append(circle);
  }
  const seen = [...new Set(data.dots.map((d) => data.photos[d[2]][TRUE]))].sort((a, b) => a - b);
  by("legend").append(...seen.slice(0, 40).map((name) => { const dot = make("span"); dot.style.background = colour(name); return make("li", {}, dot, names[name]); }));
}

if (grid) {
  draw();
  const errors = data.pairs.filter(([t, p]) => t !== p).sort((a, b) => b[2] - a[2]), first = errors[0] || data.pairs[0];
  press(first[0], first[1]);
  show(first[0], first[1], false);
} else if (document.querySelector(".pairs button")) {
  document.querySelector(".pairs button").click();
}
if (by("dots")) dots();
