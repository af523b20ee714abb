"use strict";
// A head sorts its table, on the page and in an exported file: largest first, then smallest first.
const $ = (selector, inside = document) => inside.querySelector(selector);
const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const orders = {}; // of tables, each with the name of a head
const nameOf = (head) => head.title || head.textContent;

// Sort as was asked for, and as the server does, also what has come anew; what is empty is last.
function sort(table) {
  const { name, up } = orders[table.dataset.sorts] ?? {};
  const heads = [...table.tHead.rows[0].cells];
  const at = heads.findIndex((head) => nameOf(head) === name);
  if (at < 0) return;
  heads.forEach((head, n) => { head.ariaSort = n !== at ? null : up ? "ascending" : "descending"; });
  const valueOf = ({ cells }) => (cells[at].title || cells[at].textContent.trim())
    .replace(/^nan$/i, "").replace(/^(-?)inf$/, "$1Infinity");
  const order = (a, b) => isNaN(b) - isNaN(a)
    || (isNaN(a) ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort((...both) => {
    const [a, b] = both.map(valueOf);
    return a && b ? order(a, b) * (up ? 1 : -1) : !a - !b;
  }));
}
document.addEventListener("click", ({ target }) => {
  const head = target.closest(".sorts")?.closest("th");
  if (!head) return;
  const table = head.closest("table");
  orders[table.dataset.sorts] = { name: nameOf(head), up: head.ariaSort === "descending" };
  sort(table);
});
