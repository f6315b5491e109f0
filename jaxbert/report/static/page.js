"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const axis = document.getElementById("axis");
  const slider = document.getElementById("smoothing");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [];

  const colourOf = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const series = (number) => colourOf(`--series-${number}`);
  const dashes = [undefined, [6, 4], [2, 4]];
  // Lines of a box with values, which is as high as a chart.
  const mostRows = 12;
  // Colours of the page are written as #rrggbb.
  const faded = (colour, share) => colour + Math.round(share * 255).toString(16).padStart(2, "0");

  const grouped = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  const short = (value) => {
    const size = Math.abs(value);
    for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return `${+(value / unit).toPrecision(4)}${letter}`;
    }
    return `${+value.toPrecision(4)}`;
  };
  const exact = {
    number: (value) => value.toFixed(4),
    percent: (value) => `${(100 * value).toFixed(2)}%`,
    short: (value) => `${+value.toPrecision(3)}`,
    count: grouped,
    ms: (value) => `${value.toFixed(1)} ms`,
    bytes: (value) => `${(value / 2 ** 30).toFixed(2)} GiB`,
  };
  const onAxis = {
    number: short,
    percent: (value) => `${+(100 * value).toPrecision(4)}%`,
    short: short,
    count: short,
    ms: (value) => `${short(value)} ms`,
    bytes: (value) => `${+(value / 2 ** 30).toPrecision(3)} GiB`,
  };
  const positions = {
    steps: (value) => `step ${grouped(value)}`,
    tokens: (value) => `${short(value)} tokens`,
    epochs: (value) => `epoch ${value.toFixed(2)}`,
    hours: (value) => `${value < 1 ? `${(60 * value).toFixed(1)} min` : `${value.toFixed(2)} h`}`,
  };

  // The place of a step on the chosen axis: on a straight line between two pairs, and beyond the last one too.
  function place(run, step, name) {
    if (name === "steps") return step;
    const [steps, values] = page.runs[run].axes[name];
    let low = 0;
    let high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle;
      else high = middle;
    }
    return values[low] + ((step - steps[low]) / (steps[high] - steps[low])) * (values[high] - values[low]);
  }

  // Round numbers of bytes.
  const binary = [];
  for (let size = 2 ** 10; size < 2 ** 50; size *= 2) binary.push(size);

  // Round numbers on a logarithmic axis: whole decades where there are many, and more of them where there are few.
  function decades(low, high) {
    for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]]) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
        found.push(...digits.map((digit) => +(digit * 10 ** power).toPrecision(6)).filter((at) => at >= low && at <= high));
      }
      if (found.length >= 4) return found;
    }
    return [low, Math.sqrt(low * high), high].map((at) => +at.toPrecision(3));
  }

  // An exponential mean that is not pulled to zero at its start.
  function smooth(values, weight) {
    let sum = 0;
    let weights = 0;
    return values.map((value) => {
      sum = weight * sum + (1 - weight) * value;
      weights = weight * weights + (1 - weight);
      return sum / weights;
    });
  }

  // What is drawn: each line of the chart, and around a thinned or smoothed one its band or its values.
  function layers(chart, hidden, weight, name) {
    const found = [];
    chart.series.forEach((one, index) => {
      const at = page.steps[one.steps].map((step) => place(one.run, step, name));
      const colour = series(one.colour);
      const smoothed = weight > 0 && one.kind === "training" && one.values.length > 2;
      const show = !hidden.has(index);
      const add = (values, look) => found.push({ at, values, line: index, show, ...look });
      if (one.low) {
        add(one.high, { stroke: "transparent", band: faded(colour, 0.16) });
        add(one.low, { stroke: "transparent" });
      }
      if (smoothed) add(one.values, { stroke: faded(colour, 0.3), width: 1 });
      add(smoothed ? smooth(one.values, weight) : one.values, {
        stroke: colour,
        width: one.kind === "constant" ? 1.5 : one.strong ? 3.5 : 2,
        dash: dashes[one.dash],
        points: one.kind === "validation" || (one.kind === "training" && one.values.length < 3),
        read: true,
        name: one.name,
        colour,
      });
    });
    return found;
  }

  // The nearest index that has a value: lines have values at different steps.
  function nearest(plot, line, index) {
    const values = plot.data[line];
    const at = plot.data[0];
    const here = at[index];
    let left = index;
    let right = index;
    while (left >= 0 && values[left] == null) left -= 1;
    while (right < values.length && values[right] == null) right += 1;
    if (left < 0) return right < values.length ? right : index;
    if (right >= values.length) return left;
    return here - at[left] <= at[right] - here ? left : right;
  }

  class Plot {
    constructor(box) {
      this.box = box;
      this.figure = box.closest("figure");
      this.chart = page.charts[+box.dataset.chart];
      this.hidden = new Set();
      const values = this.chart.series.flatMap((one) => [...one.values, ...(one.low || [])]);
      const fits = ["number", "short"].includes(this.chart.form);
      this.canLog = fits && values.length > 0 && values.every((value) => value > 0);
      this.log = this.chart.log && this.canLog;
      this.legend();
      const logButton = this.figure.querySelector(".log");
      logButton.hidden = !this.canLog;
      logButton.setAttribute("aria-pressed", this.log);
      logButton.addEventListener("click", () => {
        this.log = !this.log;
        logButton.setAttribute("aria-pressed", this.log);
        this.draw();
      });
      this.reset = this.figure.querySelector(".reset");
      this.reset.addEventListener("click", () => this.draw());
      this.tip = document.createElement("div");
      this.tip.className = "tip";
      this.tip.hidden = true;
      this.tip.setAttribute("aria-live", "polite");
      box.tabIndex = 0;
      box.setAttribute("role", "application");
      box.setAttribute("aria-label", `${this.chart.title}: left and right arrows read the values`);
      box.addEventListener("keydown", (event) => this.key(event));
      box.addEventListener("blur", () => this.leave());
      this.draw();
    }

    legend() {
      const names = this.figure.querySelector(".legend");
      names.hidden = this.chart.series.length < 2;
      // Lines of a group have one name for all of them.
      const entries = new Map();
      this.chart.series.forEach((one, index) => {
        const key = one.group ? `group ${one.group}` : index;
        entries.set(key, [...(entries.get(key) || []), index]);
      });
      entries.forEach((indices) => {
        const one = this.chart.series[indices[0]];
        const button = document.createElement("button");
        button.type = "button";
        button.className = `${one.kind} dash-${one.dash}`;
        button.style.setProperty("--colour", `var(--series-${one.colour})`);
        button.setAttribute("aria-pressed", "true");
        button.append(document.createElement("i"), one.group || one.name);
        button.addEventListener("click", () => {
          const show = this.hidden.has(indices[0]);
          indices.forEach((index) => (show ? this.hidden.delete(index) : this.hidden.add(index)));
          button.setAttribute("aria-pressed", show);
          this.draw(true);
        });
        names.append(button);
      });
    }

    draw(keep) {
      const name = axis.value;
      const zoom = keep && this.zoomed ? { ...this.plot.scales.x } : null;
      if (this.plot) this.plot.destroy();
      this.layers = layers(this.chart, this.hidden, +slider.value, name);
      const data = uPlot.join(this.layers.map((layer) => [layer.at, layer.values]));
      const faint = colourOf("--faint");
      const grid = { stroke: colourOf("--grid"), width: 1 };
      const text = { stroke: faint, grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const bands = this.layers.flatMap((layer, index) =>
        layer.band ? [{ series: [index + 1, index + 2], fill: layer.band }] : [],
      );
      const form = onAxis[this.chart.form];
      const log = this.log;
      const options = {
        width: this.width(),
        height: this.height(),
        padding: [10, 12, 0, 0],
        legend: { show: false },
        scales: {
          x: { time: false, range: (plot, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
          y: { distr: log ? 3 : 1, range: (plot, low, high) => this.range(low, high) },
        },
        axes: [
          { ...text, grid: { show: false }, size: 30, gap: 6, space: 64, values: (plot, at) => at.map((v) => (v == null ? "" : short(v))) },
          {
            ...text,
            gap: 6,
            space: 34,
            size: (plot, values) => 16 + Math.max(24, ...(values || []).map((value) => (value ? value.length : 0) * 7)),
            values: (plot, at) => at.map((v) => (v == null ? "" : form(v))),
            incrs: this.chart.form === "bytes" ? binary : undefined,
            ...(log ? { splits: (plot) => decades(plot.scales.y.min, plot.scales.y.max), filter: (plot, at) => at } : {}),
          },
        ],
        series: [
          {},
          ...this.layers.map((layer) => ({
            show: layer.show,
            stroke: layer.stroke,
            width: layer.width || 0,
            dash: layer.dash,
            spanGaps: true,
            points: { show: Boolean(layer.points), size: 6, fill: layer.stroke, stroke: layer.stroke },
          })),
        ],
        bands,
        cursor: {
          drag: { x: true, y: false },
          sync: { key: "page", scales: ["x", null], setSeries: false },
          y: false,
          dataIdx: (plot, line, index) => (line === 0 ? index : nearest(plot, line, index)),
          points: { show: (plot, line) => (this.layers[line - 1].read ? uPlotPoint(plot, this.layers[line - 1].stroke) : false) },
        },
        hooks: {
          draw: [(plot) => this.marks(plot, name, faint)],
          setCursor: [(plot) => this.read(plot, name)],
          setScale: [(plot, key) => key === "x" && this.scaled(plot)],
        },
      };
      this.plot = new uPlot(options, data, this.box);
      this.plot.over.append(this.tip);
      this.tip.hidden = true;
      if (zoom) this.plot.setScale("x", { min: zoom.min, max: zoom.max });
    }

    range(low, high) {
      if (low == null) return [0, 1];
      if (this.log) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
      const margin = (high - low || Math.abs(high) || 1) * 0.06;
      return [this.chart.zero && low >= 0 ? 0 : low - margin, high + margin];
    }

    width() {
      return Math.max(160, Math.floor(this.box.clientWidth));
    }

    height() {
      return root.classList.contains("printing") ? 190 : this.width() < 380 ? 210 : 250;
    }

    resize() {
      if (this.plot.width !== this.width() || this.plot.height !== this.height()) {
        this.plot.setSize({ width: this.width(), height: this.height() });
      }
    }

    scaled(plot) {
      const at = plot.data[0];
      this.zoomed = plot.scales.x.min > at[0] || plot.scales.x.max < at[at.length - 1];
      this.reset.hidden = !this.zoomed;
    }

    // Where phases begin, with their names; and triangles where the run was continued.
    marks(plot, name, faint) {
      const { ctx, bbox } = plot;
      const ratio = bbox.width / plot.over.clientWidth;
      const seen = new Set();
      let free = -Infinity;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = faint;
      ctx.lineWidth = ratio;
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      page.runs.forEach((run, index) => {
        run.phases.forEach(([step, phase]) => {
          const at = Math.round(plot.valToPos(place(index, step, name), "x", true));
          if (seen.has(`${at} ${phase}`) || at <= bbox.left || at >= bbox.left + bbox.width) return;
          seen.add(`${at} ${phase}`);
          ctx.setLineDash([3 * ratio, 4 * ratio]);
          ctx.beginPath();
          ctx.moveTo(at, bbox.top);
          ctx.lineTo(at, bbox.top + bbox.height);
          ctx.stroke();
          const width = ctx.measureText(phase).width;
          const left = at + width + 6 * ratio > bbox.left + bbox.width ? at - width - 5 * ratio : at + 5 * ratio;
          if (left < free) return;
          ctx.fillText(phase, left, bbox.top + 2 * ratio);
          free = left + width;
        });
        run.resumes.forEach((step) => {
          const at = plot.valToPos(place(index, step, name), "x", true);
          if (at < bbox.left || at > bbox.left + bbox.width) return;
          const bottom = bbox.top + bbox.height;
          ctx.beginPath();
          ctx.moveTo(at, bottom - 7 * ratio);
          ctx.lineTo(at - 4 * ratio, bottom);
          ctx.lineTo(at + 4 * ratio, bottom);
          ctx.fill();
        });
      });
      ctx.restore();
    }

    // The values of all lines at the cursor, beside it.
    read(plot, name) {
      const { left, idx, idxs } = plot.cursor;
      // A chart that follows the cursor of another one shows the line only.
      const own = plot.over.matches(":hover") || document.activeElement === this.box;
      if (left == null || left < 0 || idx == null || !own) {
        this.tip.hidden = true;
        return;
      }
      const here = plot.data[0][idx];
      const rows = [];
      this.layers.forEach((layer, line) => {
        if (!layer.read || !layer.show) return;
        const index = idxs[line + 1];
        const value = index == null ? null : plot.data[line + 1][index];
        if (value == null) return;
        const row = document.createElement("div");
        row.style.setProperty("--colour", layer.colour);
        const words = document.createElement("span");
        const constant = this.chart.series[layer.line].kind === "constant";
        const elsewhere = !constant && plot.data[0][index] !== here;
        words.textContent = layer.name + (elsewhere ? ` (${positions[name](plot.data[0][index])})` : "");
        const figure = document.createElement("em");
        figure.textContent = constant ? "" : exact[this.chart.form](value);
        row.append(document.createElement("i"), words, figure);
        rows.push(row);
      });
      const title = document.createElement("b");
      title.textContent = positions[name](here);
      const more = document.createElement("div");
      if (rows.length > mostRows) more.textContent = `and ${rows.splice(mostRows).length} more; click names to hide lines`;
      this.tip.replaceChildren(title, ...rows, ...(more.textContent ? [more] : []));
      this.tip.hidden = false;
      const room = plot.over.clientWidth;
      const width = this.tip.offsetWidth;
      const beside = left + 14 + width <= room ? left + 14 : left - 14 - width;
      this.tip.style.left = `${Math.max(0, Math.min(beside, room - width))}px`;
      this.tip.style.top = "6px";
    }

    key(event) {
      const moves = { ArrowLeft: -1, ArrowRight: 1 };
      if (event.key === "Escape") this.draw();
      if (!(event.key in moves)) return;
      event.preventDefault();
      const at = this.plot.data[0];
      const { min, max } = this.plot.scales.x;
      let index = this.plot.cursor.idx;
      index = index == null || this.tip.hidden ? (moves[event.key] > 0 ? 0 : at.length - 1) : index + moves[event.key];
      index = Math.max(0, Math.min(at.length - 1, index));
      while (at[index] < min) index += 1;
      while (at[index] > max) index -= 1;
      this.plot.setCursor({ left: this.plot.valToPos(at[index], "x"), top: 10 });
    }

    leave() {
      this.tip.hidden = true;
      this.plot.setCursor({ left: -10, top: -10 });
    }
  }

  function uPlotPoint(plot, colour) {
    const point = document.createElement("div");
    point.style.cssText = `width:9px;height:9px;margin:-4.5px 0 0 -4.5px;background:${colour}`;
    return point;
  }

  const drawAll = (keep) => plots.forEach((plot) => plot.draw(keep));
  const resizeAll = () => plots.forEach((plot) => plot.resize());

  document.querySelectorAll(".plot").forEach((box) => plots.push(new Plot(box)));
  document.getElementById("controls").hidden = false;
  axis.addEventListener("change", () => drawAll(false));
  slider.addEventListener("input", () => {
    document.getElementById("smoothed").textContent = (+slider.value).toFixed(2);
    drawAll(true);
  });
  dark.addEventListener("change", () => drawAll(true));
  let waiting = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(resizeAll);
  }).observe(document.getElementById("content"));

  // Paper is light, and narrower than most screens.
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    document.querySelectorAll("details").forEach((one) => {
      if (!one.open && !one.closest("figure")) one.dataset.closed = one.open = true;
    });
    resizeAll();
    drawAll(true);
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    document.querySelectorAll("details[data-closed]").forEach((one) => {
      one.open = false;
      delete one.dataset.closed;
    });
    resizeAll();
    drawAll(true);
  });
})();
