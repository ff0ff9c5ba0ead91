"use strict";

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const canHover = matchMedia("(hover: hover)");
  // Of the text block of an A4 page with the margins of page.css, in CSS pixels.
  const PRINT_WIDTH = 690;
  const PRINT_GAP = 20;
  const config = { displaylogo: false, displayModeBar: false, scrollZoom: false };

  const charts = [...document.querySelectorAll("figure.chart")].map((element) => ({
    plot: element.querySelector(".plot"),
    isHalf: element.classList.contains("half"),
    choices: [...element.querySelectorAll("[data-choice]")],
    figure: JSON.parse(element.querySelector("script").textContent),
  }));

  // To ask an element of its own costs little: to ask the root would style the whole page anew for each color.
  const probe = document.body.appendChild(document.createElement("i"));
  probe.hidden = true;

  // Returns what gives the present value of a CSS variable, written as `var(--name)`.
  function palette() {
    const known = new Map();
    return (variable) => {
      if (!known.has(variable)) {
        probe.style.color = variable;
        known.set(variable, getComputedStyle(probe).color);
      }
      return known.get(variable);
    };
  }

  // Replaces CSS variables, but only where plotly expects a color: elsewhere such a text is somebody's name.
  function colored(value, colorOf, isColor) {
    if (typeof value === "string") return isColor && value.startsWith("var(") ? colorOf(value) : value;
    if (Array.isArray(value)) {
      const isList = isColor || (value.length && typeof value[0] === "object" && !Array.isArray(value[0]));
      return isList ? value.map((item) => colored(item, colorOf, isColor)) : value;
    }
    if (value === null || typeof value !== "object" || "bdata" in value) return value;
    const entries = Object.entries(value);
    return Object.fromEntries(entries.map(([key, item]) => [key, colored(item, colorOf, /color/.test(key))]));
  }

  function chosen(chart) {
    const pairs = chart.choices
      .filter((control) => control.type !== "radio" || control.checked)
      .map((control) => [control.dataset.choice, control.value]);
    return Object.fromEntries(pairs);
  }

  function draw(chart, width = chart.plot.clientWidth) {
    const values = chosen(chart);
    const colorOf = palette();
    const isShown = (trace) => Object.entries(trace.meta || {}).every(([key, value]) => values[key] === value);
    const layout = colored(chart.figure.layout, colorOf, false);
    layout.font.family = getComputedStyle(root).fontFamily;
    layout.uirevision = "kept";
    // With a finger the same movement scrolls the page.
    if (!canHover.matches) layout.dragmode = false;
    layout.width = width;
    const data = chart.figure.data.filter(isShown).map((trace) => colored(trace, colorOf, false));
    // With another width plotly would leave the legend the room that it had before.
    const plot = width === chart.width ? Plotly.react : Plotly.newPlot;
    chart.width = width;
    return plot(chart.plot, data, layout, config);
  }

  function drawAll() {
    return Promise.all(charts.map((chart) => draw(chart)));
  }

  for (const chart of charts) {
    for (const control of chart.choices) {
      control.addEventListener("change", () => {
        // A class is chosen in all charts at once.
        for (const other of charts) {
          const same = other.choices.filter(
            (item) => item.tagName === "SELECT" && item.dataset.choice === control.dataset.choice
          );
          for (const item of same) item.value = control.value;
          if (other === chart || same.length) draw(other);
        }
      });
    }
  }

  for (const control of document.querySelectorAll(".theme input")) {
    control.addEventListener("change", () => {
      if (control.value === "system") delete root.dataset.theme;
      else root.dataset.theme = control.value;
      drawAll();
    });
  }
  system.addEventListener("change", drawAll);
  let redrawing;
  addEventListener("resize", () => {
    cancelAnimationFrame(redrawing);
    redrawing = requestAnimationFrame(drawAll);
  });

  let themeBeforePrint;
  addEventListener("beforeprint", () => {
    themeBeforePrint = root.dataset.theme;
    root.dataset.theme = "light";
    for (const chart of charts) draw(chart, chart.isHalf ? (PRINT_WIDTH - PRINT_GAP) / 2 : PRINT_WIDTH);
  });
  addEventListener("afterprint", () => {
    if (themeBeforePrint) root.dataset.theme = themeBeforePrint;
    else delete root.dataset.theme;
    drawAll();
  });

  for (const element of document.querySelectorAll(".choices, .theme")) element.hidden = false;
  drawAll().then(() => {
    root.dataset.charts = "drawn";
  });
})();
