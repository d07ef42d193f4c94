// The list of events: a range dragged over the bars becomes the time of the list, and typed times end a preset.
(() => {
  "use strict";

  document.addEventListener("console:brush", (event) => {
    const list = event.target.closest?.("[data-brush]");
    if (!list || !event.detail?.from || !event.detail?.to) return;
    const url = new URL(list.dataset.brush, window.location.href);
    url.searchParams.delete("since");
    url.searchParams.set("from", event.detail.from);
    url.searchParams.set("to", event.detail.to);
    window.location.assign(url);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.id !== "event-search") return;
    // Empty fields have no place in an address that people send each other.
    for (const field of form.querySelectorAll("input[name], select[name]")) if (!field.value) field.disabled = true;
    if (form.elements.from?.disabled === false || form.elements.to?.disabled === false) {
      form.querySelector("[data-unless-times]")?.setAttribute("disabled", "");
    }
  });
  window.addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("#event-search :disabled")) field.disabled = false;
  });

  // One open menu at a time; Escape closes it and gives the focus back.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.c-pop[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.c-pop[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
})();
