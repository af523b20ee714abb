// Charts of compared runs, of one run's metrics over steps, and of a search's trials: from what the
// page is asked for, or an exported file has in it.
const FEW = 8; // runs, or texts, that have a colour of their own

function set(element, attributes, ...inner) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inner);
  return element;
}
const html = (tag, ...rest) => set(document.createElement(tag), ...rest);
const svg = (tag, ...rest) => set(document.createElementNS("http://www.w3.org/2000/svg", tag), ...rest);

// What would turn a text round, or can't be seen, is written as its number.
const whole = (value) => (typeof value === "string" ? value : JSON.stringify(value))
  .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) => `\\u${letter.codePointAt(0).toString(16)}`);
// So many digits, that 123456.1 is told from 123456.8.
function said(value, most = 40, digits = Math.abs(value) < 1e4 ? 5 : 8) {
  if (typeof value === "number") return String(Number.isSafeInteger(value) ? value : +value.toPrecision(digits));
  const text = value === null ? "none" : whole(value);
  return text.length > most ? `${text.slice(0, most / 2 - 1)}…${text.slice(-most / 2)}` : text;
}

const place = $("#charts");
const { url } = place.dataset;
// When the page is left, no answer comes, and there is nothing to do.
const load = (address) => fetch(address).then((answer) => answer.json()).catch(() => null);
const field = (name, values) => ({ name, field: name, values });
let [data, runs, what, names, fields] = [{}, [], "", [], [field("run", [])]]; // see `update`
const metrics = new Map();
const picked = (id) => fields.find((each) => each.field === $(id).value) ?? fields[0];
const drawings = [];

