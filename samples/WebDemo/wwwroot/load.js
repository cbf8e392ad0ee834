import { Connection } from "./connection.js";
import { enableEarlyRetry, showProblem, showStatus, socketUrl } from "./status.js";

const SHOWN_REPORTS = 120;

const $ = id => document.getElementById(id);
const [clients, toggle] = ["clients", "toggle-load"].map($);
const connection = new Connection({ state: showState, message: receive, closed: showProblem });
const history = [];
let wanted = 0;

// #region load
function receive(data) {
  const figures = JSON.parse(data);
  wanted = figures.wanted;
  showFigures(figures);
  showButton();
}

$("settings").addEventListener("submit", event => {
  event.preventDefault();
  connection.send(wanted > 0 ? "0" : clients.value);
});
// #endregion

function showFigures(figures) {
  // The first report after a stop contains earlier deliveries.
  const deliveries = figures.clients > 0 ? figures.deliveries : 0;
  $("open").textContent = figures.clients.toLocaleString();
  $("deliveries").textContent = deliveries.toLocaleString();
  $("p50").textContent = milliseconds(figures.p50);
  $("p99").textContent = milliseconds(figures.p99);
  $("memory").textContent = `${figures.memory.toLocaleString()} MB`;
  $("problem").textContent = figures.problem ? `The clients stopped. ${figures.problem}` : "";
  plot(deliveries);
}

function milliseconds(value) {
  return value === undefined ? "–" : `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}

function plot(value) {
  history.push(value);
  if (history.length > SHOWN_REPORTS) history.shift();
  const high = Math.max(1000, ...history);
  $("high").textContent = high.toLocaleString();
  const points = history.map((deliveries, index) => `${600 - (history.length - 1 - index) * 600 / (SHOWN_REPORTS - 1)} ${196 - deliveries / high * 190}`);
  document.querySelector("#plot path").setAttribute("d", `M${points.join("L")}`);
}

function showButton() {
  toggle.disabled = connection.state !== "connected";
  toggle.textContent = wanted > 0 ? "Stop" : "Start";
  toggle.classList.toggle("quiet", wanted > 0);
}

function showState() {
  if (connection.state === "connected") {
    $("problem").textContent = "";
    wanted = 0;
  }

  showStatus(connection);
  showButton();
}

enableEarlyRetry(connection);
connection.connect(() => socketUrl("/load"));
