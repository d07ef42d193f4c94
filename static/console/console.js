// What the other files of the console share: its words, the portal's clock, ages that stay true. No framework, no inline code.
const Console = (() => {
  "use strict";

  const words = () => document.querySelector('meta[name="console-words"]')?.dataset ?? {};
  const UNITS = [["Seconds", 1, 60], ["Minutes", 60, 3600], ["Hours", 3600, 86400], ["Days", 86400, Infinity]];

  // The words of a number of seconds; `prefix` chooses among those of base_site.html: "" ago, "in", "span".
  function inUnits(seconds, prefix) {
    const [unit, size] = UNITS.find(([, , limit]) => seconds < limit);
    const key = prefix ? `${prefix}${unit}` : unit.toLowerCase();
    return (words()[key] ?? "%s").replace("%s", Math.floor(seconds / size));
  }

  // The same rule as controlplane/console/formatting.py age_words().
  function ageText(moment, now) {
    const seconds = (now - moment) / 1000;
    if (Number.isNaN(seconds)) return "";
    if (Math.abs(seconds) < 1) return words().now ?? "";
    return inUnits(Math.abs(seconds), seconds < 0 ? "in" : "");
  }

  // How long something lasts: "14 s", "2 min".
  const spanText = (seconds) => inUnits(Math.max(0, seconds), "span");

  // The portal's clock counts, not the one of this computer.
  let clockSkew = 0;
  const now = () => Date.now() + clockSkew;
  function learnClock(portalTime) {
    if (portalTime && Math.abs(portalTime - Date.now()) > 5000) clockSkew = portalTime - Date.now();
  }

  const put = (element, text) => { if (element && element.textContent !== text) element.textContent = text; };

  function tick() {
    for (const element of document.querySelectorAll("time[data-age]")) {
      const text = ageText(Date.parse(element.dateTime), now());
      if (text) put(element, text);
    }
    document.dispatchEvent(new CustomEvent("console:tick"));
  }

  // The zone of the browser, for pages whose reader chose none. The portal reads it with the next page.
  function tellZone() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (!zone) return;
    const path = document.querySelector('meta[name="console-zone"]')?.dataset.path ?? "/admin/";
    const secure = window.location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `console_zone_of_browser=${encodeURIComponent(zone)}; path=${path}; max-age=31536000; SameSite=Lax${secure}`;
  }
  // What pages and charts write times in: what was chosen, what the portal read, else what the browser has.
  const zone = () => document.querySelector('meta[name="console-zone"]')?.dataset.zone || undefined;

  // What CSS cuts with an ellipsis is whole in the title.
  document.addEventListener("mouseover", (event) => {
    const cell = event.target.closest?.(".result-list a, .result-list span, .c-table .c-link");
    if (cell && !cell.title && cell.scrollWidth > cell.clientWidth) cell.title = cell.textContent.trim();
  });

  // unfold's icons are words in a font of pictures: those who hear the page would hear "cancel" or "hub".
  function nameIcons() {
    for (const icon of document.querySelectorAll(".material-symbols-outlined:not([aria-hidden])")) {
      const holder = icon.closest("a, button");
      const isNamed = !holder || holder.ariaLabel || holder.title || holder.textContent.trim() !== icon.textContent.trim();
      const name = holder?.matches("[type=submit]") ? words().search : words().home;
      if (!isNamed && holder.matches("#searchbar-submit, #nav-sidebar a, .bg-primary-600") && name) holder.ariaLabel = name;
      if (isNamed || holder.ariaLabel) icon.setAttribute("aria-hidden", "true");
    }
  }

  // What is wider or higher than its place is scrolled by keyboard too; what fits is no stop on the way.
  function fitScrollers() {
    for (const box of document.querySelectorAll(".c-scroll:not([role]), pre:is(.c-code, .c-plain):not([id])")) {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  function fitPage() {
    nameIcons();
    fitScrollers();
  }
  document.addEventListener("htmx:afterSettle", fitPage);
  document.addEventListener("toggle", fitScrollers, true);
  window.addEventListener("resize", fitScrollers);

  document.addEventListener("DOMContentLoaded", () => {
    fitPage();
    tellZone();
    tick();
    window.setInterval(tick, 1000);
  });

  return { words, ageText, spanText, now, learnClock, zone, put };
})();
