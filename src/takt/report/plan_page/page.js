"use strict";
/* The page reads without this: it adds sorting, notes at the points, files to take along. Texts of the data only ever
   become text nodes. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const note = document.getElementById("note");

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  /* Notes at the points */
  const fillNote = (plan) => {
    const title = element("b", (plan.mark ? "Plan " + plan.mark + ": " : "") + plan.system);
    const list = document.createElement("dl");
    for (const [name, text] of plan.shown) {
      if (name === "Basis" || name === "Layout") continue;
      list.append(element("dt", name), element("dd", text));
    }
    note.replaceChildren(title, element("div", plan.layout), list);
  };
  const placeNote = (dot) => {
    const at = dot.querySelector("g").getBoundingClientRect();
    const page = document.documentElement;
    const left = at.left + at.width / 2 - note.offsetWidth / 2;
    const below = at.top < note.offsetHeight + 16;
    note.style.left = Math.max(8, Math.min(left, page.clientWidth - note.offsetWidth - 8)) + scrollX + "px";
    note.style.top = (below ? at.bottom + 10 : at.top - note.offsetHeight - 10) + scrollY + "px";
  };
  const rowOf = (dot) => document.getElementById("plan-" + dot.dataset.plan);
  const show = (dot) => {
    fillNote(data.plans[Number(dot.dataset.plan)]);
    note.hidden = false;
    placeNote(dot);
    dot.setAttribute("aria-describedby", "note");
    rowOf(dot).classList.add("lit");
  };
  const hide = (dot) => {
    note.hidden = true;
    if (dot) rowOf(dot).classList.remove("lit");
  };
  for (const dot of document.querySelectorAll("a.dot")) {
    dot.querySelector("title").remove();
    dot.addEventListener("pointerenter", () => show(dot));
    dot.addEventListener("pointerleave", () => hide(dot));
    dot.addEventListener("focus", () => show(dot));
    dot.addEventListener("blur", () => hide(dot));
    dot.addEventListener("click", () => {
      const others = document.getElementById("show-others");
      if (others && rowOf(dot).classList.contains("is-other")) others.checked = true;
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide(null);
  });
  const dotsOf = (row) => document.querySelectorAll(`a.dot[data-plan="${row.id.slice(5)}"]`);
  for (const row of document.querySelectorAll(".plans tbody tr")) {
    const light = (on) => dotsOf(row).forEach((dot) => dot.classList.toggle("lit", on));
    row.addEventListener("pointerenter", () => light(true));
    row.addEventListener("pointerleave", () => light(false));
  }

  /* A link to a plan in full opens it */
  const openTarget = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();

  /* Sorting: numbers by value, texts by letters, the unknown last either way */
  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.value;
    return text === "" ? null : text;
  };
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en") : x - y;
  };
  const sortBy = (table, header) => {
    const column = header.cellIndex;
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const each of header.parentNode.cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * compare(x, y);
    });
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("[data-sortable]")) {
    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sortBy(table, header));
    }
  }

  /* Files to take along */
  const quoted = (value) => {
    if (value === null) return "";
    let text = String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text; /* no formula in a spreadsheet */
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const asCsv = () => {
    const plans = data.plans.map(({ shown, ...rest }) => rest);
    const lines = [Object.keys(plans[0] ?? {}), ...plans.map(Object.values)];
    return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
  };
  const save = (kind) => {
    const text = kind === "csv" ? asCsv() : JSON.stringify(data, null, 2) + "\n";
    const type = kind === "csv" ? "text/csv" : "application/json";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = "plan." + kind;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => save(button.dataset.save));
  }
  for (const each of document.querySelectorAll(".js-only")) each.hidden = false;

  /* On paper each plan is in full */
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details.plan:not([open])")) {
      closed.push(each);
      each.open = true;
    }
  });
  addEventListener("afterprint", () => {
    while (closed.length) closed.pop().open = false;
  });
})();
