import { Connection } from "./connection.js";
import { enableEarlyRetry, showProblem, showStatus, socketUrl } from "./status.js";

// A chart shows the readings of the last SHOWN_SECONDS. While a sensor has only newer readings, its chart shows a shorter time, but at least MIN_SECONDS.
const [MIN_SECONDS, SHOWN_SECONDS] = [10, 120];
const [WIDTH, HEIGHT] = [240, 60];
const SVG = "http://www.w3.org/2000/svg";

const $ = id => document.getElementById(id);
const connection = new Connection({ state: showState, message: receive, closed: showProblem });
const sensors = new Map();
let changed = new Set();
let isSending = false;

// #region sensors
function receive(data) {
  const { sensor, value, time } = parse(data);
  if (sensor === undefined) return;
  const shown = sensors.get(sensor) ?? add(sensor);
  // After a reconnect, the server sends old readings again. The readings of a sensor arrive in the order of their time.
  if (time <= shown.readings.at(-1)?.time) return;
  shown.readings.push({ time, value });
  // One animation frame shows the newest readings.
  if (changed.size === 0) requestAnimationFrame(flush);
  changed.add(shown);
}

const send = value => fetch("sensors/slider", { method: "POST", body: String(value) });
// #endregion

// The page also receives messages to all connections. The page ignores such messages if they are not readings.
function parse(data) {
  try {
    const reading = JSON.parse(data);
    return typeof reading.sensor === "string" && Number.isFinite(reading.value) && Number.isFinite(reading.time) ? reading : {};
  } catch {
    return {};
  }
}

function showState() {
  if (connection.state === "connected") $("problem").hidden = true;
  showStatus(connection);
}

function add(name) {
  const item = document.createElement("li");
  const [title, value, age] = ["h2", "b", "small"].map(tag => document.createElement(tag));
  title.textContent = name;
  const plot = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "polyline");
  plot.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  plot.setAttribute("preserveAspectRatio", "none");
  plot.setAttribute("aria-hidden", "true");
  plot.append(line);
  item.append(title, value, plot, age);
  const sensor = { name, item, value, age, line, readings: [] };
  sensors.set(name, sensor);
  const next = [...sensors.values()].filter(other => other.name > name).sort((a, b) => (a.name < b.name ? -1 : 1))[0];
  $("sensors").insertBefore(item, next?.item ?? null);
  $("count").textContent = sensors.size === 1 ? "1 sensor" : `${sensors.size} sensors`;
  return sensor;
}

function flush() {
  for (const sensor of changed) {
    const newest = sensor.readings.at(-1).time;
    sensor.readings = sensor.readings.filter(({ time }) => time >= newest - SHOWN_SECONDS * 1000);
    const { readings, line } = sensor;
    const values = readings.map(({ value }) => value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const y = value => (high === low ? HEIGHT / 2 : HEIGHT - 4 - (value - low) / (high - low) * (HEIGHT - 8));
    const span = Math.max(MIN_SECONDS * 1000, newest - readings[0].time);
    const x = time => WIDTH * (1 - (newest - time) / span);
    line.setAttribute("points", readings.map(({ time, value }) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`).join(" "));
    sensor.value.textContent = values.at(-1).toLocaleString([], { maximumFractionDigits: 2 });
  }

  changed = new Set();
  showAges();
}

function showAges() {
  for (const { age, readings } of sensors.values()) {
    const seconds = Math.max(0, Math.round((Date.now() - readings.at(-1).time) / 1000));
    age.textContent = seconds < 2 ? "now" : `${seconds} s ago`;
  }
}

// Send only one request at a time. If the slider has moved during a request, send the newest position afterwards.
$("level").addEventListener("input", async () => {
  const { value } = $("level");
  $("level-value").textContent = value;
  if (isSending) return;
  isSending = true;
  try {
    await send(value);
  } finally {
    isSending = false;
  }

  if ($("level").value !== value) $("level").dispatchEvent(new Event("input"));
});

$("script").textContent = `curl -s ${location.origin}/sensors.sh | sh -s ${location.origin}`;
$("curl").textContent = `curl -d 21.5 ${location.origin}/sensors/attic`;
setInterval(showAges, 1000);
enableEarlyRetry(connection);
connection.connect(() => socketUrl("/sensors"));
