// Adds to a page that is complete without it. Text enters as text only: names cannot become markup.
const page = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("js");

/** What a row is sorted by: a number, a text, or nothing, which stands last. */
function keyOf(row, column) {
  const { dataset, textContent } = row.cells[column];
  const text = textContent.trim();
  if (dataset.key === undefined) return text === "-" ? "" : text;
  return dataset.key === "inf" ? Infinity : Number(dataset.key);
}

function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row, column) }));
  const rank = (key) => (key === "" ? 2 : typeof key === "string" ? 1 : 0);
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a === b ? 0 : a - b);
  rows.sort((a, b) => rank(a.key) - rank(b.key) || (descending ? -1 : 1) * order(a.key, b.key));
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, column));
  });
}

for (const figure of document.querySelectorAll(".chart")) charts.push(new Chart(figure));
for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
