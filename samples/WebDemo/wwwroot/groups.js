import { WebPubSubClient } from "./lib/web-pubsub-client/web-pubsub-client.min.js";
import { element } from "./element.js";
import { add, replaceAll } from "./log.js";
import { nameIn, useName } from "./names.js";
import { CONNECT_FAILED, showStatus, socketUrl } from "./status.js";

const HOME = "/ws";

// The maximum number of messages that the page keeps per group.
const MAX_ENTRIES = 500;

const $ = id => document.getElementById(id);
const [name, group, join, message] = ["name", "group", "join", "message"].map($);

// The default protocol of the client is reliable. If the client reconnects within 30 seconds, the page receives every message exactly once.
const client = new WebPubSubClient(socketUrl(HOME));

// The joined groups. Each group has its messages, its number of unread messages and its tile.
const groups = new Map();
let shown = null;
let state = "connecting";
let sent = [];
let lastCountRequest = 0;

// If the page sends a message again with the same ack ID, the server publishes the message only once. The IDs of the client library start at 1, so these IDs start higher.
let lastAckId = 1_000_000;

// The ID in the command for a terminal. Each page has its own ID, so the first request has an effect.
const messageId = `order-${Math.floor(Math.random() * 9000) + 1000}`;

// Connection.

client.on("connected", () => {
  enter("connected");
  noteAll("Connected");
  if (groups.size === 0) joinGroup(linkedGroup());
});

client.on("disconnected", ({ message }) => {
  enter("reconnecting");
  noteAll(`${message?.message || "The connection was lost."} Messages that others send now will not appear here.`, true);
});

// #region groups
client.on("group-message", ({ message }) => {
  const index = sent.findIndex(({ group, line }) => group === message.group && line === message.data);
  if (index >= 0) sent.splice(index, 1);
  showIn(message.group, { data: shownAs(message), own: index >= 0, time: new Date() });
});
// #endregion

// The app or a client without a subprotocol has sent this message. The message does not name its group.
client.on("server-message", ({ message }) => showIn(shown, { data: shownAs(message), own: false, time: new Date() }));

client.on("rejoin-group-failed", ({ group }) => remove(group));

async function start() {
  try {
    await client.start();
  } catch {
    // The client retries only after a first successful connection.
    if (state === "connecting") noteAll(CONNECT_FAILED, true);
    enter("reconnecting");
    setTimeout(start, 2000);
  }
}

// The client raises no event when a recovery starts. The page reads an internal field to show the state.
setInterval(() => {
  const isRecovering = client._state === "Recovering";
  if (isRecovering && state === "connected") enter("recovering");
  else if (!isRecovering && state === "recovering") enter("connected");
}, 100);

function enter(entered) {
  state = entered;
  showState();
}

// Groups.

async function joinGroup(name) {
  if (groups.has(name)) return show(name);
  join.textContent = "Joining…";
  try {
    await client.joinGroup(name);
    if (!groups.has(name)) groups.set(name, { entries: [], unread: 0, tile: tileOf(name) });
    show(name);
    note(name, `Joined ${name}`);
  } catch (error) {
    if (shown) note(shown, `Cannot join ${name}: ${messageOf(error)}`, true);
    else $("hint").textContent = `Cannot join ${name}: ${messageOf(error)}`;
  }

  join.textContent = "Join";
}

async function leaveGroup(name) {
  try {
    await client.leaveGroup(name);
    remove(name);
  } catch (error) {
    note(name, `Cannot leave ${name}: ${messageOf(error)}`, true);
  }
}

function remove(name) {
  groups.get(name)?.tile.remove();
  groups.delete(name);
  if (name === shown) show([...groups.keys()].at(-1) ?? null);
}

function tileOf(name) {
  const tile = element("div", "group");
  const [label, choice, leave] = [element("label"), element("input"), element("button", "", "×")];
  choice.type = "radio";
  choice.name = "shown";
  choice.addEventListener("change", () => show(name));
  leave.type = "button";
  leave.ariaLabel = leave.title = `Leave ${name}`;
  leave.addEventListener("click", () => leaveGroup(name));
  label.append(choice, element("code", "", name), element("small"));
  tile.append(label, leave);
  $("joined").append(tile);
  return tile;
}

