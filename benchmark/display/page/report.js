// Adds to a page that is complete without it: curves to explore, tables to sort, samples to
// step through. Text enters as text only, so names cannot become markup.

const page = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("js");

// -- tables ------------------------------------------------------------------------------------

function keyOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.key === undefined) return cell.textContent.trim();
  return cell.dataset.key === "inf" ? Infinity : Number(cell.dataset.key);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  if (typeof a === typeof b) return a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
  const missing = ({ key }) => key === "-" || key === "";
  rows.sort((a, b) => missing(a) - missing(b) || (descending ? -1 : 1) * compare(a.key, b.key));
  body.append(...rows.map(({ row }) => row));
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

// -- samples -----------------------------------------------------------------------------------

function makeGallery(gallery) {
  const slider = gallery.querySelector("input");
  const moments = [...gallery.querySelectorAll(".moments li")].map((item) => item.textContent);
  slider.addEventListener("input", () => {
    const now = Number(slider.value);
    gallery.querySelector("output").textContent = moments[now];
    slider.setAttribute("aria-valuetext", moments[now]);
    for (const strip of gallery.querySelectorAll(".strip")) {
      const figures = [...strip.querySelectorAll("figure")];
      const shown = figures.findLast((figure) => Number(figure.dataset.since) <= now);
      for (const figure of figures) figure.hidden = figure !== shown;
      strip.querySelector(".nothing").hidden = Boolean(shown);
    }
  });
}

for (const figure of document.querySelectorAll(".chart")) charts.push(new Chart(figure));
for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const gallery of document.querySelectorAll(".gallery")) makeGallery(gallery);
