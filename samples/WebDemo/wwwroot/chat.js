import { followLink, groupQuery, readPath } from "./choice.js";
import { Connection } from "./connection.js";
import { showMessage, showNote } from "./log.js";
import { nameIn, useName } from "./names.js";
import { People } from "./people.js";
import { reasonOf, retryEarly, showStatus, socketUrl } from "./status.js";

const $ = id => document.getElementById(id);
const [settings, name, toggle, message] = ["settings", "name", "toggle", "message"].map($);

// As many messages as a room keeps.
const KEPT = 50;

// What the page says to whoever wants to write, in each state.
const WORDS = {
  disconnected: { prompt: "Connect to write", hint: "You can write when you are connected." },
  connecting: { prompt: "Connecting…", hint: "You can write when you are connected." },
  connected: { prompt: "Write a message", hint: "Goes to everyone here, you included." },
  reconnecting: { prompt: "Waiting for the connection…", hint: "You can write when the connection is back." },
};

const connection = new Connection({ state: showState, message: receive, closed });
const people = new People($("people"), showCount);
let path;
let sent = [];
let seen = [];
let history = null;
let mark;
let shown;
let wantsFocus = false;
let questions = 0;

function connect() {
  mark = `mark ${Math.random()}`;
  const query = isRoom() ? "?" + new URLSearchParams({ name: nameIn(name), mark }) : "";
  connection.connect(socketUrl(path + query));
}

function isRoom() {
  return path.startsWith("/rooms/");
}

function choose() {
  const before = path;
  path = readPath();
  $("path").textContent = decodeURIComponent(path);
  $("curl").textContent = `curl -d hello '${location.origin}/publish?${groupQuery(path)}'`;
  if (path === before) return;
  [sent, seen] = [[], []];
  if (isRoom()) people.follow(path);
  else people.stop();
  if (connection.state === "disconnected") showCount();
  else connect();
}

function receive(data) {
  if (history === null) return show(data, true);
  if (data !== mark) return history.push(data);
  showHistory();
}

// A room's history comes with every connection; after a loss, the page has seen most of it.
function showHistory() {
  const missed = unseen(seen, history);
  if (seen.length > 0 && missed.length > 0 && missed.length === history.length) showNote("Something may be missing here.");
  for (const data of missed) show(data, false);
  history = null;
  noteConnected();
}

function unseen(before, replayed) {
  const texts = replayed.map(textOf);
  let known = Math.min(before.length, texts.length);
  while (!before.slice(before.length - known).every((text, index) => text === texts[index])) known--;
  return replayed.slice(known);
}

function textOf(data) {
  return typeof data === "string" ? data : `${data.byteLength} bytes`;
}

function show(data, isLive) {
  seen = [...seen, textOf(data)].slice(-KEPT);
  // What we sent comes back to us too; the seed's server puts a word before it.
  const index = sent.findIndex(text => data === text || data === "Message: " + text);
  if (index >= 0) sent.splice(index, 1);
  showMessage(data, index >= 0, isLive);
}

function closed(code, reason, wasOpen) {
  if (wasOpen) showNote(reasonOf(code, reason), true);
  else if (shown === "connecting" && connection.attempts === 0) showNote("No connection: the server is away, or it refused.", true);
}

function noteConnected() {
  showNote(`Connected to ${$("path").textContent}`);
}

function showState() {
  const state = connection.state;
  const isConnected = state === "connected";
  if (isConnected) {
    history = isRoom() ? [] : null;
    if (!history) noteConnected();
    people.retryNow();
  }

  if (state === "disconnected" && shown) showNote("Disconnected");
  if (document.activeElement === message) wantsFocus = true;
  shown = state;
  showStatus(connection);
  $("hint").textContent = WORDS[state].hint;
  message.placeholder = WORDS[state].prompt;
  message.disabled = $("send").disabled = !isConnected;
  toggle.textContent = state === "disconnected" ? "Connect" : "Disconnect";
  if (isConnected && wantsFocus && [document.body, toggle].includes(document.activeElement)) message.focus();
  if (isConnected || state === "disconnected") wantsFocus = false;
  showCount();
}

async function showCount() {
  const question = ++questions;
  let text = "";
  if (isRoom()) {
    if (people.isKnown) text = `${people.members.size} connected`;
  } else if (connection.state === "connected" || connection.state === "disconnected") {
    try {
      const answer = await fetch("count?" + groupQuery(path));
      if (answer.ok) text = `${(await answer.json()).connections} connected`;
    } catch {
      // The server is away. The state will say so.
    }
  }

  // Answers may come in another order than the questions.
  if (question === questions) $("count").textContent = text;
}

toggle.addEventListener("click", () => {
  if (connection.state !== "disconnected") return connection.disconnect();
  // On a phone, focus would bring up the keyboard over what one wants to see.
  wantsFocus = matchMedia("(pointer: fine)").matches;
  connect();
});

settings.addEventListener("change", choose);
name.addEventListener("change", () => {
  // In a room, a name belongs to the connection.
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

addEventListener("hashchange", () => { followLink(); choose(); });
setInterval(() => document.hidden || showCount(), 2000);

useName(name);
retryEarly(connection);
followLink();
choose();
showState();
