"use strict";
// Without this file the page works as well: it only saves loading, and lets what goes on grow.
const [EVERY, MOST] = [2000, 500]; // milliseconds; runs
// Runs, also on other pages and below other filters.
const checked = new Set(JSON.parse(sessionStorage.checked ?? "[]"));
const counted = {};
let [shown, asking, waiting] = [{}, null, 0];

// Give an answer and its text; of what went wrong none, which is said.
async function get(url, headers = {}) {
  const asked = fetch(url, { headers: { Accept: "application/json", ...headers } });
  const [answer, text = ""] = await asked.then(async (each) => [each, await each.text()]).catch(() => []);
  const isFine = answer?.ok || answer?.status === 304;
  const problem = () => (text.startsWith("{") ? JSON.parse(text).error : text);
  $("#said").textContent = isFine ? "" : problem() || "The server doesn't answer.";
  return [answer, isFine ? text : ""];
}
const idsAt = async (url) => JSON.parse((await get(url))[1] || null);

// Ask for a part of a page; if it isn't what is shown, and nothing else was asked since, show it.
async function ask(url, show) {
  const own = asking = url === shown.url ? { "If-None-Match": shown.tag } : {};
  const [answer, text] = await get(url, own);
  if (asking !== own) return;
  asking = null;
  if (answer?.status === 404) location.reload(); // It was deleted.
  if (!text) return;
  show(text);
  shown = { url, tag: answer.headers.get("ETag") };
}

function mark() {
  sessionStorage.checked = JSON.stringify([...checked]);
  if (!$("#chosen")) return;
  sessionStorage.list = location.search.slice(1);
  const boxes = $$("tr[data-id] input");
  for (const box of boxes) box.checked = checked.has(box.value);
  const [isAll, isSome] = [boxes.every((box) => box.checked), boxes.some((box) => box.checked)];
  Object.assign($("#all"), { hidden: false, checked: isAll, indeterminate: isSome && !isAll });
  if ($("#match")) $("#match").hidden = !isAll;
  $("#none").hidden = !checked.size;
  for (const each of $$("#chosen .bar button")) each.disabled = checked.size < (each.id === "compare" ? 2 : 1);
  $("#count").textContent = checked.size || "";
  grow();
}

// What was deleted elsewhere is checked no more; of what is in the table, that is seen.
async function prune() {
  const asked = [...checked].filter((id) => !$(`[data-id="${CSS.escape(id)}"]`)).slice(0, MOST);
  const there = asked.length && await idsAt(`/rows?${new URLSearchParams(asked.map((id) => ["id", id]))}`);
  if (there) asked.filter((id) => !there.includes(id)).forEach((id) => checked.delete(id));
  if (there) mark();
}

// How many match is asked for when the first are shown, and once.
async function count() {
  const [total, { all }] = [$("#total"), $("#match")?.dataset ?? {}];
  const ids = total && await (counted[all] ??= idsAt(all));
  if (ids) total.textContent = ids.length < MOST ? ids.length : `${MOST} or more`;
  else delete counted[all];
}

// How long goes on what goes on.
function grow() {
  for (const each of $$("[data-since]")) {
    const seconds = Math.max(0, Date.now() / 1000 - each.dataset.since);
    const clock = Math.floor(seconds / 3600) + new Date(1000 * seconds).toISOString().slice(13, 19);
    each.textContent = `${seconds < 60 ? `${Math.floor(seconds)} s` : clock}…`;
  }
}

// Show the trials of a search below it, or no more.
async function toggle(button) {
  const row = button.closest("tr");
  const wasOpen = button.ariaExpanded === "true";
  button.ariaExpanded = !wasOpen;
  if (wasOpen) return row.nextElementSibling.remove();
  row.insertAdjacentHTML("afterend", `<tr class="inner"><td colspan="${row.children.length}"></td></tr>`);
  row.nextElementSibling.cells[0].innerHTML = (await get(button.dataset.trials))[1];
  $$("[data-sorts]").forEach(sort);
}

// Where one is in the table.
const at = () => [$("#runs .wide")?.scrollLeft ?? 0, $("#runs .wide")?.scrollTop ?? 0, $("#runs :focus")?.href];

function showRows(text) {
  const [place, focused] = [at(), $("#runs :focus")?.outerHTML];
  const opened = $$(".opens[aria-expanded=true]").map((button) => button.dataset.trials);
  $("#runs").innerHTML = text;
  $("#runs .wide")?.scrollTo(...place);
  mark();
  count();
  $$(".opens").filter((button) => opened.includes(button.dataset.trials)).forEach(toggle);
  $$("#runs :is(a, button, input)").find((each) => each.outerHTML === focused)?.focus({ preventScroll: true });
}