// Tell where values are between two pixels: numbers in their distances, texts in their order.
// A scale is logarithmic if the largest value is that many times the smallest.
function scale(values, from, to, many = Infinity) {
  const known = values.filter((value) => value !== null);
  const room = Math.abs(to - from) / (from < to ? 90 : 45); // how many numbers can be read
  if (!known.length || known.some((value) => typeof value !== "number")) {
    const texts = [...new Set(known.map(whole))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const places = new Map(texts.map((text, n) => [text, from + ((to - from) * (n + 0.5)) / texts.length]));
    const read = texts.filter((_, n) => n % Math.ceil(texts.length / room / 2) === 0);
    const at = (value) => places.get(whole(value));
    return { at, texts, ticks: read.map((text) => [at(text), said(text, 14)]) };
  }
  let [low, high] = [Math.min, Math.max].map((pick) => known.reduce((a, b) => pick(a, b)));
  if (low === high) [low, high] = [low, high].map((end, n) => end + (n - 0.5) * (Math.abs(end) || 2));
  const isLog = low > 0 && high / low >= many;
  const [along, back] = isLog ? [Math.log10, (value) => 10 ** value] : [Number, Number];
  const [first, last] = [along(low), along(high)];
  const unit = (to - from) / (last - first);
  const at = (value) => (value === null ? undefined : from + (along(value) - first) * unit);
  const inPowers = isLog && last - first >= 2;
  const [start, end] = inPowers ? [first, last] : [low, high];
  const least = Math.max(inPowers ? 1 : 0, (end - start) / Math.max(2, room));
  const step = [1, 2, 5, 10].map((n) => n * 10 ** Math.floor(Math.log10(least))).find((n) => n > least * 0.999);
  const ticks = [];
  for (let n = Math.ceil(start / step); n * step <= end; n += 1) ticks.push(inPowers ? back(n * step) : n * step);
  const valueAt = (pixel) => back(first + (pixel - from) / unit);
  // Which have as many digits as tell them apart.
  const digits = inPowers ? 5 : 1 + Math.ceil(Math.log10(Math.max(-low, high) / step));
  return { at, valueAt, isLog, ends: [low, high], ticks: ticks.map((n) => [at(n), said(n, 40, digits)]) };
}

const wanted = (id, many = 100) => ($(id).checked ? many : Infinity);
const label = (name, { isLog }, most) => said(name, most) + (isLog ? " (log)" : "");
const text = (x, y, anchor, inner, kind = "") => svg("text", { x, y, "text-anchor": anchor, class: kind }, inner);
function axes(x, y, [left, top, right, bottom], xName, yName = "") {
  return [...y.ticks.map(([at]) => svg("path", { class: "rule", d: `M${left},${at}H${right}` })),
    ...y.ticks.map(([at, told]) => text(left - 6, at + 4, "end", told)),
    ...x.ticks.map(([at, told]) => text(at, bottom + 16, "middle", told)),
    text(right, bottom + 32, "end", xName, "name"), text(0, top - 8, "start", yName, "name")];
}

// A run's colour: a text has one of a few, a number is between two.
let look = () => ({});
const coded = (n) => ({ stroke: `var(--c${n % FEW})`, "stroke-dasharray": ["none", "7 3", "2 3", "9 3 2 3"][n % 4] });
const key = (style, told) => html("span", {},
  svg("svg", { width: 26, height: 8, "aria-hidden": true }, svg("path", { class: "line", d: "M0,4H26", ...style })), ` ${told}`);
function recolour() {
  const { values } = picked("#colour");
  const { at, ends, texts, isLog } = scale(values, 0, 100, 100);
  const mixed = (value) => ({ stroke: `color-mix(in oklab, var(--high) ${at(value).toFixed()}%, var(--low))` });
  const styled = (value) => (texts ? coded(texts.indexOf(whole(value))) : mixed(value));
  look = (run) => (values[run] === null ? { stroke: "var(--dim)" } : styled(values[run]));
  $("#legend").replaceChildren(...(texts?.slice(0, FEW) ?? ends).map((value) => key(styled(value), said(value))),
    isLog ? "(log)" : "", texts?.length > FEW ? `… of ${texts.length}` : "");
}
function line(run, points, style = look(run)) {
  const parts = points.map(([x, y], n) => `${n ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`);
  if (parts.length === 1) parts.push("h5");
  return svg("path", { class: "line", "data-run": run, d: parts.join(""), ...style });
}

// ---- A chart: a pointer, or arrow keys, point at one of the things that are in it.
function tell(element, lines, [x, y] = [0, 0], run = -1) {
  for (const each of $$(".hot")) each.classList.remove("hot");
  for (const each of $$(`[data-run="${run}"]`)) each.classList.add("hot");
  const [tip, box] = [$("#tip"), element.getBoundingClientRect()];
  tip.hidden = !lines.length;
  tip.replaceChildren(...lines.map((each) => html("div", {}, each)));
  tip.style.left = `${Math.max(4, Math.min(box.left + x + 16, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(box.top + y + 16, innerHeight - tip.offsetHeight - 8))}px`;
}
const facts = (run, chosen) => [names[run], ...[...new Set(chosen)].filter((field) => field !== fields[0])
  .map((field) => `${said(field.name)}: ${said(field.values[run])}`)];

function openRun(run, event) {
  if (what === "trials") return; // which have no page
  if (url) window.open(`/run?id=${encodeURIComponent(runs[run].uid)}`, event.ctrlKey || event.metaKey ? "_blank" : "_self");
  else set($(`tr[data-run="${run}"]`), { tabindex: -1 }).focus(); // nor has a file
}
const local = (element, event, { left, top } = element.getBoundingClientRect()) => [event.clientX - left, event.clientY - top];
const closest = (distances, most = Infinity) => distances.indexOf(distances.reduce((a, b) => Math.min(a, b), most));

function chart({ count, nearest, show, open = openRun, reset = () => {} }) {
  const element = svg("svg", { role: "img", tabindex: 0, class: "chart" });
  let now = -1;
  const point = (n, at) => {
    now = n;
    return n < 0 ? tell(element, []) : show(n, at);
  };
  element.onpointermove = element.onpointerdown = (event) => point(nearest(...local(element, event)), local(element, event));
  element.onpointerleave = element.onblur = () => point(-1);
  element.ondblclick = reset;
  element.onclick = (event) => {
    // By a touch it is only now that something is shown.
    if (now >= 0 && event.pointerType !== "touch" && !event.target.closest(".grip")) open(now, event);
  };
  element.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && now >= 0) open(now, event);
    if (event.key === "Escape") reset();
    if (!step || !count()) return;
    event.preventDefault();
    point(Math.max(0, Math.min(now + step, count() - 1)));
  };
  return element;
}

// Tell from where to where something is dragged, and whether that has ended.
function drag(element, within, moved) {
  let start = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    start = local(within, event);
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => { if (start) moved(start, local(within, event), false); });
  element.addEventListener("lostpointercapture", (event) => { moved(start, local(within, event), true); start = null; });
}

// ---- Metrics over steps.
// The mean of what came before weighs by how far that is, however many points there are.
function smooth(points, weight, unit) {
  let [sum, weights, before] = [0, 0, null];
  return points.map(([at, value]) => {
    const kept = weight ** (before === null ? 1 : Math.max(0, at - before) / unit);
    [sum, weights, before] = [kept * sum + (1 - kept) * value, kept * weights + (1 - kept), at];
    return [at, weights ? sum / weights : value, value];
  });
}

