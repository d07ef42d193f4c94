// The panel that sends commands: refusals are shown in place, the payload is checked while it is typed.
(() => {
  "use strict";

  const panel = (event) => {
    const form = event.detail.requestConfig?.elt;
    return form?.matches?.("#send form[data-order]") ? form : null;
  };

  // No answer came, or none that is a panel: what was typed stays, and may be sent again.
  for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
    document.addEventListener(name, (event) => {
      const form = panel(event);
      if (form) delete form.dataset.sent;
    });
  }

  document.addEventListener("htmx:afterSettle", () => {
    for (const form of document.querySelectorAll("#send form[data-order]:not([data-fitted])")) fit(form);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!panel(event)) return;
    for (const poller of document.querySelectorAll("[data-poller]:not([data-done])")) {
      window.htmx?.trigger(poller, "console:refresh");
    }
    // Focus was on what is gone now: to the first mistake, or to what came of it.
    const next = document.querySelector("#send .errors input, #send .errors textarea, #send [role=alert], #sent");
    if (next && !next.matches("input, textarea")) next.tabIndex = -1;
    next?.focus({ preventScroll: false });
  });

  // forms.js fits the form when the kind changes; a form that was swapped in has to be fitted once.
  function fit(form) {
    form.dataset.fitted = "1";
    const kind = form.querySelector('[name="kind"]:checked') ?? form.querySelector('[name="kind"]');
    kind?.dispatchEvent(new Event("change", { bubbles: true }));
    check(form);
  }

  function mistake(text, note) {
    if (!text.trim()) return "";
    try {
      const value = JSON.parse(text);
      return value && typeof value === "object" && !Array.isArray(value) ? "" : note.dataset.jsonObject;
    } catch (error) {
      const at = /position (\d+)/.exec(error.message)?.[1];
      const found = /line (\d+) column (\d+)/.exec(error.message);
      if (!found && at === undefined) return note.dataset.jsonBad;
      const lines = text.slice(0, Number(at)).split("\n");
      const [line, column] = found ? found.slice(1) : [lines.length, lines.at(-1).length + 1];
      return note.dataset.jsonPlace.replace("%(line)s", line).replace("%(column)s", column);
    }
  }

  function check(form) {
    for (const note of form.querySelectorAll("[data-json-of]")) {
      const field = document.getElementById(note.dataset.jsonOf);
      note.textContent = mistake(field.value, note);
      note.hidden = !note.textContent;
      // The portal found the same; once is enough.
      if (note.textContent) for (const told of note.parentElement.querySelectorAll('[role="alert"]')) told.hidden = true;
      field.setAttribute("aria-invalid", String(!note.hidden));
    }
  }

  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("#send form[data-order]");
    if (form && event.target.name === "payload") check(form);
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const form of document.querySelectorAll("#send form[data-order]")) check(form);
  });
})();
