import { applyLink, groupQuery, readPath } from "./choice.js";
import { Connection } from "./connection.js";
import { showMessage, showNote } from "./log.js";
import { nameIn, useName } from "./names.js";
import { People } from "./people.js";
import { offsetOf, POSITIONS, readFrame } from "./positions.js";
import { CONNECT_FAILED, describeClose, enableEarlyRetry, showStatus, socketUrl } from "./status.js";

const $ = id => document.getElementById(id);
const [settings, name, toggle, message] = ["settings", "name", "toggle", "message"].map($);

// The texts of the message field in each state of the connection.
const TEXTS = {
  disconnected: { prompt: "Connect to write", hint: "You can write when you are connected." },
  connecting: { prompt: "Connecting…", hint: "You can write when you are connected." },
  connected: { prompt: "Write a message", hint: "Everyone at this URL receives your message, including you." },
  reconnecting: { prompt: "Waiting for the connection…", hint: "You can write when the connection is back." },
};

const connection = new Connection({ state: showState, message: receive, closed });
const people = new People($("people"), showCount);
let path;
let sent = [];
let position = null; // The position of the last message of the room.
let historyEnd = null; // The number of the last message of the history. Null while the page receives live messages.
let shown;
let wantsFocus = false;
let lastCountRequest = 0;

function connect() {
  const fields = { name: nameIn(name) };
  if (!isRoom()) return connection.connect(() => socketUrl(path));
  connection.connect(() => socketUrl(`${path}?${new URLSearchParams(position ? { ...fields, after: position } : fields)}`), POSITIONS);
}

function isRoom() {
  return path.startsWith("/rooms/");
}

function choose() {
  const before = path;
  path = readPath();
  $("path").textContent = decodeURIComponent(path);
  $("curl").textContent = `curl -d hello '${location.origin}/publish?${groupQuery(path)}'`;
  $("statistics").textContent = `curl -N '${location.origin}${path}/statistics'`;
  $("statistics").hidden = !isRoom();
  if (path === before) return;
  [sent, position, historyEnd] = [[], null, null];
  if (isRoom()) people.follow(path);
  else people.stop();
  if (connection.state === "disconnected") showCount();
  else connect();
}

function receive(data) {
  if (!isRoom()) return show(data, true);
  const { header, payload } = readFrame(data);
  const [kind, start, newest] = header.split(" ");
  if (start) {
    // The server has joined the page to the room. After a reconnect, the page receives exactly the missing messages.
    if (kind === "missed") showNote("Some messages may be missing here.");
    [position, historyEnd] = [start, offsetOf(newest)];
  } else {
    show(payload, historyEnd === null);
    if (header) position = header;
  }

  if (historyEnd === null || offsetOf(position) < historyEnd) return;
  historyEnd = null;
  noteConnected();
}

function show(data, isLive) {
  // The sender also receives its own messages. The URL /seed adds a prefix to these messages.
  const index = sent.findIndex(text => data === text || data === "Message: " + text);
  if (index >= 0) sent.splice(index, 1);
  showMessage(data, index >= 0, isLive);
}

function closed(code, reason, wasOpen) {
  if (wasOpen) showNote(describeClose(code, reason), true);
  else if (shown === "connecting" && connection.attempts === 0) showNote(CONNECT_FAILED, true);
}

function noteConnected() {
  showNote(`Connected to ${$("path").textContent}`);
}

function showState() {
  const state = connection.state;
  const isConnected = state === "connected";
  if (isConnected) {
    if (!isRoom()) noteConnected();
    people.retryNow();
  }

  if (state === "disconnected" && shown) showNote("Disconnected");
  if (document.activeElement === message) wantsFocus = true;
  shown = state;
  showStatus(connection);
  $("hint").textContent = TEXTS[state].hint;
  message.placeholder = TEXTS[state].prompt;
  message.disabled = $("send").disabled = !isConnected;
  toggle.textContent = state === "disconnected" ? "Connect" : "Disconnect";
  if (isConnected && wantsFocus && [document.body, toggle].includes(document.activeElement)) message.focus();
  if (isConnected || state === "disconnected") wantsFocus = false;
  showCount();
}

async function showCount() {
  const request = ++lastCountRequest;
  let text = "";
  if (isRoom()) {
    if (people.isKnown) text = `${people.members.size} connected`;
  } else if (connection.state === "connected" || connection.state === "disconnected") {
    try {
      const response = await fetch("count?" + groupQuery(path));
      if (response.ok) text = `${(await response.json()).connections} connected`;
    } catch {
      // The page cannot reach the server. The connection state shows this problem.
    }
  }

  // Responses may arrive out of order. Show only the response to the latest request.
  if (request === lastCountRequest) $("count").textContent = text;
}

toggle.addEventListener("click", () => {
  if (connection.state !== "disconnected") return connection.disconnect();
  // Set the focus only on a computer. On a phone, the focus opens the keyboard, which hides most of the page.
  wantsFocus = matchMedia("(pointer: fine)").matches;
  connect();
});

settings.addEventListener("change", choose);
name.addEventListener("change", () => {
  // In a room, the name belongs to the connection, so a new name needs a new connection.
  if (isRoom() && connection.state !== "disconnected") connect();
});
settings.addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT" || event.isComposing) return;
  event.preventDefault();
  choose();
  if (connection.state === "disconnected") connect();
});

$("composer").addEventListener("submit", event => {
  event.preventDefault();
  if (message.value === "" || connection.state !== "connected") return;
  const line = `${nameIn(name)}: ${message.value}`;
  sent = [...sent, line].slice(-50);
  connection.send(line);
  message.value = "";
  message.focus();
});

addEventListener("hashchange", () => { applyLink(); choose(); });
setInterval(() => document.hidden || showCount(), 2000);

useName(name);
enableEarlyRetry(connection);
applyLink();
choose();
showState();
