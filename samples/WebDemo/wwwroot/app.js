import { followLink, groupQuery, readPath } from "./choice.js";
import { Connection } from "./connection.js";
import { showMessage, showNote } from "./log.js";

const $ = id => document.getElementById(id);
const [settings, name, toggle, retry, message] = ["settings", "name", "toggle", "retry", "message"].map($);

// What the page says in each state.
const WORDS = {
  disconnected: { state: "Disconnected", prompt: "Connect to write", hint: "You can write when you are connected." },
  connecting: { state: "Connecting…", prompt: "Connecting…", hint: "You can write when you are connected." },
  connected: { state: "Connected", prompt: "Write a message", hint: "Goes to everyone here, you included." },
  reconnecting: { state: "Reconnecting", prompt: "Waiting for the connection…", hint: "You can write when the connection is back." },
};

const connection = new Connection({ state: showState, message: receive, closed });
let path;
let sent = [];
let shown;
let wantsFocus = false;
let questions = 0;

function connect() {
  sent = [];
  connection.connect(location.origin.replace(/^http/, "ws") + path);
}

function choose() {
  const before = path;
  path = readPath();
  $("path").textContent = decodeURIComponent(path);
  $("curl").textContent = `curl -d hello '${location.origin}/publish?${groupQuery(path)}'`;
  if (path === before) return;
  if (connection.state === "disconnected") showCount();
  else connect();
}

function receive(data) {
  // What we sent comes back to us too; the seed's server puts a word before it.
  const index = sent.findIndex(text => data === text || data === "Message: " + text);
  if (index >= 0) sent.splice(index, 1);
  showMessage(data, index >= 0);
}

function closed(code, reason, wasOpen) {
  const why = reason || (code === 1006 ? "the connection was lost." : "no reason was given.");
  if (wasOpen) showNote(`Closed with ${code}: ${why}`, true);
  else if (shown === "connecting" && connection.attempts === 0) showNote("No connection: the server is away, or it refused.", true);
}

function showState() {
  const state = connection.state;
  const isConnected = state === "connected";
  if (isConnected) showNote(`Connected to ${$("path").textContent}`);
  if (state === "disconnected" && shown) showNote("Disconnected");
  if (document.activeElement === message) wantsFocus = true;
  shown = document.body.dataset.state = state;
  $("state").textContent = WORDS[state].state;
  $("hint").textContent = WORDS[state].hint;
  message.placeholder = WORDS[state].prompt;
  message.disabled = $("send").disabled = !isConnected;
  toggle.textContent = state === "disconnected" ? "Connect" : "Disconnect";
  retry.hidden = state !== "reconnecting";
  if (isConnected && wantsFocus && [document.body, toggle].includes(document.activeElement)) message.focus();
  if (isConnected || state === "disconnected") wantsFocus = false;
  showCountdown();
  showCount();
}

function showCountdown() {
  const seconds = Math.max(1, Math.ceil((connection.retryAt - Date.now()) / 1000));
  $("countdown").textContent = connection.state === "reconnecting" ? `in ${seconds} s` : "";
}

async function showCount() {
  const question = ++questions;
  let text = "";
  if (connection.state === "connected" || connection.state === "disconnected") {
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
settings.addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT" || event.isComposing) return;
  event.preventDefault();
  choose();
  if (connection.state === "disconnected") connect();
});

$("composer").addEventListener("submit", event => {
  event.preventDefault();
  if (message.value === "" || connection.state !== "connected") return;
  const line = `${name.value.trim() || name.placeholder}: ${message.value}`;
  sent = [...sent, line].slice(-50);
  connection.send(line);
  message.value = "";
  message.focus();
});

retry.addEventListener("click", () => connection.retryNow());
addEventListener("online", () => connection.retryNow());
addEventListener("hashchange", () => { followLink(); choose(); });
document.addEventListener("visibilitychange", () => document.hidden || connection.retryNow());
setInterval(showCountdown, 250);
setInterval(() => document.hidden || showCount(), 2000);

name.value = name.placeholder = `Guest ${Math.floor(Math.random() * 900) + 100}`;
followLink();
choose();
showState();
