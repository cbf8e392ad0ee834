import { Connection } from "./connection.js";
import { cursorMessage, Cursors } from "./cursors.js";
import { hueOf, nameIn, useName } from "./names.js";
import { People } from "./people.js";
import { enableEarlyRetry, showProblem, showStatus, socketUrl } from "./status.js";

// The width and height of the board in units that do not depend on the window size.
const SIZE = 2000;

// The server accepts at most this many coordinates in one stroke.
const MAX_COORDINATES = 256;

// The server keeps at most this many strokes.
const MAX_STROKES = 5000;

const $ = id => document.getElementById(id);
const [name, paper, clear] = ["name", "paper", "clear"].map($);
const strokesOn = $("strokes").getContext("2d");
const pendingOn = $("pending").getContext("2d");
const connection = new Connection({ state: showState, message: receive, closed: showProblem });
const people = new People($("people"), showPeople);
const cursors = new Cursors($("cursors"), isAbsent);

// "strokes" are the strokes from the server. All clients have the same order of strokes.
// "pending" are the strokes of this page that the server has not sent back yet.
let strokes = [];
let pending = [];
let ownId = null;

// The next animation frame sends these points.
let line = [];
let pointer = null;
let pointerMoved = false;
let drawingWith = null;
let pen = null; // "up" or "down" while the keyboard moves the pointer.
let frame = 0;

function connect() {
  const url = socketUrl("/board?" + new URLSearchParams({ name: nameIn(name) }));
  connection.connect(() => url);
}

function showState() {
  const isConnected = connection.state === "connected";
  if (isConnected) {
    // The server sends all strokes again on every new connection.
    [strokes, pending, ownId, line, drawingWith, pen] = [[], [], null, [], null, null];
    cursors.clear();
    $("problem").hidden = true;
    redraw();
    people.retryNow();
  }

  clear.disabled = !isConnected;
  showStatus(connection);
}

function showPeople() {
  $("count").textContent = people.isKnown ? `${people.members.size} here` : "";
  cursors.refresh();
}

// #region board
function receive(data) {
  const message = parse(data);
  switch (message?.type) {
    case "you": return setOwnId(message.id);
    case "stroke": return addStroke(message);
    case "cursor": return cursors.receive(message);
    case "clear": return clearStrokes();
  }
}

const send = message => connection.send(JSON.stringify(message));
// #endregion

// The page also receives messages to all connections. The page ignores such messages if they are not valid messages of the board.
function parse(data) {
  try {
    const message = JSON.parse(data);
    return isValid(message) ? message : null;
  } catch {
    return null;
  }
}

function isValid({ type, name, points }) {
  return type !== "stroke" || (typeof name === "string" && Array.isArray(points) && points.length > 1 && points.every(Number.isFinite));
}

function setOwnId(id) {
  ownId = people.ownId = id;
  people.show();
}

function clearStrokes() {
  strokes = [];
  strokesOn.clearRect(0, 0, SIZE, SIZE);
}

function addStroke(stroke) {
  strokes.push(stroke);
  if (strokes.length > MAX_STROKES) strokes.shift();
  draw(strokesOn, stroke);
  if (stroke.id === ownId) {
    pending.shift();
    redrawPending();
  } else if (ownId !== null) {
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
  // A stroke with one point is a dot.
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

function moveCursor(sender, x, y) {
  cursors.move(sender, x / SIZE, y / SIZE);
}

// A server that crashes cannot remove the cursors of its clients. So the page hides the cursors of absent people.
function isAbsent(id) {
  return people.isKnown && !people.members.has(id);
}

// Pointer. Each message contains all points since the last animation frame.

function positionOf(event) {
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
    const points = line.slice(0, MAX_COORDINATES);
    send({ type: "stroke", points });
    pending.push({ name: nameIn(name), points });
    draw(pendingOn, pending.at(-1));
    // The next stroke starts at the last point of this stroke.
    line = line.length > MAX_COORDINATES ? line.slice(MAX_COORDINATES - 2) : [];
  }

  if (!pointerMoved) return;
  pointerMoved = false;
  connection.send(cursorMessage(pointer?.map(coordinate => coordinate / SIZE)));
}

paper.addEventListener("pointerdown", event => {
  if (event.button !== 0 || !event.isPrimary || connection.state !== "connected") return;
  endKeyboard();
  paper.setPointerCapture(event.pointerId);
  drawingWith = event.pointerId;
  pointer = positionOf(event);
  line.push(...pointer);
  flushSoon();
});

paper.addEventListener("pointermove", event => {
  endKeyboard();
  if (drawingWith === event.pointerId) {
    // Start at the position of the last frame and add all positions since then.
    if (line.length === 0) line.push(...pointer);
    const positions = event.getCoalescedEvents?.().map(positionOf) ?? [];
    line.push(...(positions.length > 0 ? positions : [positionOf(event)]).flat());
    pointer = line.slice(-2);
  } else if (event.isPrimary) {
    pointer = positionOf(event);
    pointerMoved = true;
  }

  flushSoon();
});

function lift(event) {
  // A second finger does not end the stroke of the first finger.
  if (drawingWith !== null && drawingWith !== event.pointerId) return;
  if (drawingWith === event.pointerId) drawingWith = null;
  endKeyboard();
  // A lifted finger has no position, so its cursor disappears.
  if (event.type === "pointerleave" || event.pointerType !== "mouse") pointer = null;
  pointerMoved = true;
  flushSoon();
}

for (const type of ["pointerup", "pointercancel", "pointerleave"]) paper.addEventListener(type, lift);

// Keyboard. The arrow keys move the pointer, and the space bar puts the pen down or lifts it. This page then shows its own cursor.

const STEP = 40;
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

paper.addEventListener("keydown", event => {
  const arrow = ARROWS[event.key];
  if ((!arrow && event.key !== " ") || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (connection.state !== "connected" || ownId === null || drawingWith !== null || (!arrow && event.repeat)) return;
  pointer ??= [SIZE / 2, SIZE / 2];
  pen ??= "up";
  if (!arrow) pen = pen === "up" ? "down" : "up";
  // Each stroke starts at the last position.
  if (pen === "down" && line.length === 0) line.push(...pointer);
  if (arrow) pointer = pointer.map((value, axis) => Math.min(SIZE, Math.max(0, value + arrow[axis])));
  if (arrow && pen === "down") line.push(...pointer);
  moveCursor({ id: ownId, name: nameIn(name), label: pen === "up" ? nameIn(name) : `${nameIn(name)} ✎` }, ...pointer);
  pointerMoved = true;
  flushSoon();
});

function endKeyboard() {
  if (pen === null) return;
  cursors.remove(ownId);
  [pen, pointer, pointerMoved] = [null, null, true];
  flushSoon();
}

paper.addEventListener("blur", endKeyboard);

// Page.

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
enableEarlyRetry(connection);
people.follow("/board");
connect();
