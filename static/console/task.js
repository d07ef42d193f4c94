// The window of the charts of work, and copy buttons of tracebacks. No framework, no inline code.
(() => {
  "use strict";

  const KEY = "console.work.window";

  function remembered() {
    try { return window.localStorage.getItem(KEY); } catch { return null; }
  }

  function show(section, chosen) {
    section.dataset.workWindow = chosen;
    for (const pick of section.querySelectorAll("[data-work-pick]")) {
      if (pick.dataset.workPick === chosen) pick.setAttribute("aria-current", "true");
      else pick.removeAttribute("aria-current");
    }
    for (const chart of section.querySelectorAll("[data-chart]")) {
      const url = new URL(chart.dataset.chart, window.location.href);
      url.searchParams.set("window", chosen);
      chart.dataset.chart = url.pathname + url.search;
    }
    document.dispatchEvent(new CustomEvent("console:refresh"));
  }

  document.addEventListener("click", (event) => {
    const pick = event.target.closest?.("[data-work-pick]");
    if (pick) {
      try { window.localStorage.setItem(KEY, pick.dataset.workPick); } catch { /* A browser that keeps nothing. */ }
      // A page with figures of its own for the window is loaded anew.
      if (pick.hasAttribute("data-work-reload") || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const url = new URL(window.location.href);
      url.searchParams.set("window", pick.dataset.workPick);
      window.history.replaceState(null, "", url);
      show(pick.closest("[data-work]"), pick.dataset.workPick);
      return;
    }
    const copy = event.target.closest?.("[data-copy-from]");
    if (copy) {
      const text = document.getElementById(copy.dataset.copyFrom)?.textContent ?? "";
      navigator.clipboard?.writeText(text).then(() => {
        copy.textContent = copy.dataset.copied;
      });
    }
  });

  function start() {
    const chosen = remembered();
    if (!chosen || new URL(window.location.href).searchParams.has("window")) return;
    for (const section of document.querySelectorAll("[data-work]")) {
      // Figures beside the charts are of the window in the URL: both tell of the same one.
      if (section.querySelector("[data-work-reload]")) continue;
      if (section.dataset.workWindow !== chosen && section.querySelector(`[data-work-pick="${CSS.escape(chosen)}"]`)) show(section, chosen);
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
