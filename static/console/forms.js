// Forms of the console: the order form, confirmations, one order per click, copying, the selector lab.
(() => {
  "use strict";

  // An instance that is away is not back within seconds; a timeout that somebody typed stays.
  function fitTimeout(form) {
    const field = form.elements.timeout_s;
    const [from, to] = [field.defaultValue, form.dataset.holdTimeout];
    if (form.elements.hold.checked && field.value === from) field.value = to;
    else if (!form.elements.hold.checked && field.value === to) field.value = from;
  }

  // The order form shows what belongs to the chosen kind. Hidden fields keep what was typed into them.
  function fitOrderForm(form) {
    const kind = form.elements.kind.value;
    const tasks = JSON.parse(form.dataset.taskKinds || "{}");
    const has = (list) => (list ?? "").split(" ").includes(kind);
    for (const element of form.querySelectorAll("[data-kinds]")) element.hidden = !has(element.dataset.kinds);
    for (const hint of form.querySelectorAll(".c-hint")) hint.classList.toggle("c-hint-danger", has(form.dataset.destructive));
    for (const option of form.elements.task_name.options) {
      const fits = !option.value || (tasks[kind] ?? []).includes(option.value);
      option.hidden = option.disabled = !fits;
      if (!fits && option.selected) form.elements.task_name.value = "";
    }
    const needsReason = has(form.dataset.reason);
    const mark = form.querySelector('[data-field="reason"] .c-required');
    if (mark) mark.hidden = !needsReason;
    const submit = form.querySelector("[data-submit]");
    submit.classList.toggle("c-button-danger", has(form.dataset.destructive));
    submit.classList.toggle("c-button-main", !has(form.dataset.destructive));
    submit.disabled = !kind;
  }

  document.addEventListener("change", (event) => {
    const all = event.target.dataset.chooseAll;
    if (all) for (const box of event.target.form.querySelectorAll(`[name="${all}"]:enabled`)) box.checked = event.target.checked;
    const form = event.target.closest?.("form[data-order]");
    if (!form) return;
    if (event.target.name === "kind") fitOrderForm(form);
    if (event.target.name === "hold") fitTimeout(form);
    if (event.target.matches("[data-target]")) form.querySelector('[value="selected"]').checked = true;
  });

  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button?.dataset.confirm && !window.confirm(button.dataset.confirm)) {
      event.preventDefault();
      return;
    }
    // A second click must not order a second time.
    if (event.target.matches("form[data-order], form[data-once]")) {
      if (event.target.dataset.sent) event.preventDefault();
      event.target.dataset.sent = "1";
    }
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-order], form[data-once]")) delete form.dataset.sent;
  });

  // Examples and known labels of the selector lab: put into the field, or added to what stands there.
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.("[data-selector], [data-require]");
    const field = document.getElementById("selector");
    if (!chip || !field || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const typed = field.value.trim().replace(/,$/, "");
    field.value = chip.dataset.selector ?? (typed ? `${typed},${chip.dataset.require}` : chip.dataset.require);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const source = button.parentElement.querySelector("[data-copy-text]");
    const label = button.querySelector("span:last-child");
    try {
      await navigator.clipboard.writeText(source.textContent);
      label.textContent = Console.words().copied ?? label.textContent;
    } catch {
      // Without a secure context there is no clipboard: select the text, so that a key press copies it.
      window.getSelection().selectAllChildren(source);
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    for (const form of document.querySelectorAll("form[data-order]")) fitOrderForm(form);
    if (window.location.hash === "#send") document.getElementById("send")?.setAttribute("open", "");
  });
})();
