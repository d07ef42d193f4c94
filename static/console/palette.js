// The command palette: opened by Ctrl-K or a button, asked as one types, led through by arrow keys. The portal answers the list.
(() => {
  "use strict";

  const TYPING_MS = 120;
  let timer = 0;
  let asking = null;
  let chosen = -1;

  const dialog = () => document.getElementById("palette");
  const input = () => document.getElementById("palette-input");
  const options = () => [...dialog().querySelectorAll('[role="option"]')];
  const note = (text) => Console.put(dialog().querySelector("[data-palette-note]"), text ?? "");

  function open() {
    const box = dialog();
    if (!box || box.open) return;
    box.showModal();
    input().value = "";
    input().focus();
    ask();
  }

  async function ask() {
    const words = Console.words();
    asking?.abort();
    const mine = asking = new AbortController();
    const slow = window.setTimeout(() => note(words.searching), 400);
    try {
      const answer = await fetch(`${dialog().dataset.palette}?${new URLSearchParams({ q: input().value })}`, { signal: mine.signal });
      if (answer.redirected) return window.location.reload();
      if (!answer.ok) throw new Error(`${answer.status}`);
      const html = await answer.text();
      if (mine.signal.aborted) return undefined;
      dialog().querySelector("[data-palette-list]").innerHTML = html;
      window.clearTimeout(slow);
      note(options().length ? "" : words.nothingFound);
      choose(0);
    } catch {
      if (!mine.signal.aborted) {
        window.clearTimeout(slow);
        note(words.searchFailed);
      }
    } finally {
      window.clearTimeout(slow);
      if (asking === mine) asking = null;
    }
    return undefined;
  }

  function choose(index) {
    const all = options();
    chosen = all.length ? (index + all.length) % all.length : -1;
    all.forEach((option, at) => option.setAttribute("aria-selected", String(at === chosen)));
    if (chosen < 0) input().removeAttribute("aria-activedescendant");
    else {
      input().setAttribute("aria-activedescendant", all[chosen].id);
      all[chosen].scrollIntoView({ block: "nearest" });
    }
  }

  // What was typed last counts: Enter waits for its answer.
  async function go(isNewTab) {
    if (timer || asking) {
      window.clearTimeout(timer);
      timer = 0;
      await ask();
    }
    const option = options()[chosen];
    if (!option) return;
    if (isNewTab) window.open(option.href, "_blank", "noopener");
    else window.location.assign(option.href);
    dialog().close();
  }

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k" && dialog()) {
      event.preventDefault();
      if (dialog().open) dialog().close();
      else open();
      return;
    }
    if (event.target !== input() || event.isComposing) return;
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "PageDown") choose(Math.min(chosen + 8, options().length - 1));
    else if (event.key === "PageUp") choose(Math.max(chosen - 8, 0));
    else if (event.key === "Enter") go(event.ctrlKey || event.metaKey);
    else return;
    event.preventDefault();
  });
  document.addEventListener("input", (event) => {
    if (event.target !== input()) return;
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      timer = 0;
      ask();
    }, TYPING_MS);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-palette-open]")) open();
    // The backdrop is the dialog itself.
    else if (event.target === dialog() || event.target.closest?.("[data-palette-close]")) dialog().close();
  });
})();