function curves(name) {
  const title = said(name, 80);
  let [shown, steps, zoom, x, y, box] = [[], [], null, null, null, []];
  const [cursor, legend] = [svg("path", { class: "cursor" }), html("figcaption", { class: "legend" })];
  const found = (step, height) => shown.filter(({ points }) => points[0][0] <= step && step <= points.at(-1)[0])
    .map(({ run, name, points }) => {
      const [, mean, value] = points[closest(points.map((each) => Math.abs(each[0] - step)))];
      const smoothed = mean === value ? "" : ` (smoothed ${said(mean)})`;
      return { run, told: `${said(value)}${smoothed}  ${name}`, far: Math.abs(y.at(mean) - height) };
    }).sort((a, b) => a.far - b.far);
  const element = chart({
    count: () => steps.length,
    nearest: (left) => closest(steps.map((step) => Math.abs(x.at(step) - left))),
    show(n, at = [x.at(steps[n]), box[1]]) {
      const all = found(steps[n], at[1]);
      const head = `${$("#over").selectedOptions[0].text} ${said(steps[n])}`;
      const lines = [head, ...all.slice(0, FEW).map((each) => each.told)];
      if (all.length > FEW) lines.push(`and ${all.length - FEW} more`);
      cursor.setAttribute("d", `M${x.at(steps[n])},${box[1]}V${box[3]}`);
      tell(element, lines, at, all[0]?.run);
    },
    open: () => {},
    reset() { zoom = null; draw(); },
  });
  drag(element, element, ([start], [end], isEnd) => {
    const [from, to] = [Math.min(start, end), Math.max(start, end)];
    cursor.setAttribute("d", `M${from},${box[1]}H${to}V${box[3]}H${from}Z`);
    if (!isEnd || to - from < 8 || !x.valueAt) return;
    zoom = { along: $("#over").value, from: x.valueAt(from), to: x.valueAt(to) };
    draw();
  });
  drawings.push(() => {
    const [along, metric] = [$("#over").value, metrics.get(name)];
    // Of a run alone, curves have names, and numbers that no run has.
    const given = metric.curves.map((each, n) => ({ ...each,
      ...(each.name ? { run: ~n, style: coded(n), name: said(each.name) } : { name: names[each.run] }) }));
    const keys = given.length > 1 ? given.filter((each) => each.style) : [];
    legend.replaceChildren(title, ...keys.map((each) => key(each.style, each.name)));
    if (along !== zoom?.along) zoom = null;
    const timed = given.filter((each) => each[along]);
    box = [56, 20, element.clientWidth - 18, element.clientHeight - 38];
    const isSeen = ([at]) => !zoom || (zoom.from <= at && at <= zoom.to);
    const all = timed.flatMap((each) => each[along]).filter((at) => at !== null);
    const [low, high] = scale(all, 0, 1).ends ?? [0, 100];
    shown = timed.map((each) => {
      const points = each.y.map((value, n) => [each[along][n], value]).filter(([at]) => at !== null);
      return { ...each, points: smooth(points, Number($("#smoothing").value), (high - low) / 100).filter(isSeen) };
    }).filter((each) => each.points.length);
    const points = shown.flatMap((each) => each.points);
    steps = [...new Set(points.map((point) => point[0]))].sort((a, b) => a - b);
    x = scale(zoom ? [zoom.from, zoom.to] : steps, box[0], box[2]);
    y = scale(points.map((point) => point[1]), box[3], box[1], wanted("#log-curves", 1));
    element.replaceChildren(...axes(x, y, box, along === "x" ? said(metric.over) : "seconds",
      timed.length ? label("", y) : "Its times aren't recorded."),
      ...shown.map(({ run, points, style }) => line(run, points.map(([a, b]) => [x.at(a), y.at(b)]), style)),
      set(cursor, { d: "" }));
    element.setAttribute("aria-label", `${title} of ${shown.length} ${given[0].style ? "curves" : "runs"}`);
  });
  return html("figure", {}, legend, element);
}

// ---- Parallel coordinates.
const [TOP, BOTTOM, NONE] = [52, 268, 290];
const brushes = new Map(); // by fields' names: the pixels between which its values are to be
let isOut = () => false;

function brush() {
  const out = runs.map((_, run) => isOut(run));
  for (const each of $$("[data-run]")) each.classList.toggle("out", out[each.dataset.run] ?? false);
  $("#brushed").textContent = brushes.size ? `${out.filter((each) => !each).length} of ${runs.length} ${what}` : "";
  $("#unbrush").hidden = !brushes.size;
}

