// Draws the figures of templates/admin/console/chart.html with uPlot, and writes them as a table for whoever reads no picture.
//
// <figure data-chart="URL" data-chart-kind="bars" data-chart-every="15" data-chart-brush>: the URL answers chart_response() of
// controlplane/console/charts.py. Bars of several lines stand on each other. With data-chart-brush a range that is dragged,
// tapped or chosen by keys is told as the bubbling event console:brush, whose detail has `from` and `to` as ISO times, and
// `from_s` and `to_s` in epoch seconds.
(() => {
  "use strict";

  const EVERY_S = 15;
  // However often a live part is fetched anew, figures are not.
  const AGAIN_MS = 5000;
  const TIMEOUT_MS = 15000;
  const HEIGHT = 180;
  const PALETTE_SIZE = 6;
  // Lines differ by more than their colour.
  const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4]];
  const TONES = ["good", "busy", "warn", "bad", "mute"];

  const words = Console.words;
  const charts = new Set();
  const known = new WeakSet();
  const language = () => document.documentElement.lang || undefined;
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Canvas wants a colour, not a variable: a probe in the figure resolves it in the theme of the moment.
  function colour(figure, name) {
    const probe = make("span");
    probe.style.color = `var(${name})`;
    figure.append(probe);
    const resolved = getComputedStyle(probe).color;
    probe.remove();
    return resolved;
  }

  const toneName = (line, index) => (TONES.includes(line.tone) ? `--c-${line.tone}` : `--c-line-${(index % PALETTE_SIZE) + 1}`);

  const formats = new Map();
  function formatted(kind, options, moment) {
    const key = `${kind} ${language()} ${Console.zone()}`;
    if (!formats.has(key)) {
      let format;
      try {
        format = new Intl.DateTimeFormat(language(), { ...options, hourCycle: "h23", timeZone: Console.zone() });
      } catch {
        format = new Intl.DateTimeFormat(language(), { ...options, hourCycle: "h23" });
      }
      formats.set(key, format);
    }
    return formats.get(key).format(moment);
  }
  const DAY = { month: "2-digit", day: "2-digit" };
  const MINUTE = { hour: "2-digit", minute: "2-digit" };
  const day = (seconds) => formatted("day", DAY, seconds * 1000);
  const minute = (seconds) => formatted("minute", MINUTE, seconds * 1000);
  const second = (seconds) => formatted("second", { ...MINUTE, second: "2-digit" }, seconds * 1000);
  const whole = (seconds) => formatted("whole", { ...DAY, ...MINUTE, second: "2-digit", timeZoneName: "shortOffset" }, seconds * 1000).replace("GMT", "UTC");

  function plain(value, digits) {
    return new Intl.NumberFormat(language(), { maximumFractionDigits: digits, notation: Math.abs(value) >= 100000 ? "compact" : "standard" }).format(value);
  }
  const put = (shape, value) => (shape ?? "%s").replace("%s", value);
  function withUnit(unit, value) {
    if (value === null || value === undefined) return "–";
    if (unit === "per_s") return put(words().unitPerS, plain(value, Math.abs(value) < 10 ? 2 : 1));
    if (unit !== "ms" && unit !== "s") return plain(value, Number.isInteger(value) ? 0 : 2);
    const ms = unit === "s" ? value * 1000 : value;
    if (Math.abs(ms) < 1000) return put(words().unitMs, plain(ms, Math.abs(ms) < 10 ? 1 : 0));
    if (Math.abs(ms) < 120000) return put(words().spanSeconds, plain(ms / 1000, 1));
    if (Math.abs(ms) < 7200000) return put(words().spanMinutes, plain(ms / 60000, 1));
    return put(words().spanHours, plain(ms / 3600000, 1));
  }

  class Chart {
    figures = null;
    plot = null;
    shape = "";
    askedAt = 0;
    isAsking = false;
    isFailing = false;
    hidden = new Set();
    anchor = null;

    constructor(figure) {
      this.figure = figure;
      this.canvas = figure.querySelector("[data-chart-canvas]");
      this.note = make("p", "c-empty c-chart-note", words().reading ?? "");
      this.note.setAttribute("role", "status");
      this.legend = make("ul", "c-chart-legend");
      this.when = make("span", "c-chart-when");
      this.canvas.after(this.note, this.legend);
      this.canvas.hidden = true;
      this.table = figure.querySelector("[data-chart-table]");
      this.details = this.table?.closest("details");
      this.observer = new ResizeObserver(() => this.fit());
      this.observer.observe(figure);
      if (figure.hasAttribute("data-chart-brush")) {
        this.canvas.addEventListener("keydown", (event) => this.keyed(event));
        this.canvas.addEventListener("pointerup", (event) => this.tapped(event));
      }
      this.ask();
    }

    get kind() { return this.figure.dataset.chartKind === "bars" ? "bars" : "lines"; }
    get url() { return this.figure.dataset.chart; }

    destroy() {
      this.observer.disconnect();
      this.plot?.destroy();
      this.plot = null;
      this.figures = null;
    }

    tick() {
      const everyMs = 1000 * (Number(this.figure.dataset.chartEvery) || EVERY_S);
      if (this.askedUrl !== this.url || Date.now() - this.askedAt >= everyMs) this.ask();
      this.showAge();
    }

    refresh() {
      if (Date.now() - this.askedAt >= AGAIN_MS) this.ask();
    }

    async ask() {
      if (document.hidden || (this.isAsking && this.askedUrl === this.url)) return;
      const url = this.url;
      [this.isAsking, this.askedAt, this.askedUrl] = [true, Date.now(), url];
      try {
        const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
        if (!answer.ok || answer.redirected) throw new Error(`${answer.status}`);
        const figures = await answer.json();
        // The picker may have asked for another window meanwhile, and the figure may be gone.
        if (url !== this.url || !this.figure.isConnected) return;
        this.isFailing = false;
        this.show(figures);
      } catch {
        if (url !== this.url || !this.figure.isConnected) return;
        this.isFailing = true;
        this.showNote();
      } finally {
        if (this.askedUrl === url) this.isAsking = false;
      }
    }

    show(figures) {
      this.figures = figures;
      this.isEmpty = !figures.times.length || figures.lines.every((line) => line.values.every((value) => value === null));
      this.showNote();
      if (this.isEmpty) {
        this.plot?.destroy();
        [this.plot, this.shape] = [null, ""];
        this.legend.replaceChildren();
      } else this.draw();
      this.fillTable();
    }

    showNote() {
      const text = this.isFailing ? words()[this.figures ? "chartOld" : "chartFailed"] : this.isEmpty ? words().chartEmpty : "";
      Console.put(this.note, text ?? "");
      this.note.hidden = !text;
      this.canvas.hidden = this.isEmpty || !this.figures;
      this.figure.toggleAttribute("data-chart-stale", this.isFailing);
      this.showAge();
    }

    showAge() {
      if (!this.figures) return;
      const age = Console.ageText(Date.parse(this.figures.at), Console.now());
      Console.put(this.figure.querySelector("[data-chart-age]"), this.figures.note ? `${age} · ${this.figures.note}` : age);
    }

    // Bars stand on each other: the last is drawn first, as the sum of all.
    data() {
      const { times, lines } = this.figures;
      if (this.kind === "lines") return [times, ...lines.map((line) => line.values)];
      const sums = [];
      lines.forEach((line, index) => {
        const below = sums[index - 1];
        const isHidden = this.hidden.has(line.key);
        sums.push(line.values.map((value, at) => (isHidden ? 0 : value ?? 0) + (below ? below[at] : 0)));
      });
      return [times, ...sums.reverse()];
    }

    // The line that a series of the plot draws.
    lineAt(series) {
      const { lines } = this.figures;
      return this.kind === "bars" ? lines.length - series : series - 1;
    }

    draw() {
      const { lines, unit, width_s } = this.figures;
      const shape = JSON.stringify([this.kind, unit, width_s, lines.map((line) => [line.key, line.label, line.tone])]);
      if (this.plot && shape === this.shape) {
        this.plot.setData(this.data());
      } else {
        this.plot?.destroy();
        this.plot = null;
        this.shape = shape;
        this.drawLegend();
        if (this.width() > 0) this.plot = new uPlot(this.options(), this.data(), this.canvas);
      }
      this.fillLegend();
    }

    width() { return Math.floor(this.canvas.clientWidth); }

    fit() {
      const width = this.width();
      if (!width || !this.figures || this.isEmpty) return;
      if (!this.plot) {
        this.plot = new uPlot(this.options(), this.data(), this.canvas);
        this.fillLegend();
      } else if (width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }

    options() {
      const { lines, unit, width_s } = this.figures;
      const soft = () => colour(this.figure, "--c-soft");
      const grid = { stroke: () => colour(this.figure, "--c-line"), width: 1 };
      const isBars = this.kind === "bars";
      const series = lines.map((_, index) => this.seriesOptions(this.lineAt(index + 1), isBars));
      const brushes = this.figure.hasAttribute("data-chart-brush");
      const zone = Console.zone();
      return {
        width: this.width(),
        height: HEIGHT,
        padding: [8, 12, 0, 0],
        legend: { show: false },
        tzDate: (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1000), zone) : new Date(seconds * 1000)),
        scales: {
          x: { time: true, range: (_, from, to) => [from, to + (isBars ? width_s : from === to ? width_s : 0)] },
          y: { range: (_, from, to) => [Math.min(0, from ?? 0), to > 0 ? to * 1.08 : 1] },
        },
        series: [{}, ...series],
        axes: [
          { stroke: soft, grid: { show: false }, ticks: grid, font: "12px sans-serif", space: 64, values: (_, splits, __, ___, step) => this.times(splits, step) },
          { stroke: soft, grid, ticks: { show: false }, font: "12px sans-serif", size: (_, values) => 16 + 7 * Math.max(3, ...(values ?? []).map((text) => text.length)), values: (_, splits) => splits.map((value) => this.onAxis(unit, value)) },
        ],
        cursor: {
          y: false,
          drag: { x: brushes, y: false, setScale: false },
          ...(brushes ? {} : { sync: { key: "console", scales: ["x", null] } }),
        },
        select: { show: brushes },
        hooks: {
          setCursor: [() => this.fillLegend()],
          setSelect: [(plot) => this.brushed(plot)],
        },
      };
    }

    seriesOptions(index, isBars) {
      const line = this.figures.lines[index];
      const stroke = () => colour(this.figure, toneName(line, index));
      return {
        label: line.label,
        show: isBars || !this.hidden.has(line.key),
        stroke,
        width: isBars ? 0 : 2,
        dash: isBars ? undefined : DASHES[index % DASHES.length],
        spanGaps: false,
        points: { show: isBars ? false : undefined },
        ...(isBars && { fill: stroke, paths: uPlot.paths.bars({ size: [0.85, 60], align: 1 }) }),
      };
    }

    // Counts have no halves.
    onAxis(unit, value) {
      if (value === null || (unit === "count" && !Number.isInteger(value))) return "";
      return withUnit(unit, value);
    }

    // A day is named where it begins, and with the first time.
    times(splits, step) {
      let before = "";
      return splits.map((seconds) => {
        const today = day(seconds);
        const isNew = today !== before;
        before = today;
        if (step >= 86400) return today;
        const time = step < 60 ? second(seconds) : minute(seconds);
        return isNew ? `${time}\n${today}` : time;
      });
    }

    drawLegend() {
      this.legend.replaceChildren(...this.figures.lines.map((line, index) => {
        const item = make("li");
        const button = make("button", "c-chart-line");
        button.type = "button";
        button.dataset.chartLine = line.key;
        button.setAttribute("aria-pressed", String(!this.hidden.has(line.key)));
        button.append(this.swatch(line, index), make("span", "", line.label), make("strong", "c-chart-value"));
        item.append(button);
        return item;
      }));
      const first = make("li", "c-chart-when-item");
      first.append(this.when);
      this.legend.prepend(first);
    }

    swatch(line, index) {
      const space = "http://www.w3.org/2000/svg";
      const svg = document.createElementNS(space, "svg");
      const stroke = document.createElementNS(space, "line");
      for (const [name, value] of Object.entries({ width: 22, height: 10, "aria-hidden": "true" })) svg.setAttribute(name, value);
      for (const [name, value] of Object.entries({ x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": this.kind === "bars" ? 9 : 2.5 })) stroke.setAttribute(name, value);
      if (this.kind === "lines") stroke.setAttribute("stroke-dasharray", DASHES[index % DASHES.length].join(" "));
      stroke.style.stroke = `var(${toneName(line, index)})`;
      svg.append(stroke);
      return svg;
    }

    toggle(key) {
      if (!this.figures) return;
      if (!this.hidden.delete(key)) this.hidden.add(key);
      for (const button of this.legend.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(!this.hidden.has(button.dataset.chartLine)));
      }
      if (!this.plot) return;
      if (this.kind === "bars") this.plot.setData(this.data());
      else {
        const at = this.figures.lines.findIndex((line) => line.key === key);
        this.plot.setSeries(at + 1, { show: !this.hidden.has(key) });
      }
    }

    // The values under the pointer, else the newest that are known.
    fillLegend() {
      if (!this.figures || this.isEmpty) return;
      const { times, lines, unit } = this.figures;
      const pointed = this.plot?.cursor?.idx;
      const isPointed = pointed !== null && pointed !== undefined && pointed < times.length;
      const newest = times.findLastIndex((_, at) => lines.some((line) => line.values[at] !== null));
      const at = isPointed ? pointed : newest;
      Console.put(this.when, at >= 0 ? whole(times[at]) : "");
      this.legend.querySelectorAll(".c-chart-value").forEach((element, index) => {
        Console.put(element, withUnit(unit, at >= 0 ? lines[index].values[at] : null));
      });
    }

    brushed(plot) {
      const { left, width } = plot.select;
      if (width < 3) return;
      const seconds = [left, left + width].map((place) => plot.posToVal(place, "x"));
      this.unselect();
      // Whole buckets: the first and the last that the range touches.
      const size = this.figures.width_s || 1;
      const first = this.figures.times[0];
      this.choose(first + Math.floor((seconds[0] - first) / size) * size, first + Math.ceil((seconds[1] - first) / size) * size);
    }

    unselect() {
      this.anchor = null;
      this.plot?.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    }

    // Arrows go from bar to bar, with Shift they take the bars between along, Enter chooses what they took.
    keyed(event) {
      if (!this.plot || event.altKey || event.ctrlKey || event.metaKey) return;
      const { times, width_s } = this.figures;
      const at = this.plot.cursor.idx ?? times.length - 1;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: times.length - 1 }[event.key];
      if (to !== undefined) {
        const anchor = event.shiftKey ? this.anchor ?? at : null;
        this.unselect();
        this.anchor = anchor;
        this.point(Math.min(Math.max(to, 0), times.length - 1));
      } else if (event.key === "Enter") {
        const ends = [at, this.anchor ?? at].sort((one, other) => one - other);
        this.unselect();
        this.choose(times[ends[0]], times[ends[1]] + (width_s || 1));
      } else if (event.key === "Escape") {
        this.unselect();
        this.plot.setCursor({ left: -10, top: -10 });
      } else return;
      event.preventDefault();
    }

    point(at) {
      const { plot, figures: { times, width_s } } = this;
      const place = (seconds) => plot.valToPos(seconds, "x");
      plot.setCursor({ left: place(times[at] + (width_s || 0) / 2), top: 0 });
      // The cursor takes the nearest beginning, which may be that of the next bar.
      plot.cursor.idx = at;
      this.fillLegend();
      if (this.anchor === null || this.anchor === undefined) return;
      const [from, to] = [at, this.anchor].sort((one, other) => one - other);
      const left = place(times[from]);
      plot.setSelect({ left, width: place(times[to] + (width_s || 0)) - left, top: 0, height: plot.over.clientHeight }, false);
    }

    // A finger cannot drag over bars without moving the page: it chooses the one that it touches.
    tapped(event) {
      if (event.pointerType === "mouse" || !this.plot) return;
      const { times, width_s } = this.figures;
      const seconds = this.plot.posToVal(event.clientX - this.plot.over.getBoundingClientRect().left, "x");
      const at = times.findLastIndex((time) => time <= seconds);
      if (at >= 0 && seconds < times[at] + (width_s || 1)) this.choose(times[at], times[at] + (width_s || 1));
    }

    choose(from_s, to_s) {
      const iso = (value) => new Date(value * 1000).toISOString();
      this.figure.dispatchEvent(new CustomEvent("console:brush", { bubbles: true, detail: { from: iso(from_s), to: iso(to_s), from_s, to_s } }));
    }

    fillTable() {
      if (!this.details?.open || !this.figures) return;
      if (this.isEmpty) {
        this.table.replaceChildren(make("p", "c-empty", words().chartEmpty));
        return;
      }
      const { times, lines, unit } = this.figures;
      const table = make("table", "c-table");
      table.append(make("caption", "c-for-readers", this.figure.querySelector("figcaption span")?.textContent ?? ""));
      const head = table.createTHead().insertRow();
      for (const [index, text] of [words().time ?? "", ...lines.map((line) => line.label)].entries()) {
        const cell = make("th", index ? "c-num" : "", text);
        cell.scope = "col";
        head.append(cell);
      }
      const body = table.createTBody();
      for (let at = times.length - 1; at >= 0; at -= 1) {
        const row = body.insertRow();
        const cell = make("th", "", whole(times[at]));
        cell.scope = "row";
        row.append(cell, ...lines.map((line) => make("td", "c-num", withUnit(unit, line.values[at]))));
      }
      this.table.replaceChildren(table);
    }

    repaint() { this.plot?.redraw(); }
  }

  // New figures are found, those that left the page are given back.
  function look() {
    for (const figure of document.querySelectorAll("[data-chart]")) {
      if (known.has(figure) || !figure.dataset.chart) continue;
      known.add(figure);
      charts.add(new Chart(figure));
    }
    for (const chart of charts) {
      if (chart.figure.isConnected) continue;
      chart.destroy();
      known.delete(chart.figure);
      charts.delete(chart);
    }
  }

  const chartOf = (element) => [...charts].find((chart) => chart.figure.contains(element));

  document.addEventListener("DOMContentLoaded", () => {
    look();
    new MutationObserver(() => charts.forEach((chart) => chart.repaint())).observe(document.documentElement, { attributeFilter: ["class"] });
  });
  document.addEventListener("htmx:afterSettle", look);
  document.addEventListener("console:tick", () => {
    look();
    charts.forEach((chart) => chart.tick());
  });
  document.addEventListener("console:refresh", () => charts.forEach((chart) => chart.refresh()));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) charts.forEach((chart) => chart.refresh()); });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("[data-chart] details")) chartOf(event.target)?.fillTable();
  }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-chart-line]");
    if (button) chartOf(button)?.toggle(button.dataset.chartLine);
  });
})();
