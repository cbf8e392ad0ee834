import { Connection } from "./connection.js";
import { element } from "./element.js";
import { enableEarlyRetry, showProblem, showStatus, socketUrl } from "./status.js";

// The chart shows the prices of the last SHOWN_SECONDS. While the page has only newer prices, the chart shows a shorter time, but at least MIN_SECONDS.
const [MIN_SECONDS, SHOWN_SECONDS] = [10, 60];

const $ = id => document.getElementById(id);
const table = $("table");
const throttle = $("throttle");
const connection = new Connection({ state: () => showStatus(connection), message: receive, closed: showProblem });

// While the page is throttled, a second connection counts all published prices.
const counter = new Connection({ state() {}, message: () => published++, closed() {} });

// The prices and the tile of each symbol.
const symbols = new Map();
let chosen = null;
let newest = new Map();
let shownMarket = "";
let updates = 0;
let published = 0;
let latest = 0;

// #region prices
function receive(data) {
  const update = parse(data);
  if (!update) return;
  $("problem").hidden = true;
  updates++;
  latest = Math.max(latest, update.time);
  const symbol = symbols.get(update.symbol) ?? add(update.symbol);
  // After a pause of the feed, the chart starts again.
  if (update.time / 1000 - symbol.times.at(-1) > MIN_SECONDS) [symbol.times, symbol.prices] = [[], []];
  symbol.times.push(update.time / 1000);
  symbol.prices.push(update.price);
  // One animation frame shows the latest price of each symbol.
  if (newest.size === 0) requestAnimationFrame(flush);
  newest.set(symbol, update);
}
// #endregion

// The page also receives messages to all connections. The page ignores such messages if they are not prices.
function parse(data) {
  try {
    const update = JSON.parse(data);
    return typeof update.symbol === "string" && Number.isFinite(update.price) && Number.isFinite(update.time) ? update : null;
  } catch {
    return null;
  }
}

function add(name) {
  const tile = element("label", "tile");
  const choice = element("input");
  choice.type = "radio";
  choice.name = "symbol";
  choice.value = name;
  choice.addEventListener("change", () => choose(symbol));
  const [mark, price] = [element("i"), element("span")];
  tile.append(choice, element("b", "", name), mark, price);
  const symbol = { name, tile, choice, mark, price, times: [], prices: [], update: null };
  symbols.set(name, symbol);
  const next = [...table.querySelectorAll(".tile")].find(other => other.control.value > name);
  table.insertBefore(tile, next ?? null);
  if (!chosen) choose(symbol);
  return symbol;
}

function choose(symbol) {
  chosen = symbol;
  symbol.choice.checked = true;
  $("chosen").textContent = symbol.name;
  if (symbol.update) showChosen();
}

function flush() {
  for (const [symbol, update] of newest) {
    if (symbol.update && update.price !== symbol.update.price) {
      const isUp = update.price > symbol.update.price;
      symbol.tile.classList.toggle("up", isUp);
      symbol.tile.classList.toggle("down", !isUp);
      symbol.mark.textContent = isUp ? "▲" : "▼";
    }

    symbol.update = update;
    symbol.price.textContent = update.price.toFixed(2);
    symbol.tile.dataset.time = update.time;
    const old = symbol.times.findIndex(time => time >= latest / 1000 - SHOWN_SECONDS - 5);
    if (old > 100) for (const list of [symbol.times, symbol.prices]) list.splice(0, old);
  }

  newest = new Map();
  $("symbols").textContent = symbols.size;
  showChosen();
}

function showChosen() {
  const { price, change } = chosen?.update ?? {};
  if (price === undefined) return;
  $("price").textContent = price.toFixed(2);
  $("change").textContent = `${change < 0 ? "▼ −" : "▲ +"}${Math.abs(change).toFixed(2)} %`;
  $("change").className = change < 0 ? "down" : "up";
  chart.setData([chosen.times, chosen.prices], true);
}

// Chart.

const color = name => () => getComputedStyle(document.documentElement).getPropertyValue(name);
const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };

const chart = new uPlot({
  width: 300,
  height: 200,
  padding: [8, 30, 0, 0],
  legend: { show: false },
  cursor: { show: false },
  scales: { x: { range: () => [latest / 1000 - shownSeconds(), latest / 1000] } },
  axes: [
    { ...axis, size: 32, space: 90, values: (_, times) => times.map(time => new Date(time * 1000).toLocaleTimeString([], { timeStyle: "medium", hour12: false })) },
    { ...axis, size: 58, values: (_, prices) => prices.map(price => price.toFixed(2)) },
  ],
  series: [{}, { stroke: color("--accent"), width: 2, points: { show: false } }],
}, [[], []], $("chart"));

function shownSeconds() {
  const first = chosen?.times.find(time => time >= latest / 1000 - SHOWN_SECONDS) ?? Infinity;
  return Math.max(MIN_SECONDS, latest / 1000 - first);
}

new ResizeObserver(([{ contentRect }]) => chart.setSize({ width: contentRect.width, height: contentRect.height })).observe($("chart"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());

setInterval(() => {
  $("rate").textContent = connection.state === "connected" ? `${updates} / s` : "–";
  $("published").textContent = `${published} / s`;
  $("replaced").textContent = `${Math.max(0, published - updates)} / s`;
  updates = published = 0;
}, 1000);

// A throttled page gets 20 prices per second of all markets. Each price is the newest price of its symbol. For
// other pages, the filter in the URL selects one market, so the server sends only the prices of this market.
function connect() {
  if (throttle.checked) document.querySelector("#market input").checked = true;
  const market = document.querySelector("#market :checked").value;
  if (market !== shownMarket) clear();
  shownMarket = market;
  const path = throttle.checked ? "/prices/throttled" : "/prices" + (market && `?filter=market=${market}`);
  $("path").textContent = path;
  $("curl").textContent = `curl -N -H 'Accept: text/event-stream' '${location.origin}${path}'`;
  $("market").disabled = throttle.checked;
  for (const figure of document.querySelectorAll(".throttled")) figure.hidden = !throttle.checked;
  if (throttle.checked) counter.connect(() => socketUrl("/prices"));
  else counter.disconnect();
  connection.connect(() => socketUrl(path));
}

function clear() {
  symbols.clear();
  newest.clear();
  chosen = null;
  updates = 0;
  table.querySelectorAll(".tile").forEach(tile => tile.remove());
}

$("market").addEventListener("change", connect);
throttle.addEventListener("change", connect);
enableEarlyRetry(connection);
connect();
