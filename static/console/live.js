// Live parts: one stream per page tells that something happened, and the part that shows it is fetched anew.
// The poller of templates/admin/console/poller.html says which part, what of the stream concerns it, and shows how live it is.
(() => {
  "use strict";

  const STREAM = "/api/v1/ui/stream";
  // Between two fetches of a part: at least so long, and longer where the portal takes long to answer.
  const PAUSE_MS = 1000;
  const PAUSE_MAX_MS = 5000;
  // So that the pages of many people do not all ask in the same moment: for what happened, and for what may have happened
  // while a portal that is back could not tell.
  const JITTER_MS = 300;
  const CATCH_UP_MS = 1500;
  // The stream tells every 15 s that it lives; what is silent for longer is gone.
  const SILENT_MS = 20000;
  // A tab that is out of sight for so long gives its connection back: a browser has six to a portal.
  const HIDDEN_MS = 5000;
  // A stream that comes back within this was never called paused.
  const PATIENCE_MS = 1500;
  const RETRY_MAX_MS = 10000;

  const words = Console.words;
  const pollers = new WeakMap();
  const jitter = () => Math.random() * JITTER_MS;
  // Pages that were opened at once drift apart.
  const around = (ms) => ms * (0.75 + Math.random() / 2);
  const current = () => document.querySelector("[data-poller]");

  // Reads server-sent events by fetch, not by EventSource: only so are the keepalives seen, without which a dead
  // connection looks like a quiet one, and only so may a refusal say when to come again.
  class Stream {
    lastId = "";
    retryMs = 3000;
    heardAt = 0;
    abort = null;

    constructor(watch, on) {
      this.watch = watch;
      this.on = on;
    }

    get isOpen() { return this.abort !== null; }

    async open() {
      if (this.isOpen) return;
      const abort = this.abort = new AbortController();
      let failures = 0;
      while (!abort.signal.aborted) {
        let waitMs;
        try {
          await this.listen(abort.signal, () => { failures = 0; });
          waitMs = this.retryMs;
        } catch (problem) {
          waitMs = problem.retryMs ?? Math.min(RETRY_MAX_MS, this.retryMs * 2 ** failures);
          if (problem.isFinal) abort.abort();
          failures = Math.min(failures + 1, 5);
        }
        if (abort.signal.aborted) break;
        this.on.dropped();
        await new Promise((go) => window.setTimeout(go, around(waitMs)));
      }
      if (this.abort === abort) this.abort = null;
    }

    close() {
      this.abort?.abort();
      this.abort = null;
    }

    async listen(closed, answered) {
      const attempt = new AbortController();
      const giveUp = () => attempt.abort();
      closed.addEventListener("abort", giveUp);
      this.heardAt = Date.now();
      const watchdog = window.setInterval(() => {
        if (Date.now() - this.heardAt > SILENT_MS) attempt.abort();
      }, 1000);
      try {
        const response = await fetch(`${STREAM}?${this.watch}`, {
          headers: { Accept: "text/event-stream", ...(this.lastId && { "Last-Event-ID": this.lastId }) },
          cache: "no-store",
          signal: attempt.signal,
        });
        if (!response.ok) throw this.refusal(response);
        answered();
        await this.read(response.body);
      } finally {
        window.clearInterval(watchdog);
        closed.removeEventListener("abort", giveUp);
        attempt.abort();
      }
    }

    refusal(response) {
      const problem = new Error(`The stream was refused: ${response.status}`);
      const after = Number(response.headers.get("Retry-After"));
      if (after) problem.retryMs = after * 1000;
      if (response.status === 401) this.on.loggedOut();
      if (response.status < 500 && response.status !== 429) {
        problem.isFinal = true;
        this.on.refused();
      }
      return problem;
    }

    async read(body) {
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.heardAt = Date.now();
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) this.take(line);
      }
    }

    // Every message of the portal is one line of data, with its id before it.
    take(line) {
      const [, field, value] = /^(id|retry|data): ?(.*)$/.exec(line) ?? [];
      if (field === "id") this.lastId = value;
      else if (field === "retry" && Number(value) > 0) this.retryMs = Number(value);
      else if (field === "data") {
        let message;
        try { message = JSON.parse(value); } catch { return; }
        this.on.message(message);
      }
    }
  }

  // One poller: when to fetch its part, and what to say of it.
  class Live {
    answeredAt = Date.now();
    endedAt = 0;
    startedAt = 0;
    pauseMs = PAUSE_MS;
    timer = 0;
    askAt = 0;
    isAsking = false;
    isWanted = false;
    isDone = false;
    failedAt = 0;
    // Of the stream: connecting, catching_up, live or paused; "" without one.
    stream = "";
    pausedAt = 0;
    reason = "";
    hiddenTimer = 0;
    text = "";

    constructor(poller) {
      this.poller = poller;
      this.everyMs = 1000 * (Number(poller.dataset.every) || 10);
      this.nextLookAt = Date.now() + around(this.everyMs);
      if (!poller.dataset.watch) return;
      this.source = new Stream(poller.dataset.watch, {
        message: (message) => this.told(message),
        dropped: () => this.pause(Date.now() - this.source.heardAt > SILENT_MS ? this.source.heardAt : Date.now(), "connection"),
        loggedOut: () => this.want(),
        refused: () => { this.stream = ""; },
      });
      this.openStream();
    }

    openStream() {
      if (!this.source || this.isDone || document.hidden) return;
      if (!this.source.isOpen) {
        if (this.stream !== "paused") this.stream = "connecting";
        this.source.open();
      }
    }

    told(message) {
      if (message.channel === "status") {
        if (message.state === "paused") this.pause(Date.parse(message.since) - (Console.now() - Date.now()) || Date.now(), message.reason);
        else {
          // What happened before the stream ran, or while it did not, is fetched now.
          if (message.state === "live" && this.stream !== "live") this.want(Math.random() * CATCH_UP_MS);
          this.stream = message.state;
        }
      } else if (message.channel === "closed") this.pause(Date.now(), "connection");
      else this.want();
      this.show();
    }

    pause(at, reason) {
      if (this.stream === "") return;
      if (this.stream !== "paused") this.pausedAt = at;
      [this.stream, this.reason] = ["paused", reason];
    }

    // At most once at a time and once a second, however many ask; the soonest of them counts.
    want(withinMs = jitter()) {
      if (this.isDone || document.hidden) return;
      if (this.isAsking) {
        this.isWanted = true;
        return;
      }
      const at = Math.max(Date.now() + withinMs, this.endedAt + this.pauseMs);
      if (this.timer && this.askAt <= at) return;
      window.clearTimeout(this.timer);
      this.askAt = at;
      this.timer = window.setTimeout(() => this.ask(), at - Date.now());
    }

    ask() {
      this.timer = 0;
      if (this.isDone || document.hidden || !this.poller.isConnected) return;
      if (isTyping(this.poller)) {
        this.endedAt = Date.now();
        this.want();
        return;
      }
      window.htmx.trigger(this.poller, "console:refresh");
    }

    asked() {
      [this.isAsking, this.startedAt] = [true, Date.now()];
      this.nextLookAt = Date.now() + around(this.everyMs);
    }

    ended(isGood) {
      this.isAsking = false;
      this.endedAt = Date.now();
      this.pauseMs = Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MS, 4 * (this.endedAt - this.startedAt)));
      if (isGood) this.failedAt = 0;
      else this.failedAt ||= this.endedAt;
      if (this.isWanted) {
        this.isWanted = false;
        this.want();
      }
      this.show();
    }

    finish() {
      this.isDone = true;
      this.poller.setAttribute("data-done", "");
      this.source?.close();
    }

    tick() {
      // A request that htmx dropped tells nothing.
      if (this.isAsking && Date.now() - this.startedAt > 30000) this.ended(false);
      if (!document.hidden && Date.now() >= this.nextLookAt && !this.isAsking) {
        this.nextLookAt = Date.now() + around(this.everyMs);
        this.want();
      }
      this.show();
    }

    visibility() {
      window.clearTimeout(this.hiddenTimer);
      if (document.hidden) {
        this.hiddenTimer = window.setTimeout(() => this.sleep(), HIDDEN_MS);
        return;
      }
      this.openStream();
      this.want();
      this.show();
    }

    sleep() {
      this.source?.close();
      if (this.stream) this.stream = "connecting";
    }

    // The computer itself says that it has no network.
    cut() {
      this.source?.close();
      this.pause(Date.now(), "connection");
      this.show();
    }

    get state() {
      if (this.isDone) return "done";
      const now = Date.now();
      if (!this.stream) return now - this.answeredAt > Math.max(10000, 3 * this.everyMs) ? "stale" : "polling";
      if (this.stream === "paused" && now - this.pausedAt > PATIENCE_MS) return "paused";
      if (this.failedAt && now - this.failedAt > PATIENCE_MS) return "paused";
      return this.stream === "paused" ? "live" : this.stream;
    }

    show() {
      const { poller, state } = this;
      const now = Date.now();
      const age = Console.ageText(this.answeredAt, now);
      let text = words()[STATE_WORDS[state]] ?? "";
      let more = (words().updated ?? "%s").replace("%s", age);
      if (state === "paused") {
        const since = this.stream === "paused" ? this.pausedAt : this.failedAt;
        more = Console.spanText((now - since) / 1000);
      } else if (state === "stale") more = (words().lastAnswer ?? "%s").replace("%s", age);
      else if (state === "polling") text = text.replace("%s", Console.spanText(this.everyMs / 1000));
      Console.put(poller.querySelector("[data-poller-text]"), text);
      Console.put(poller.querySelector("[data-poller-age]"), more);
      Console.put(poller.querySelector(".material-symbols-outlined"), ICONS[state]);
      if (poller.dataset.state === state) return;
      poller.dataset.state = document.documentElement.dataset.live = state;
      const why = { database_away: words().whyDatabase, transaction_open: words().whyTransaction }[this.reason] ?? words().whyConnection;
      poller.title = state === "paused" || state === "stale" ? why ?? "" : "";
    }
  }

  const STATE_WORDS = {
    live: "live", connecting: "connecting", catching_up: "catchingUp", paused: "paused", stale: "stale", polling: "polling", done: "done",
  };
  const ICONS = {
    live: "sensors", connecting: "sync", catching_up: "sync", paused: "sensors_off", stale: "sync_problem", polling: "sync", done: "check",
  };

  function live() {
    const poller = current();
    if (!poller) return null;
    if (!pollers.has(poller)) pollers.set(poller, new Live(poller));
    return pollers.get(poller);
  }

  // What somebody writes into is not replaced under their hands.
  function isTyping(poller) {
    const field = document.activeElement?.closest?.("input:not([type=checkbox], [type=radio], [type=submit]), textarea, select");
    const parts = [poller.getAttribute("hx-target"), poller.getAttribute("hx-select-oob")].filter(Boolean).join(",").replace(/:\w+/g, "");
    return Boolean(field && parts && field.closest(parts));
  }

  // What is the same but for ages is not swapped in: a click must never land on an element that was just replaced.
  const lastAnswer = new WeakMap();
  const substance = (html) => html.replace(/<time[^>]*>[^<]*<\/time>/g, (tag) => /datetime="[^"]*"/.exec(tag)?.[0] ?? "")
    .replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, "");

  const ofPoller = (event) => {
    const element = event.detail.requestConfig?.elt ?? event.detail.elt;
    return element?.hasAttribute?.("data-poller") ? pollers.get(element) : undefined;
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    const here = ofPoller(event);
    if (!here) return;
    if (document.hidden) event.preventDefault();
    else here.asked();
  });
  document.addEventListener("htmx:afterRequest", (event) => ofPoller(event)?.ended(event.detail.successful === true));
  document.addEventListener("htmx:beforeSwap", (event) => {
    const here = ofPoller(event);
    if (!here) return;
    const answer = event.detail.xhr;
    if (answer.status >= 300 || answer.status < 200) return;
    const asked = new URL(event.detail.pathInfo.requestPath, window.location.href);
    if (answer.responseURL && new URL(answer.responseURL).pathname !== asked.pathname) {
      // The session ended and the answer is the login page.
      event.detail.shouldSwap = false;
      window.location.reload();
      return;
    }
    Console.learnClock(Date.parse(answer.getResponseHeader("Date") ?? ""));
    if (answer.status === 286) here.finish();
    here.answeredAt = Date.now();
    const text = substance(answer.responseText);
    if (lastAnswer.get(here) === text) event.detail.shouldSwap = false;
    lastAnswer.set(here, text);
  });

  // Details that somebody opened stay open.
  let openDetails = [];
  document.addEventListener("htmx:beforeSwap", () => {
    openDetails = [...document.querySelectorAll("details[open][id]")].map((element) => element.id);
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of openDetails) document.getElementById(id)?.setAttribute("open", "");
  });

  document.addEventListener("console:tick", () => live()?.tick());
  document.addEventListener("visibilitychange", () => live()?.visibility());
  window.addEventListener("offline", () => live()?.cut());
  window.addEventListener("online", () => live()?.visibility());
  window.addEventListener("pagehide", () => live()?.sleep());
  window.addEventListener("pageshow", (event) => { if (event.persisted) live()?.visibility(); });
})();
