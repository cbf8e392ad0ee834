import { Connection } from "./connection.js";
import { hueOf, nameIn, useName } from "./names.js";
import { enableEarlyRetry, showProblem, showStatus, socketUrl } from "./status.js";

// The size of the field in the units of the server.
const [WIDTH, HEIGHT] = [1600, 900];

// The space around the field. A player at the edge of the field stays visible.
const [SIDE, TOP] = [64, 36];
const KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], KeyA: [-1, 0], KeyD: [1, 0], KeyW: [0, -1], KeyS: [0, 1],
};

const $ = id => document.getElementById(id);
const [name, field] = ["name", "field"].map($);
const context = field.getContext("2d");
const connection = new Connection({ state: showState, message: receive, closed: showProblem });
const pressed = new Set();

let names = {};
let players = [];
let star = null;
let ownNumber = 0;
let target = null;
let direction = "0,0";
let updates = 0;
let bytes = 0;
let frame = 0;

function receive(data) {
  if (typeof data === "string") return readText(JSON.parse(data));
  readState(new Uint16Array(data));
  updates++;
  bytes = data.byteLength;
  frame ||= requestAnimationFrame(draw);
}

// #region game
// The state has uint16 values: the star, and then the number, position and score of each player.
function readState([x, y, ...values]) {
  star = { x, y };
  players = [];
  for (let i = 0; i < values.length; i += 4) players.push({ number: values[i], x: values[i + 1], y: values[i + 2], score: values[i + 3] });
}

function steer(x, y) {
  const values = [x, y].map(value => Math.round(Math.min(1, Math.max(-1, value)) * 100));
  if (connection.state !== "connected" || direction === String(values)) return;
  direction = String(values);
  connection.send(new Int8Array(values));
}
// #endregion

function readText(value) {
  if (typeof value === "number") ownNumber = value;
  else names = value;
}

function connect() {
  connection.connect(() => socketUrl("/game?" + new URLSearchParams({ name: nameIn(name) })));
}

function showState() {
  if (connection.state === "connected") {
    direction = "0,0";
    $("problem").hidden = true;
  }

  showStatus(connection);
}

// Drawing.

function draw() {
  frame = 0;
  steerToTarget();
  const scale = field.width / (WIDTH + 2 * SIDE);
  const style = getComputedStyle(field);
  // On a small screen, the names keep a readable size.
  const textSize = Math.max(30, 12 * WIDTH / field.clientWidth);
  context.setTransform(scale, 0, 0, scale, SIDE * scale, TOP * scale);
  context.clearRect(-SIDE, -TOP, WIDTH + 2 * SIDE, HEIGHT + 2 * TOP);
  if (star) drawStar(star.x, star.y, style.getPropertyValue("--wait"));
  for (const { number, x, y } of players) {
    const isOwn = number === ownNumber;
    const color = `oklch(${style.getPropertyValue("--name")} ${hueOf(nameOf(number))})`;
    context.fillStyle = color;
    context.beginPath();
    context.arc(x, y, isOwn ? 30 : 26, 0, 2 * Math.PI);
    context.fill();
    if (isOwn) {
      context.strokeStyle = style.getPropertyValue("--ink");
      context.lineWidth = 5;
      context.stroke();
    }

    context.font = `600 ${textSize}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText(nameOf(number), Math.min(WIDTH - 20, Math.max(20, x)), y > 100 ? y - 42 : y + 42 + textSize * 0.8);
  }
}

function drawStar(x, y, color) {
  context.fillStyle = color;
  context.beginPath();
  for (let corner = 0; corner < 10; corner++) {
    const [radius, angle] = [corner % 2 ? 15 : 36, (corner / 5 - 0.5) * Math.PI];
    context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }

  context.fill();
}

function nameOf(number) {
  return names[number] ?? "";
}

function showPlayers() {
  const byScore = [...players].sort((a, b) => b.score - a.score);
  $("players").replaceChildren(...byScore.map(({ number, score }) => {
    const item = document.createElement("li");
    item.textContent = `${nameOf(number)}${number === ownNumber ? " (you)" : ""}: ${score}`;
    item.style.setProperty("--hue", hueOf(nameOf(number)));
    return item;
  }));
  $("players").hidden = players.length === 0;
  $("count").textContent = connection.state === "connected" ? `${players.length} here` : "";
}

// Input.

function steerByKeys() {
  target = null;
  const sum = [...pressed].reduce(([x, y], key) => [x + KEYS[key][0], y + KEYS[key][1]], [0, 0]);
  steer(...sum);
}

function steerToTarget() {
  const own = players.find(({ number }) => number === ownNumber);
  if (!target || !own) return;
  const [x, y] = [target.x - own.x, target.y - own.y];
  const distance = Math.hypot(x, y);
  if (distance < 20) steer(0, 0);
  else steer(x / distance, y / distance);
}

field.addEventListener("keydown", event => {
  if (!KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  pressed.add(event.code);
  steerByKeys();
});
addEventListener("keyup", event => {
  if (pressed.delete(event.code)) steerByKeys();
});
field.addEventListener("blur", () => {
  pressed.clear();
  steerByKeys();
});

function point(event) {
  const { left, top, width, height } = field.getBoundingClientRect();
  target = {
    x: (event.clientX - left) / width * (WIDTH + 2 * SIDE) - SIDE,
    y: (event.clientY - top) / height * (HEIGHT + 2 * TOP) - TOP,
  };
}

field.addEventListener("pointerdown", event => {
  if (!event.isPrimary) return;
  field.setPointerCapture(event.pointerId);
  point(event);
});
field.addEventListener("pointermove", event => field.hasPointerCapture(event.pointerId) && point(event));
for (const type of ["pointerup", "pointercancel"]) field.addEventListener(type, () => {
  target = null;
  steer(0, 0);
});

// Page.

new ResizeObserver(() => {
  field.width = Math.max(1, Math.round(field.clientWidth * devicePixelRatio));
  field.height = Math.max(1, Math.round(field.clientHeight * devicePixelRatio));
  frame ||= requestAnimationFrame(draw);
}).observe(field);

setInterval(() => {
  $("rate").textContent = connection.state === "connected" ? `${updates} / s` : "–";
  $("bytes").textContent = bytes || "–";
  updates = 0;
  showPlayers();
}, 1000);

$("settings").addEventListener("submit", event => {
  event.preventDefault();
  name.blur();
});
name.addEventListener("change", connect);
useName(name);
enableEarlyRetry(connection);
connect();
if (matchMedia("(pointer: fine)").matches) field.focus();
