import { Connection } from "./connection.js";
import { hueOf, nameIn, useName } from "./names.js";
import { People } from "./people.js";
import { reasonOf, retryEarly, showStatus, socketUrl } from "./status.js";

// The sheet's width and height, whatever the window's are.
const SIZE = 2000;

// Of a message with a stroke: x and y in turns.
const MOST_NUMBERS = 256;

// As many as the server keeps.
const MOST_STROKES = 5000;

const $ = id => document.getElementById(id);
const [name, paper, clear] = ["name", "paper", "clear"].map($);
const strokesOn = $("strokes").getContext("2d");
const pendingOn = $("pending").getContext("2d");
const connection = new Connection({ state: showState, message: receive, closed });
const people = new People($("people"), showPeople);
const cursors = new Map();

// What has come back from the server, in the order in which all have it; and our own that has not yet.
let strokes = [];
let pending = [];
let own = null;

// What is to be sent with the next frame.
let line = [];
let pointer = null;
let pointerMoved = false;
let drawingWith = null;
let frame = 0;

function connect() {
  connection.connect(socketUrl("/board?" + new URLSearchParams({ name: nameIn(name) })));
}

function showState() {
  const isConnected = connection.state === "connected";
  if (isConnected) {
    // The strokes that are kept come again with every connection.
    [strokes, pending, own, line, drawingWith] = [[], [], null, [], null];
    for (const id of [...cursors.keys()]) removeCursor(id);
    $("problem").hidden = true;
    redraw();
    people.retryNow();
  }

  clear.disabled = !isConnected;
  showStatus(connection);
}

function closed(code, reason, wasOpen) {
  $("problem").textContent = wasOpen ? reasonOf(code, reason) : "No connection: the server is away, or it refused.";
  $("problem").hidden = false;
}

function showPeople() {
  $("count").textContent = people.isKnown ? `${people.members.size} here` : "";
  for (const id of [...cursors.keys()]) if (people.isKnown && !people.members.has(id)) removeCursor(id);
}

function receive(data) {
  const message = read(data);
  switch (message?.type) {
    case "you":
      own = people.own = message.id;
      people.show();
      break;
    case "stroke":
      addStroke(message);
      break;
    case "cursor":
      if (message.x === undefined) removeCursor(message.id);
      else moveCursor(message, message.x, message.y);
      break;
    case "clear":
      strokes = [];
      strokesOn.clearRect(0, 0, SIZE, SIZE);
      break;
  }
}

// What is published to everyone arrives here too, and need not be of the board.
function read(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

function addStroke(stroke) {
  strokes.push(stroke);
  if (strokes.length > MOST_STROKES) strokes.shift();
  draw(strokesOn, stroke);
  if (stroke.id === own) {
    pending.shift();
    redrawPending();
  } else if (own !== null) {
    moveCursor(stroke, ...stroke.points.slice(-2));
  }
}

// Drawing.

function draw(context, { name, points }) {
  context.strokeStyle = `oklch(${getComputedStyle(paper).getPropertyValue("--name")} ${hueOf(name)})`;
  context.lineWidth = Math.max(7, 2 * SIZE / paper.clientWidth);
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(points[0], points[1]);
  // A single point is a line that does not move: a dot.
  for (let i = points.length > 2 ? 2 : 0; i < points.length; i += 2) context.lineTo(points[i], points[i + 1]);
  context.stroke();
}

function redraw() {
  strokesOn.clearRect(0, 0, SIZE, SIZE);
  for (const stroke of strokes) draw(strokesOn, stroke);
  redrawPending();
}

function redrawPending() {
  pendingOn.clearRect(0, 0, SIZE, SIZE);
  for (const stroke of pending) draw(pendingOn, stroke);
}

function resize() {
  for (const context of [strokesOn, pendingOn]) {
    context.canvas.width = context.canvas.height = Math.max(1, Math.round(paper.clientWidth * devicePixelRatio));
    context.setTransform(context.canvas.width / SIZE, 0, 0, context.canvas.height / SIZE, 0, 0);
  }

  redraw();
}

// Cursors.

function moveCursor({ id, name }, x, y) {
  let cursor = cursors.get(id);
  if (!cursor) {
    cursor = document.createElement("div");
    cursor.className = "cursor";
    cursors.set(id, cursor);
    $("cursors").append(cursor);
  }

  cursor.textContent = name;
  cursor.style.setProperty("--hue", hueOf(name));
  cursor.style.left = `${x / SIZE * 100}%`;
  cursor.style.top = `${y / SIZE * 100}%`;
  cursor.classList.toggle("flipped", x > SIZE * 0.8);
}

function removeCursor(id) {
  cursors.get(id)?.remove();
  cursors.delete(id);
}

// The pointer: everything since the last frame goes out in one message.

function placeOf(event) {
  const { left, top, width, height } = paper.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height].map(part => Math.round(Math.min(1, Math.max(0, part)) * SIZE));
}

function flushSoon() {
  frame ||= requestAnimationFrame(flush);
}

function flush() {
  frame = 0;
  if (connection.state !== "connected") return;
  while (line.length > 0) {
    const points = line.slice(0, MOST_NUMBERS);
    send({ type: "stroke", points });
    pending.push({ name: nameIn(name), points });
    draw(pendingOn, pending.at(-1));
    // The next piece begins where this one ended.
    line = line.length > MOST_NUMBERS ? line.slice(MOST_NUMBERS - 2) : [];
  }

  if (!pointerMoved) return;
  pointerMoved = false;
  send(pointer ? { type: "cursor", x: pointer[0], y: pointer[1] } : { type: "cursor" });
}

function send(message) {
  connection.send(JSON.stringify(message));
}

paper.addEventListener("pointerdown", event => {
  if (event.button !== 0 || !event.isPrimary || connection.state !== "connected") return;
  paper.setPointerCapture(event.pointerId);
  drawingWith = event.pointerId;
  pointer = placeOf(event);
  line.push(...pointer);
  flushSoon();
});

paper.addEventListener("pointermove", event => {
  if (drawingWith === event.pointerId) {
    // Where it was at the last frame, and all since then.
    if (line.length === 0) line.push(...pointer);
    const places = event.getCoalescedEvents?.().map(placeOf) ?? [];
    line.push(...(places.length > 0 ? places : [placeOf(event)]).flat());
    pointer = line.slice(-2);
  } else if (event.isPrimary) {
    pointer = placeOf(event);
    pointerMoved = true;
  }

  flushSoon();
});

function lift(event) {
  if (drawingWith === event.pointerId) drawingWith = null;
  // A finger that is lifted is nowhere.
  if (event.type === "pointerleave" || event.pointerType !== "mouse") pointer = null;
  pointerMoved = true;
  flushSoon();
}

for (const type of ["pointerup", "pointercancel", "pointerleave"]) paper.addEventListener(type, lift);

// The page.

clear.addEventListener("click", () => send({ type: "clear" }));
name.addEventListener("change", connect);
$("settings").addEventListener("submit", event => {
  event.preventDefault();
  name.blur();
});

new ResizeObserver(resize).observe(paper);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

$("curl").textContent = `curl -N -H 'Accept: text/event-stream' ${location.origin}/board`;
useName(name);
retryEarly(connection);
people.follow("/board");
connect();
