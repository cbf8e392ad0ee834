import { applyLink, groupQuery, readPath } from "./choice.js";
import { Connection } from "./connection.js";
import { showMessage, showNote } from "./log.js";
import { nameIn, useName } from "./names.js";
import { People } from "./people.js";
import { offsetOf, POSITIONS, readFrame } from "./positions.js";
import { CONNECT_FAILED, describeClose, enableEarlyRetry, showStatus, socketUrl } from "./status.js";
import { Typing } from "./typing.js";

const $ = id => document.getElementById(id);
const [settings, name, toggle, message] = ["settings", "name", "toggle", "message"].map($);

// "Pull the plug" interrupts the connection for this time, in milliseconds.
const PLUG_TIME = 3000;
const MISSED_MESSAGES = 5;

// The texts of the message field in each state of the connection.
const TEXTS = {
  disconnected: { prompt: "Connect to write", hint: "You can write when you are connected." },
  connecting: { prompt: "Connecting…", hint: "You can write when you are connected." },
  connected: { prompt: "Write a message", hint: "Everyone at this URL receives your message, including you." },
  reconnecting: { prompt: "Waiting for the connection…", hint: "You can write when the connection is back." },
};

const connection = new Connection({ state: showState, message: receive, closed });
const people = new People($("people"), showCount);
const typing = new Typing($("typing"));
let path;
let sent = [];
let position = null; // The position of the last message of the room.
let historyEnd = null; // The number of the last message of the history. Null while the page receives live messages.
let recovered = 0; // The number of missed messages that the page has received since the reconnect.
let expectsOwnId = false;
let shown;
let wantsFocus = false;
let lastCountRequest = 0;

// #region chat
function connect() {
  const fields = { name: nameIn(name), you: "" };
  if (!isRoom()) return connection.connect(() => socketUrl(path));
  connection.connect(() => socketUrl(`${path}?${new URLSearchParams(position ? { ...fields, after: position } : fields)}`), POSITIONS);
}
// #endregion

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
  followTyping();
  if (connection.state === "disconnected") showCount();
  else connect();
}

function followTyping() {
  if (isRoom()) typing.follow(path, nameIn(name));
  else typing.stop();
}

function receive(data) {
  if (!isRoom()) return show(data, true);
  const { header, payload } = readFrame(data);
  const [kind, start, newest] = header.split(" ");
  if (start) {
    // The server has joined the page to the room. After a reconnect, the page receives exactly the missing messages.
    if (kind === "missed") showNote("Some messages may be missing here.");
    recovered = kind === "recovered" ? 0 : NaN;
    [position, historyEnd] = [start, offsetOf(newest)];
  } else if (!header && expectsOwnId && payload.startsWith?.("you ")) {
    expectsOwnId = false;
    people.ownId = payload.slice(4);
    people.show();
  } else {
    show(payload, historyEnd === null);
    if (!header) return;
    position = header;
    recovered++;
  }

  if (historyEnd === null || offsetOf(position) < historyEnd) return;
  historyEnd = null;
  noteConnected();
  if (recovered > 0) showNote(recovered === 1 ? "Recovered 1 missed message" : `Recovered ${recovered} missed messages`);
}

// Interrupts the connection. Meanwhile, the server publishes messages that this page misses.
async function pullPlug() {
  connection.interrupt(PLUG_TIME);
  showNote(`You pulled the plug for ${PLUG_TIME / 1000} seconds. The room gets ${MISSED_MESSAGES} messages now.`);
  const url = "publish?" + groupQuery(path);
  for (let i = 1; i <= MISSED_MESSAGES; i++) await fetch(url, { method: "POST", body: `Server: message ${i} while you were away` });
}

function show(data, isLive) {
  // The sender also receives its own messages. The URL /seed adds a prefix to these messages.
  const index = sent.findIndex(text => data === text || data === "Message: " + text);
  if (index >= 0) sent.splice(index, 1);
  showMessage(data, index >= 0, isLive);
  if (typeof data === "string") typing.hide(data.split(": ")[0]);
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
    expectsOwnId = isRoom();
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
  $("plug").hidden = !isRoom();
  $("plug").disabled = !isConnected;
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

// The page connects by itself, unless the user has disconnected this tab.
const STAYS_DISCONNECTED = "chat-disconnected";

toggle.addEventListener("click", () => {
  if (connection.state !== "disconnected") {
    sessionStorage.setItem(STAYS_DISCONNECTED, "true");
    return connection.disconnect();
  }

  sessionStorage.removeItem(STAYS_DISCONNECTED);
  // Set the focus only on a computer. On a phone, the focus opens the keyboard, which hides most of the page.
  wantsFocus = matchMedia("(pointer: fine)").matches;
  connect();
});

$("plug").addEventListener("click", pullPlug);
settings.addEventListener("change", choose);
name.addEventListener("change", () => {
  followTyping();
  // In a room, the name belongs to the connection, so a new name needs a new connection.
  if (isRoom() && connection.state !== "disconnected") connect();
});
settings.addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT" || event.isComposing) return;
  event.preventDefault();
  choose();
  if (connection.state === "disconnected") connect();
});

// #region chat
$("composer").addEventListener("submit", event => {
  event.preventDefault();
  if (message.value === "" || connection.state !== "connected") return;
  const line = `${nameIn(name)}: ${message.value}`;
  sent = [...sent, line].slice(-50);
  connection.send(line);
  message.value = "";
  message.focus();
});
// #endregion

message.addEventListener("input", () => message.value !== "" && typing.send());
addEventListener("hashchange", () => { applyLink(); choose(); });
setInterval(() => document.hidden || showCount(), 2000);

useName(name);
enableEarlyRetry(connection);
applyLink();
choose();
showState();
if (!sessionStorage.getItem(STAYS_DISCONNECTED)) connect();
