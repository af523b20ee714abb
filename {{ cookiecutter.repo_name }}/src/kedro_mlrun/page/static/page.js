"use strict";
// Without this file the page works as well: it only saves loading, and lets what goes on grow.
const $ = (selector, inside = document) => inside.querySelector(selector);
const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const EVERY = 2000;
const checked = new Set();
const opened = new Set();
let here = null;

const say = (text) => { $("#said").textContent = text; };

// Ask for a part of a page; nothing if it is what is shown already.
const tags = new Map();
async function part(url, signal) {
  const known = tags.get(url);
  const answer = await fetch(url, { headers: known ? { "If-None-Match": known } : {}, signal });
  if (answer.status === 304) return null;
  tags.clear();
  if (answer.ok) tags.set(url, answer.headers.get("ETag"));
  return answer.text();
}

const rowOf = (id) => $$("tr[data-id]").find((row) => row.dataset.id === id);

function count() {
  const button = $("#compare");
  if (!button) return;
  button.disabled = checked.size < 2;
  $("#count").textContent = checked.size || "";
  $$("button[formaction]").forEach((other) => { other.disabled = !checked.size; });
}

function move(row) {
  $$("tr.here").forEach((other) => other.classList.remove("here"));
  here = row ? row.dataset.id : null;
  if (!row) return;
  row.classList.add("here");
  row.scrollIntoView({ block: "nearest" });
  $("a", row).focus({ preventScroll: true });
}

async function toggle(button) {
  const row = button.closest("tr");
  const next = row.nextElementSibling;
  if (next && next.className === "inner") {
    next.remove();
    opened.delete(row.dataset.id);
    button.setAttribute("aria-expanded", "false");
    return;
  }
  const text = await (await fetch(button.dataset.trials)).text();
  const inner = document.createElement("tr");
  inner.className = "inner";
  const cell = inner.appendChild(document.createElement("td"));
  cell.colSpan = row.children.length;
  cell.innerHTML = text;
  row.after(inner);
  opened.add(row.dataset.id);
  button.setAttribute("aria-expanded", "true");
}

function table(text) {
  const scrolled = $("#runs .wide") ? $("#runs .wide").scrollLeft : 0;
  const focused = $("#runs").contains(document.activeElement);
  $("#runs").innerHTML = text;
  if ($("#runs .wide")) $("#runs .wide").scrollLeft = scrolled;
  $$("tr[data-id] input").forEach((box) => { box.checked = checked.has(box.value); });
  const row = here && rowOf(here);
  if (row) { row.classList.add("here"); if (focused) $("a", row).focus({ preventScroll: true }); }
  for (const id of [...opened]) {
    const again = rowOf(id) && $(".opens", rowOf(id));
    if (again) toggle(again);
  }
  count();
}

function runs() {
  const form = $("#filter");
  let asking = null;
  let waiting = 0;
  async function load(url, isNew) {
    if (asking) asking.abort();
    asking = new AbortController();
    try {
      const text = await part(`/rows${url}`, asking.signal);
      if (text !== null) table(text);
      if (isNew) history.replaceState(null, "", `/${url}`);
      say("");
    } catch (error) {
      if (error.name !== "AbortError") say("The server doesn't answer.");
    }
  }
  form.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const query = new URLSearchParams(new FormData(form));
      query.delete("columns");
      load(`?${query}`, true);
    }, 150);
  });
  $("#runs").addEventListener("change", (event) => {
    if (event.target.name !== "id") return;
    checked[event.target.checked ? "add" : "delete"](event.target.value);
    count();
  });
  $("#runs").addEventListener("click", (event) => {
    const button = event.target.closest(".opens");
    if (button) toggle(button);
  });
  // What is checked on another page, or below another filter, is compared as well.
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "chosen") return;
    for (const id of checked) {
      if (rowOf(id)) continue;
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name: "id", value: id });
      event.target.append(input);
    }
  });
  $$("#runs input:checked").forEach((box) => checked.add(box.value));
  count();
  setInterval(() => { if (!document.hidden && !asking?.busy) load(location.search, false); }, EVERY);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    const rows = $$("tr[data-id]");
    const at = rows.findIndex((row) => row.dataset.id === here);
    const box = at >= 0 && $("input", rows[at]);
    if (event.key === "/") { event.preventDefault(); $("#q").focus(); $("#q").select(); }
    if (event.key === "j") move(rows[Math.min(at + 1, rows.length - 1)]);
    if (event.key === "k") move(rows[Math.max(at - 1, 0)]);
    if (event.key === "x" && box) { box.click(); }
    if (event.key === "o" && at >= 0 && $(".opens", rows[at])) toggle($(".opens", rows[at]));
    if (event.key === "c" && checked.size > 1) $("#compare").click();
  });
}

// A run that goes on: what there is of it comes by itself, and so does its log.
function live() {
  const timer = setInterval(async () => {
    if (document.hidden || $("details.ask[open]")) return;
    try {
      const text = await part(location.pathname + location.search);
      if (text === null) return;
      const fresh = new DOMParser().parseFromString(text, "text/html");
      const open = $$("#live details").map((each) => each.open);
      $("#live").innerHTML = $("#live", fresh).innerHTML;
      $$("#live details").forEach((each, n) => { if (open[n]) each.open = true; });
      if (!("live" in $("#live", fresh).dataset)) { clearInterval(timer); location.reload(); }
    } catch { say("The server doesn't answer."); }
  }, EVERY);
}

async function log(element) {
  let offset = 0;
  element.textContent = "";
  for (;;) {
    let told;
    try {
      const answer = await fetch(`${element.dataset.log}&offset=${offset}`, { headers: { Accept: "application/json" } });
      told = await answer.json();
    } catch { told = { text: "", offset, state: "running" }; }
    if (told.error) { element.textContent = told.error; return; }
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    if (told.text) element.append(told.text);
    if (atEnd) element.scrollTop = element.scrollHeight;
    offset = told.offset;
    if (told.more) continue;
    if (!["running", "pending", "created"].includes(told.state)) break;
    await new Promise((go) => { setTimeout(go, EVERY / 2); });
  }
  if (!element.textContent) element.textContent = "This run has no log.";
}

document.addEventListener("toggle", async (event) => {
  const details = event.target;
  const url = details.dataset?.part;
  if (!details.open || !url?.startsWith("/preview") || details.dataset.loaded) return;
  details.dataset.loaded = "1";
  const place = document.createElement("div");
  place.innerHTML = await (await fetch(url)).text();
  details.append(place);
}, true);

if ($("#runs")) runs();
if ($("[data-live]")) live();
if ($("[data-log]")) log($("[data-log]"));