function show(name) {
  shown = name;
  const group = groups.get(name);
  if (group) {
    group.unread = 0;
    group.tile.querySelector("input").checked = true;
    group.tile.scrollIntoView({ block: "nearest", inline: "nearest" });
    showUnread(group);
    // Store the group in the page's own URL, so people can share a link to the group.
    history.replaceState(null, "", "#" + encodeURIComponent(name));
  }

  replaceAll(group?.entries ?? []);
  $("count").textContent = "";
  showState();
}

function showUnread({ tile, unread }) {
  tile.querySelector("small").textContent = unread > 0 ? unread : "";
  tile.querySelector("small").title = unread > 0 ? `${unread} new` : "";
}

// Messages.

function showIn(name, entry) {
  const group = groups.get(name);
  if (!group) return;
  group.entries.push(entry);
  if (group.entries.length > MAX_ENTRIES) group.entries.shift();
  if (name === shown) return add(entry);
  if (entry.note) return;
  group.unread++;
  showUnread(group);
}

function note(name, text, isProblem = false) {
  showIn(name, { note: text, isProblem });
}

function noteAll(text, isProblem) {
  for (const name of groups.keys()) note(name, text, isProblem);
}

function shownAs({ data, dataType }) {
  return dataType === "json" ? JSON.stringify(data) : data;
}

// #region groups
async function send(line) {
  const entry = { group: shown, line };
  sent = [...sent, entry].slice(-50);
  try {
    await client.sendToGroup(shown, line, "text", { ackId: ++lastAckId });
  } catch (error) {
    sent = sent.filter(other => other !== entry);
    note(entry.group, `Cannot send ${line}: ${messageOf(error)}`, true);
  }
}
// #endregion

function messageOf(error) {
  return error.errorDetail?.message ?? error.message;
}

// Page.

function showState() {
  const isConnected = state === "connected";
  showStatus({ state: state === "recovering" ? "reconnecting" : state });
  $("path").textContent = shown ?? "No group";
  const url = `${location.origin}/publish`;
  $("curl").textContent = `curl -d hello '${url}?${groupQuery(shown ?? HOME)}'`;
  $("curl-retry").textContent = `curl -d hello '${url}?${groupQuery(shown ?? HOME)}&id=${messageId}'`;
  $("curl-everyone").textContent = `curl -d hello '${url}'`;
  $("hint").textContent = state === "connecting" ? "You can write when you are connected." : !isConnected ? "You can write when the connection is back." : shown ? "Everyone in the group receives your message, including you." : "Join a group to write.";
  message.placeholder = !isConnected ? "Waiting for the connection…" : shown ? `Write to ${shown}` : "Join a group to write";
  message.disabled = $("send").disabled = !isConnected || !shown;
  join.disabled = !isConnected;
  for (const leave of $("joined").querySelectorAll("button")) leave.disabled = !isConnected;
  showCount();
}

async function showCount() {
  const request = ++lastCountRequest;
  let text = "";
  if (shown && state === "connected") {
    try {
      const response = await fetch("count?" + groupQuery(shown));
      if (response.ok) text = `${(await response.json()).connections} here`;
    } catch {
      // The page cannot reach the server. The connection state shows this problem.
    }
  }

  // Responses may arrive out of order. Show only the response to the latest request.
  if (request === lastCountRequest) $("count").textContent = text;
}

// The result is safe inside single quotes of a shell.
function groupQuery(name) {
  return "group=" + encodeURIComponent(name).replaceAll("'", "%27");
}

function linkedGroup() {
  try {
    return decodeURIComponent(location.hash.slice(1)).replace(/^\/+/, "") || "blue";
  } catch {
    return "blue";
  }
}

$("settings").addEventListener("submit", event => {
  event.preventDefault();
  const wanted = group.value.trim().toWellFormed();
  if (wanted === "" || state !== "connected") return;
  group.value = "";
  joinGroup(wanted);
});

$("composer").addEventListener("submit", event => {
  event.preventDefault();
  if (message.value === "" || message.disabled) return;
  send(`${nameIn(name)}: ${message.value}`);
  message.value = "";
  message.focus();
});

addEventListener("hashchange", () => state === "connected" && joinGroup(linkedGroup()));
setInterval(() => document.hidden || showCount(), 2000);

useName(name);
showState();
start();