function axis(field, n, isLast, scaled, ticks, element) {
  const range = svg("rect", { class: "brush", x: -8, width: 16 });
  const grip = svg("rect", { class: "grip", x: -16, y: TOP - 10, width: 32, height: NONE - TOP + 20 });
  const mark = ([from, to] = [0, 0]) => set(range, { y: from, height: to - from });
  mark(brushes.get(field.field));
  drag(grip, element, ([, start], [, end], isEnd) => {
    brushes.set(field.field, [Math.min(start, end), Math.max(start, end)]);
    if (isEnd && Math.abs(start - end) < 4) brushes.delete(field.field);
    mark(brushes.get(field.field));
    brush();
  });
  const [x, anchor] = isLast ? [22, "end"] : [n ? 0 : -84, n ? "middle" : "start"];
  return [svg("title", {}, whole(field.name)), svg("path", { class: "rule", d: `M0,${n % 2 ? 34 : 16}V${BOTTOM}` }),
    text(x, n % 2 ? 30 : 12, anchor, label(field.name, scaled, 32), "name"),
    ...ticks.map(([at, told]) => text(-5, at + 4, "end", told)), range, grip];
}

function parallel(parent) {
  let [shown, places, x] = [[], [], null];
  const element = chart({
    count: () => places.length,
    nearest(left, height) {
      const n = Math.max(0, Math.min(shown.length - 2, Math.floor((left - x(0)) / (x(1) - x(0)))));
      const part = (left - x(n)) / (x(1) - x(0));
      const away = (ys) => Math.abs(ys[n] + part * (ys[n + 1] - ys[n]) - height);
      return closest(places.map((ys, run) => (isOut(run) ? Infinity : away(ys))), 12);
    },
    show: (run, at = [x(0), places[run][0]]) => tell(element, facts(run, shown), at, run),
  });
  parent.append(element);
  drawings.push(() => {
    const axes = $$("#parallel .menu input:checked").map((each) => each.value);
    for (const name of brushes.keys()) if (!axes.includes(name)) brushes.delete(name);
    shown = fields.filter((each) => axes.includes(each.field));
    shown.sort((a, b) => data.results.includes(a) - data.results.includes(b));
    const width = Math.max(parent.clientWidth, shown.length * 100);
    x = (n) => 86 + (n * (width - 110)) / Math.max(1, shown.length - 1);
    const scales = shown.map((field) => scale(field.values, BOTTOM, TOP, wanted("#log-parallel")));
    places = runs.map((_, run) => shown.map((field, n) => scales[n].at(field.values[run]) ?? NONE));
    isOut = (run) => shown.some((field, n) => {
      const [from, to] = brushes.get(field.field) ?? [0, NONE];
      return places[run][n] < from || places[run][n] > to;
    });
    const marks = (n) => [...scales[n].ticks, ...(places.some((ys) => ys[n] === NONE) ? [[NONE, "none"]] : [])];
    element.replaceChildren(...places.map((ys, run) => line(run, ys.map((y, n) => [x(n), y]))),
      ...shown.map((field, n) => svg("g", { class: "axis", transform: `translate(${x(n)} 0)` },
        ...axis(field, n, n === shown.length - 1, scales[n], marks(n), element))));
    set(element, { width, "aria-label": `Parallel coordinates of ${runs.length} ${what}` });
  });
}

// ---- Scatter.
function scatter(parent) {
  let points = []; // of runs that have both values
  const element = chart({
    count: () => points.length,
    nearest: (x, y) => closest(points.map((each) => Math.hypot(each.x - x, each.y - y)), 20),
    show: (n) => tell(element, facts(points[n].run, ["#x", "#y", "#colour"].map(picked)),
      [points[n].x, points[n].y], points[n].run),
    open: (n, event) => openRun(points[n].run, event),
  });
  parent.append(element);
  drawings.push(() => {
    const box = [92, 20, element.clientWidth - 18, element.clientHeight - 38];
    const [a, b] = ["#x", "#y"].map(picked);
    const many = wanted("#log-scatter");
    const [x, y] = [scale(a.values, box[0] + 8, box[2], many), scale(b.values, box[3], box[1], many)];
    points = runs.map((_, run) => ({ run, x: x.at(a.values[run]), y: y.at(b.values[run]) }))
      .filter((each) => each.x !== undefined && each.y !== undefined);
    element.replaceChildren(...axes(x, y, box, label(a.name, x), label(b.name, y)), ...points.map((each) =>
      svg("circle", { cx: each.x, cy: each.y, r: 5, "data-run": each.run, fill: look(each.run).stroke })));
    element.setAttribute("aria-label", `${said(b.name)} over ${said(a.name)} of ${points.length} ${what}`);
  });
}

