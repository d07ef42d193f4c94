// The forms of rules and silences: a service that was misspelled is put right with one click.
(() => {
  "use strict";

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-scope-service]");
    const field = document.getElementById("id_service_scopes");
    if (!button || !field) return;
    const lines = field.value.split("\n");
    const place = lines.findIndex((line) => line.trim() === button.dataset.scopeLine);
    if (place < 0) return;
    lines[place] = button.dataset.scopeService;
    field.value = lines.join("\n");
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  });
})();