function showRun(text) {
  const fresh = $$(".live", new DOMParser().parseFromString(text, "text/html"));
  const places = () => $$(".live :is(details, .wide)");
  const named = (each) => each.ariaLabel ?? $("summary", each).textContent;
  const kept = new Map(places().map((each) => [named(each), [each.open, each.scrollLeft, each.scrollTop]]));
  $$(".live").forEach((each, n) => each.replaceWith(fresh[n]));
  $$("[data-sorts]").forEach(sort);
  for (const each of places()) {
    const [open, ...place] = kept.get(named(each)) ?? [];
    each.open ||= open;
    each.scrollTo(...place);
  }
  dispatchEvent(new Event("grown"));
}

setInterval(() => {
  if (document.hidden || asking || $("details.ask[open]")) return;
  if ($("#runs")) ask(`/rows${location.search}`, showRows).then(prune);
  if ($("[data-live]")) ask(location.pathname + location.search, showRun);
}, EVERY);
setInterval(grow, EVERY / 2);

async function log(element, offset = 0) {
  if (!offset) element.textContent = "";
  const [answer, text] = await get(`${element.dataset.log}&offset=${offset}`);
  const told = text ? JSON.parse(text) : { text: "", offset, state: answer ? "" : "running" };
  const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
  element.append(told.text);
  if (atEnd) element.scrollTop = element.scrollHeight;
  const goesOn = ["running", "pending", "created"].includes(told.state);
  if (told.more || goesOn) setTimeout(log, told.more ? 0 : EVERY / 2, element, told.offset);
  else if (text) element.textContent ||= "This run has no log.";
}

document.addEventListener("error", ({ target }) => {
  if (target.matches("img")) target.replaceWith(`${target.alt} can't be shown: its file is gone, or is no image.`);
}, true);
document.addEventListener("input", ({ target }) => {
  const labels = target.matches(".menu [type=search]") ? $$("label", target.parentElement) : [];
  for (const each of labels) each.hidden = !each.textContent.toLowerCase().includes(target.value.toLowerCase());
  if (target.id !== "q") return;
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    // What isn't answered now is asked for again.
    history.replaceState(null, "", `/?${new URLSearchParams(new FormData($("#filter")))}`);
    ask(`/rows${location.search}`, showRows);
  }, 150);
});
document.addEventListener("change", ({ target }) => {
  if (!target.closest("#chosen")) return;
  const boxes = target.id === "all" ? $$("tr[data-id] input") : [target];
  boxes.forEach((box) => checked[target.checked ? "add" : "delete"](box.value));
  mark();
});
document.addEventListener("formdata", ({ target, formData }) => {
  if (!target.matches("#chosen")) return;
  formData.delete("id");
  checked.forEach((id) => formData.append("id", id));
});
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button");
  closeMenus(target);
  if (button?.matches(".opens")) toggle(button);
  if (button?.id === "none") checked.clear();
  if (button?.id === "match") (await idsAt(button.dataset.all))?.forEach((id) => checked.add(id));
  if (button?.matches("#none, #match")) mark();
});
document.addEventListener("toggle", async ({ target }) => {
  const { open, dataset } = target;
  const [, text] = open && dataset.part ? await get(dataset.part) : [];
  if (text && dataset.part) target.insertAdjacentHTML("beforeend", text);
  if (text) delete dataset.part;
}, true);
const closeMenus = (target) => $$(".menu[open]").forEach((each) => { each.open = each.contains(target); });
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && event.target.type === "search") {
    // The browser itself would empty it without an event, for it has no focus then.
    event.target.value = "";
    event.target.dispatchEvent(new Event("input", { bubbles: true }));
  }
  if (event.key === "Escape" && typing) event.target.blur();
  if (event.key === "Escape") closeMenus();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !$("#runs")) return;
  // Keys are for the run that has the focus.
  const rows = $$("tr[data-id]");
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const step = { j: 1, k: -1 }[event.key];
  if (event.key === "/") {
    event.preventDefault();
    $("#q").focus();
    $("#q").select();
  }
  if (step && rows.length) $("a", rows.at(Math.min(Math.max(at + step, 0), rows.length - 1))).focus();
  if (event.key === "x" && at >= 0) $("input", rows[at]).click();
  if (event.key === "o" && at >= 0) $(".opens", rows[at])?.click();
  if (event.key === "c" && checked.size > 1) $("#compare").click();
});

addEventListener("pageshow", () => {
  // After the browser has filled the form in as it has kept it.
  if ($("#runs")) [mark, prune, count].forEach((each) => each());
  const place = history.state ?? [0, 0];
  $("#runs .wide")?.scrollTo(...place);
  $$("#runs a").find((each) => each.href === place[2])?.focus({ preventScroll: true });
});
addEventListener("pagehide", () => { if ($("#runs")) history.replaceState(at(), ""); });
document.addEventListener("submit", ({ target }) => {
  // What is typed is shown without another page.
  if (target.id === "columns") target.elements.q.value = $("#q").value;
  if (target.matches('[action="/delete"]')) {
    $("[name=query]", target).value ||= sessionStorage.list ?? "";
    $$("[name=id]", target).forEach(({ value }) => checked.delete(value));
    mark();
  }
});
if ($("[data-log]")) log($("[data-log]"));
