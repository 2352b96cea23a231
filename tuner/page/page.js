"use strict";
const table = document.querySelector("#trials table");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows], find = document.querySelector("#find");
  const state = document.querySelector("#state"), left = document.querySelector("#left");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every(w => text.includes(w)) && (!state.value || row.dataset.s === state.value));
      n += !row.hidden;
    }
    left.textContent = n + " of " + rows.length;
  };
  const key = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent;
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("th");
    if (!head) return;
    const i = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const order = rows.map(row => [key(row, i), row]);
    const numeric = head.classList.contains("n");
    order.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const gap = numeric ? a - b : a.localeCompare(b);
      return up ? gap : -gap;
    });
    body.append(...order.map(pair => pair[1]));
  });
  find.addEventListener("input", filter);
  state.addEventListener("change", filter);
}