const draw = () => [recolour, ...drawings, brush].forEach((each) => each());

// ---- What there is now, as the reader has chosen; at first what differs, of results what sums up.
const has = ({ values }) => values.filter((value) => value !== null);
const varied = (list) => list.filter((each) => new Set(has(each).map((value) => JSON.stringify(value))).size > 1);
const isRare = (each) => 2 * has(each).length < runs.length;
const depth = ({ name, field }) => (field === data.metric ? 0 : name.split(".").length);
const way = ({ type }) => (type === "checkbox" ? "checked" : "value");
const [kept, listed] = [history.state?.charts ?? {}, new Set()]; // what the reader has set; fields

function choose() {
  const [params, results] = [varied(data.parameters), varied(data.results).sort((a, b) => isRare(a) - isRare(b) || depth(a) - depth(b))];
  const first = [...params.slice(0, 5), ...results.slice(0, 4)];
  if (first.length < 2) first.push(...fields.slice(0, 2));
  // The pair that most runs have both of.
  const numbers = (list) => list.filter(({ values }) => values.some(Number.isFinite)).slice(0, 20);
  const [xs, ys] = [params, results].map((list, n) => [numbers(list), [first[n]]].find((each) => each.length));
  const both = (a, b) => a !== b && runs.filter((_, n) => a.values[n] !== null && b.values[n] !== null).length;
  const pairs = xs.flatMap((a) => ys.map((b) => ({ x: a.field, y: b.field, many: both(a, b) })));
  const { x, y } = pairs.reduce((best, each) => (each.many > best.many ? each : best));
  const starts = { x, y, colour: runs.length > FEW ? y : "run" };
  for (const { field } of fields.filter((each) => !listed.has(each.field))) {
    listed.add(field);
    // On the way back, the browser would give other boxes what these were.
    const [told, box] = [said(field, 80), html("input", { type: "checkbox", value: field, autocomplete: "off" })];
    $("#parallel .menu div").append(html("label", {}, box, ` ${told}`));
    for (const id in starts) $(`#${id}`).append(new Option(told, field));
  }
  for (const each of $$(":is(input, select)[id]", place)) each[way(each)] = kept[each.id] ?? starts[each.id] ?? each[way(each)];
  for (const box of $$("#parallel .menu input")) box.checked = (kept.axes ?? first.map((each) => each.field)).includes(box.value);
}

async function update() {
  const told = url ? await load(url) : JSON.parse($("#data").textContent);
  if (!told) return;
  [data, runs, what] = [told, told.runs, told.what];
  names = runs.map((run) => `${said(run.title)} ${said(run.uid.slice(0, 8))}`.trim());
  fields = [field("run", names), field("seconds", runs.map((run) => run.seconds)),
    ...data.results, ...data.parameters, ...data.labels]; // as the page lists them
  choose();
  place.hidden = false;
  place.classList.toggle("many", runs.length > 50);
  $("#colour").closest("div").hidden = !runs.length;
  const [lines, points] = [$("#parallel"), $("#scatter")];
  lines.hidden = points.hidden = fields.length < 3 || runs.length < 2;
  if (!lines.hidden && !$(".chart", lines)) {
    parallel($(".wide", lines));
    scatter(points);
  }
  draw();
  for (const metric of data.curves ?? await load(`${url}&curves=1`) ?? []) {
    if (!metrics.has(metric.name)) $("#curves .side").append(curves(metric.name));
    metrics.set(metric.name, metric);
  }
  const all = [...metrics.values()].flatMap((metric) => metric.curves);
  $("#curves").hidden = !all.length;
  $("#over").parentNode.hidden = !all.some((each) => each.time);
  draw();
}

$("#unbrush").onclick = () => { brushes.clear(); draw(); };
// What the reader sets is there again when the page is.
place.addEventListener("input", ({ target }) => {
  kept[target.id || "axes"] = target.id ? target[way(target)] : $$("#parallel .menu :checked").map((each) => each.value);
  history.replaceState({ charts: kept }, "");
  draw();
});
window.addEventListener("resize", draw);
window.addEventListener("hashchange", () => history.replaceState({ charts: kept }, ""));
let last = update();
window.addEventListener("grown", () => { last = last.then(update, update); });
