import { WebPubSubClient } from "./lib/web-pubsub-client/web-pubsub-client.min.js";
import { add, replaceAll } from "./log.js";
import { nameIn, useName } from "./names.js";
import { showStatus, socketUrl } from "./status.js";

const HOME = "/ws";

// As many as are shown at once.
const MOST = 500;

const $ = id => document.getElementById(id);
const [name, group, join, message] = ["name", "group", "join", "message"].map($);

// Its default protocol: of a connection that is lost and comes back within half a minute, nothing is missed and nothing comes twice.
const client = new WebPubSubClient(socketUrl(HOME));

// Of each group we are in: what was said there, what of it nobody has looked at, and where the page offers it.
const groups = new Map();
let shown = null;
let state = "connecting";
let sent = [];
let questions = 0;

// A request that is sent again with the id of the first takes effect once. The client counts its own from 1.
let lastAckId = 1_000_000;

// The connection.

client.on("connected", () => {
  enter("connected");
  noteAll("Connected");
  if (groups.size === 0) joinGroup(linkedGroup());
});

client.on("disconnected", ({ message }) => {
  enter("reconnecting");
  noteAll(`${message?.message || "The connection was lost."} What is said meanwhile, you will not see.`, true);
});

client.on("group-message", ({ message }) => {
  const index = sent.findIndex(({ group, line }) => group === message.group && line === message.data);
  if (index >= 0) sent.splice(index, 1);
  showIn(message.group, { data: shownAs(message), own: index >= 0, time: new Date() });
});

// From the app itself, or from one who speaks no protocol. For which group, it does not say.
client.on("server-message", ({ message }) => showIn(shown, { data: shownAs(message), own: false, time: new Date() }));

client.on("rejoin-group-failed", ({ group }) => remove(group));

async function start() {
  try {
    await client.start();
  } catch {
    // It comes back by itself only to where it has been.
    if (state === "connecting") noteAll("No connection: the server is away, or it refused.", true);
    enter("reconnecting");
    setTimeout(start, 2000);
  }
}

// While it tries to get a connection back without a loss, the client says nothing of it. For what is to be seen here, its inside will do.
setInterval(() => {
  const isRecovering = client._state === "Recovering";
  if (isRecovering && state === "connected") enter("recovering");
  else if (!isRecovering && state === "recovering") enter("connected");
}, 100);

function enter(entered) {
  state = entered;
  showState();
}

// The groups.

async function joinGroup(name) {
  if (groups.has(name)) return show(name);
  join.textContent = "Joining…";
  try {
    await client.joinGroup(name);
    if (!groups.has(name)) groups.set(name, { entries: [], unread: 0, tile: tileOf(name) });
    show(name);
    note(name, `You are in ${name}`);
  } catch (error) {
    if (shown) note(shown, `Not in ${name}: ${reasonOf(error)}`, true);
    else $("hint").textContent = `Not in ${name}: ${reasonOf(error)}`;
  }

  join.textContent = "Join";
}

async function leaveGroup(name) {
  try {
    await client.leaveGroup(name);
    remove(name);
  } catch (error) {
    note(name, `Still in ${name}: ${reasonOf(error)}`, true);
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
    // A link leads into the group.
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

// What is said.

function showIn(name, entry) {
  const group = groups.get(name);
  if (!group) return;
  group.entries.push(entry);
  if (group.entries.length > MOST) group.entries.shift();
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

async function say(line) {
  const said = { group: shown, line };
  sent = [...sent, said].slice(-50);
  try {
    await client.sendToGroup(shown, line, "text", { ackId: ++lastAckId });
  } catch (error) {
    sent = sent.filter(other => other !== said);
    note(said.group, `Not sent: ${line} (${reasonOf(error)})`, true);
  }
}

function reasonOf(error) {
  return error.errorDetail?.message ?? error.message;
}

// The page.

function showState() {
  const isConnected = state === "connected";
  showStatus({ state: state === "recovering" ? "reconnecting" : state });
  $("path").textContent = shown ?? "No group";
  $("curl").textContent = `curl -d hello '${location.origin}/publish?${groupQuery(shown ?? HOME)}'`;
  $("hint").textContent = state === "connecting" ? "You can write when you are connected." : !isConnected ? "You can write when the connection is back." : shown ? "Goes to everyone in the group, you included." : "Join a group to write.";
  message.placeholder = !isConnected ? "Waiting for the connection…" : shown ? `Write to ${shown}` : "Join a group to write";
  message.disabled = $("send").disabled = !isConnected || !shown;
  join.disabled = !isConnected;
  for (const leave of $("joined").querySelectorAll("button")) leave.disabled = !isConnected;
  showCount();
}

async function showCount() {
  const question = ++questions;
  let text = "";
  if (shown && state === "connected") {
    try {
      const answer = await fetch("count?" + groupQuery(shown));
      if (answer.ok) text = `${(await answer.json()).connections} here`;
    } catch {
      // The server is away. The state will say so.
    }
  }

  // Answers may come in another order than the questions.
  if (question === questions) $("count").textContent = text;
}

// Safe between a shell's quotes.
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

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
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
  say(`${nameIn(name)}: ${message.value}`);
  message.value = "";
  message.focus();
});

addEventListener("hashchange", () => state === "connected" && joinGroup(linkedGroup()));
setInterval(() => document.hidden || showCount(), 2000);

useName(name);
showState();
start();
