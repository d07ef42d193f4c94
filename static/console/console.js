// Ages that stay true, live parts that say when they are stale, and the order form. No framework, no inline code.
(() => {
  "use strict";

  const words = () => document.querySelector('meta[name="console-words"]')?.dataset ?? {};
  const UNITS = [["Seconds", 1, 60], ["Minutes", 60, 3600], ["Hours", 3600, 86400], ["Days", 86400, Infinity]];

  // The same rule as controlplane/console/formatting.py age_words().
  function ageText(moment, now) {
    const text = words();
    let seconds = (now - moment) / 1000;
    const future = seconds < 0;
    seconds = Math.abs(seconds);
    if (seconds < 1) return text.now ?? "";
    for (const [unit, size, limit] of UNITS) {
      if (seconds < limit) {
        const key = future ? `in${unit}` : unit.toLowerCase();
        return (text[key] ?? "%s").replace("%s", Math.floor(seconds / size));
      }
    }
    return "";
  }

  // The portal's clock counts, not the one of this computer.
  let clockSkew = 0;
  const now = () => Date.now() + clockSkew;

  // What CSS cuts with an ellipsis is whole in the title.
  document.addEventListener("mouseover", (event) => {
    const cell = event.target.closest?.(".result-list a, .result-list span, .c-table .c-link");
    if (cell && !cell.title && cell.scrollWidth > cell.clientWidth) cell.title = cell.textContent.trim();
  });

  function tick() {
    for (const element of document.querySelectorAll("time[data-age]")) {
      const text = ageText(Date.parse(element.dateTime), now());
      if (text && element.textContent !== text) element.textContent = text;
    }
    for (const poller of document.querySelectorAll("[data-poller]")) showFreshness(poller);
  }

  function showFreshness(poller) {
    const answered = Number(poller.dataset.answered ?? (poller.dataset.answered = Date.now()));
    const silent = (Date.now() - answered) / 1000;
    const stale = !poller.hasAttribute("data-done") && silent > Math.max(10, 3 * Number(poller.dataset.every));
    poller.toggleAttribute("data-stale", stale);
    const icon = poller.querySelector(".material-symbols-outlined");
    icon.textContent = stale ? "sync_problem" : poller.hasAttribute("data-done") ? "check" : "sync";
    const shape = words()[stale ? "stale" : "updated"] ?? "%s";
    poller.querySelector("[data-poller-text]").textContent = shape.replace("%s", ageText(answered, Date.now()));
  }

  // What is the same but for ages is not swapped in: a click must never land on an element that was just replaced.
  const lastAnswer = new WeakMap();
  const substance = (html) => html.replace(/<time[^>]*>[^<]*<\/time>/g, (tag) => /datetime="[^"]*"/.exec(tag)?.[0] ?? "")
    .replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, "");

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.hasAttribute?.("data-poller") && document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const poller = event.detail.requestConfig?.elt;
    if (!poller?.hasAttribute?.("data-poller")) return;
    const answer = event.detail.xhr;
    if (answer.status >= 300 || answer.status < 200) return;
    if (answer.responseURL && new URL(answer.responseURL).pathname !== event.detail.pathInfo.requestPath) {
      // The session ended and the answer is the login page.
      event.detail.shouldSwap = false;
      window.location.reload();
      return;
    }
    const date = Date.parse(answer.getResponseHeader("Date") ?? "");
    if (date && Math.abs(date - Date.now()) > 5000) clockSkew = date - Date.now();
    poller.dataset.answered = Date.now();
    if (answer.status === 286) poller.setAttribute("data-done", "");
    const text = substance(answer.responseText);
    if (lastAnswer.get(poller) === text) event.detail.shouldSwap = false;
    lastAnswer.set(poller, text);
  });
  let openDetails = [];
  document.addEventListener("htmx:beforeSwap", () => {
    openDetails = [...document.querySelectorAll("details[open][id]")].map((element) => element.id);
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of openDetails) document.getElementById(id)?.setAttribute("open", "");
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const poller of document.querySelectorAll("[data-poller]:not([data-done])")) {
      window.htmx?.trigger(poller, "console:refresh");
    }
  });

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
      label.textContent = words().copied ?? label.textContent;
    } catch {
      // Without a secure context there is no clipboard: select the text, so that a key press copies it.
      window.getSelection().selectAllChildren(source);
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    for (const form of document.querySelectorAll("form[data-order]")) fitOrderForm(form);
    if (window.location.hash === "#send") document.getElementById("send")?.setAttribute("open", "");
    tick();
    window.setInterval(tick, 1000);
  });
})();
