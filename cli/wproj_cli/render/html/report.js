"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tools = document.querySelector("[role=search]");
  const rows = all("tbody tr").map((row) => ({
    row,
    text: all("th, td[class]", row).map((cell) => cell.textContent.toLowerCase()).join(" "),
    status: row.cells[1].textContent,
  }));

  const filter = () => {
    const words = tools.querySelector("[type=search]").value.toLowerCase().split(/\s+/);
    const boxes = all("[type=checkbox]", tools);
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const { row, text, status } of rows) {
      const listed = !boxes.length || wanted.has(status);
      row.hidden = !(listed && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    tools.querySelector("output").value =
      shown === rows.length ? "" : shown ? `${shown} of ${rows.length} shown` : "Nothing matches";
  };

  // What is missing stays last either way.
  const compare = (a, b, words, down) => {
    const sign = down ? -1 : 1;
    if (words) return sign * a.localeCompare(b, "en", { numeric: true });
    const [x, y] = [parseFloat(a), parseFloat(b)];
    return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
  };

  const sort = (head, kind) => {
    const body = head.closest("table").tBodies[0];
    const texts = new Map(
      [...body.rows].map((row) => {
        const cell = row.cells[head.cellIndex];
        const { firstChild } = cell.querySelector("summary") || cell;
        return [row, firstChild ? firstChild.textContent : ""];
      }),
    );
    const ordered = [...body.rows].sort((a, b) =>
      kind === "none"
        ? a.dataset.at - b.dataset.at
        : compare(texts.get(a), texts.get(b), head.className, kind === "descending"),
    );
    body.append(...ordered);
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    if (kind !== "none") head.setAttribute("aria-sort", kind);
  };

  // A first click sorts, a second the other way round, a third brings the worst back to the top.
  const sortable = (head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const turns = head.className
      ? { none: "ascending", ascending: "descending", descending: "none" }
      : { none: "descending", descending: "ascending", ascending: "none" };
    button.addEventListener("click", () =>
      sort(head, turns[head.getAttribute("aria-sort") || "none"]),
    );
  };

  const save = async () => {
    const { type, textContent } = document.getElementById("report");
    let blob = new Blob([textContent], { type: "application/json" });
    if (type === "application/zlib") {
      const bytes = Uint8Array.from(atob(textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      blob = await new Response(stream).blob();
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "wproj-report.json";
    link.click();
    URL.revokeObjectURL(link.href);
  };

  if (rows.length) {
    for (const body of all("tbody")) [...body.rows].forEach((row, at) => (row.dataset.at = at));
    all("thead th:not(.plot)").forEach(sortable);
    tools.addEventListener("input", filter);
    tools.hidden = false;
    filter(); // A browser that goes back remembers what was typed.
  }
  const button = document.getElementById("save");
  button.addEventListener("click", save);
  button.hidden = false;
})();
