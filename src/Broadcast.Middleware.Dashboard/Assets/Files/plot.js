const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 100;
const CLASSES = ["a", "b"];

function element(name, className, text = "") {
  const created = document.createElement(name);
  created.className = className;
  created.textContent = text;
  return created;
}

/** A plot of one or two series over time. */
export class Plot {
  #title;
  #series;
  #format;
  #svg = document.createElementNS(SVG, "svg");
  #top = element("div", "top");

  /** Each series has a name and a function that returns the value of a sample, or null. */
  constructor(title, series, format) {
    this.#title = title;
    this.#format = format;
    this.root = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.append(element("b", "", title));
    this.#svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
    this.#svg.setAttribute("aria-label", `${title}: no data yet`);
    this.#series = series.map(({ name, value }, index) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", CLASSES[index]);
      this.#svg.append(path);
      const legend = element("span", `series ${CLASSES[index]}`, name ? `${name} ` : "");
      const current = element("span", "", "–");
      current.className = "now";
      legend.append(current);
      caption.append(legend);
      return { name, value, path, current };
    });
    const area = element("div", "area");
    area.append(this.#top, this.#svg);
    this.root.append(caption, area);
  }

  /** Draws the samples between two times in milliseconds. */
  draw(samples, from, to) {
    const values = this.#series.map(({ value }) => samples.map(value));
    const max = Math.max(...values.flat().filter(value => value !== null), 0);
    const scale = niceMaximum(max);
    this.#top.textContent = this.#format(scale);
    const texts = this.#series.map((series, index) => {
      series.path.setAttribute("d", pathOf(samples, values[index], from, to, scale));
      const last = values[index].at(-1) ?? null;
      series.current.textContent = last === null ? "–" : this.#format(last);
      return `${series.name ? `${series.name} ` : ""}${series.current.textContent}`;
    });
    const summary = `${this.#title}: now ${texts.join(", ")}. Highest value ${this.#format(max)}.`;
    this.#svg.setAttribute("aria-label", summary);
  }
}

/** Returns the path of a series. The path has a gap if values are missing for more than five seconds. */
function pathOf(samples, values, from, to, scale) {
  let path = "";
  let previous = -Infinity;
  samples.forEach(({ time }, index) => {
    const value = values[index];
    if (value === null) return;
    const x = (time - from) / (to - from) * WIDTH;
    const y = HEIGHT - 2 - value / scale * (HEIGHT - 6);
    path += `${time - previous > 5000 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    // Draw a single point as a short line, because a path of one point is invisible.
    if (time - previous > 5000) path += "h.01";
    previous = time;
  });
  return path;
}

/** Rounds up to 1, 2 or 5 times a power of ten. */
function niceMaximum(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find(factor => factor * power >= value) * power;
}
