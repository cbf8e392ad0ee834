import { Plot } from "./plot.js";

const WINDOW = 180_000;
const MIN_WINDOW = 30_000;
const REFRESH = 5000;
const MAX_DELAY = 15_000;

const byId = id => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const dateAndClock = new Intl.DateTimeFormat([], { dateStyle: "short", timeStyle: "medium", hour12: false });
const bytes = value => value < 1024 ? `${value} B`
  : value < 1024 * 1024 ? `${number.format(value / 1024)} KB`
  : `${number.format(value / 1024 / 1024)} MB`;
const milliseconds = value => value < 1 ? `${Math.round(value * 1000)} µs`
  : value < 1000 ? `${number.format(value)} ms`
  : `${number.format(value / 1000)} s`;
const count = (value, noun) => `${number.format(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Joins the parts that are not empty. */
const join = (...parts) => parts.filter(part => part).join(" · ");

// --- Figures ---

const plots = [
  new Plot("Connections", [{ name: "", value: sample => sample.connections }], value => number.format(value)),
  new Plot(
    "Messages per second",
    [
      { name: "received", value: sample => sample.received },
      { name: "published", value: sample => sample.published },
    ],
    value => number.format(value)),
  new Plot(
    "Delivery latency",
    [{ name: "median", value: sample => sample.median }, { name: "p99", value: sample => sample.p99 }],
    milliseconds),
  new Plot("Groups", [{ name: "", value: sample => sample.groups }], value => number.format(value)),
  new Plot("Deliveries per second", [{ name: "", value: sample => sample.delivered }], value => number.format(value)),
  new Plot(
    "Drops per second",
    [
      { name: "messages", value: sample => sample.dropped },
      { name: "refused handshakes", value: sample => sample.refused },
    ],
    value => number.format(value)),
];
byId("plots").append(...plots.map(plot => plot.root));

let samples = [];
let maxBacklog = 0;
let node = "";

function draw() {
  const to = samples.at(-1)?.time;
  if (to === undefined) return;
  samples = samples.filter(sample => sample.time > to - WINDOW);
  const from = Math.min(samples[0].time, to - MIN_WINDOW);
  for (const plot of plots) plot.draw(samples, from, to);
  const { slow, slowCount } = samples.at(-1);
  const badge = byId("slow-count");
  badge.textContent = number.format(slowCount);
  badge.classList.toggle("alarm", slowCount > 0);
  sync(byId("slow"), slow, client => client.id, createConnectionRow, (row, client) => {
    row.name.textContent = client.user ?? client.address ?? "Anonymous";
    const unsent = `${bytes(client.backlog)} of ${bytes(maxBacklog)} unsent`;
    row.details.textContent = join(client.homeGroup, `waiting for ${milliseconds(client.waiting)}`, unsent, client.id);
  });
}

// --- Lists ---
// The elements of unchanged items stay in the page, so the keyboard focus does not change.

function sync(list, items, keyOf, create, update) {
  const rows = new Map([...list.children].map(element => [element.dataset.key, element]));
  let next = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let element = rows.get(key);
    if (element) {
      rows.delete(key);
    } else {
      element = document.createElement("li");
      element.dataset.key = key;
      element.parts = create(element, item);
    }

    update(element.parts, item);
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }

  for (const element of rows.values()) element.remove();
}

function append(parent, name, className = "", text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
}

function createConnectionRow(element, { id }) {
  const name = append(element, "span");
  const details = append(element, "small");
  const button = append(element, "button", "", "Close…");
  button.type = "button";
  button.setAttribute("aria-label", `Close connection ${id}`);
  button.addEventListener("click", () => {
    byId("connection").value = id;
    byId("connection").focus();
  });
  return { name, details };
}

// --- Connection to the server ---

let socket = null;
let attempts = 0;
let lastId = 0;
const waiting = new Map();

function setState(state, text) {
  document.body.dataset.state = state;
  byId("state").textContent = text;
}

function connect() {
  const url = new URL("ws", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(url);
  socket.addEventListener("message", event => receive(JSON.parse(event.data)));
  socket.addEventListener("close", event => {
    socket = null;
    for (const { reject } of waiting.values()) reject(new Error("The server is not connected. Try again later."));
    waiting.clear();
    if (event.code === 1008) {
      setState("ended", "Ended. Reload the page to sign in again.");
      return;
    }

    const delay = Math.min(MAX_DELAY, 1000 * 2 ** attempts++) * (0.5 + Math.random() / 2);
    setState("reconnecting", "Reconnecting");
    setTimeout(connect, delay);
  });
}

function receive(message) {
  switch (message.type) {
    case "hello":
      attempts = 0;
      setState("connected", "Connected");
      maxBacklog = message.maxBacklogBytes;
      byId("about").textContent = join(
        message.broadcast === "" ? "Default broadcast" : `Broadcast ${message.broadcast}`,
        `node ${message.node}`,
        message.isCluster ? "cluster" : "single node",
        `version ${message.version}`);
      // After a reconnect, another node may answer.
      if (message.node !== node) samples = [];
      node = message.node;
      merge(message.samples);
      refresh();
      break;
    case "sample":
      merge([message]);
      break;
    default:
      waiting.get(message.id)?.resolve(message);
      waiting.delete(message.id);
  }
}

function merge(added) {
  const all = new Map([...samples, ...added].map(sample => [sample.time, sample]));
  samples = [...all.values()].sort((first, second) => first.time - second.time);
  draw();
}

/** Sends a request and returns the answer. The promise rejects with the problem that the server reports. */
async function request(message) {
  if (socket?.readyState !== WebSocket.OPEN) throw new Error("The server is not connected. Try again later.");
  const id = ++lastId;
  const answer = await new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ id, ...message }));
  });
  if (answer.type === "problem") throw new Error(answer.text);
  return answer;
}

// --- Groups ---

// The page requests members and messages only after the user has selected a group.
let openedGroup = null;

const nameOf = group => group === "" ? "All connections" : group;

async function refreshGroups() {
  const answer = await request({ type: "groups", search: byId("search").value });
  byId("groups-note").textContent = answer.total <= answer.groups.length ? ""
    : `The list contains the ${answer.groups.length} largest of ${count(answer.total, "group")}. ` +
      "Search to find other groups.";
  const everyone = { name: "", members: samples.at(-1)?.connections ?? 0 };
  sync(byId("groups"), [everyone, ...answer.groups], group => group.name, (element, { name }) => {
    const button = append(element, "button", "open", nameOf(name));
    button.type = "button";
    button.addEventListener("click", () => open(name));
    return { button, number: append(element, "span", "number") };
  }, ({ button, number: members }, group) => {
    members.textContent = count(group.members, group.name === "" ? "connection" : "member");
    if (group.name === openedGroup) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
}

async function open(name) {
  openedGroup = name;
  byId("group-title").textContent = nameOf(name);
  if (name !== "" && byId("to").value === "group") byId("name").value = name;
  await attempt(Promise.all([refreshGroup(), refreshGroups()]), "group-note");
}

async function refreshGroup() {
  if (openedGroup === null) return;
  const group = await request({ type: "group", name: openedGroup });
  if (group.name !== openedGroup) return;
  byId("group-content").hidden = false;
  byId("group-note").textContent = group.exists ? "" : "This node has no such group. The group may have ended.";
  byId("member-count").textContent = number.format(group.total);
  const inCluster = group.clusterTotal === null ? "" : `${count(group.clusterTotal, "member")} on all nodes. `;
  const page = group.total <= group.members.length ? ""
    : `The list contains ${count(group.members.length, "member")} of this node.`;
  byId("members-note").textContent = inCluster + page;
  sync(byId("members"), group.members, member => member.id, createConnectionRow, (row, member) => {
    row.name.textContent = member.user ?? member.address ?? "Anonymous";
    row.details.textContent =
      join(member.user && member.address, `since ${dateAndClock.format(member.connectedAt)}`, member.id);
  });
  sync(byId("messages"), group.messages, message => message.offset, (element, message) => {
    const details = append(element, "small");
    const text = append(element, "pre", "", message.text);
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", `Message ${message.offset}`);
    return { details, text };
  }, ({ details, text }, message) => {
    text.textContent = message.text;
    const parts = [
      message.time === null ? null : clock.format(message.time),
      `offset ${message.offset}`,
      message.key === null ? null : `key ${message.key}`,
      message.isBinary ? "binary" : null,
      bytes(message.size),
      message.isCut ? `cut: only the start of ${number.format(message.size)} bytes` : null,
    ];
    details.textContent = parts.filter(part => part !== null).join(" · ");
  });
  // Only a text with a scroll bar needs the keyboard focus.
  for (const text of byId("messages").querySelectorAll("pre")) {
    if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
    else text.removeAttribute("tabindex");
  }
}

// --- Nodes ---

async function refreshNodes() {
  const { nodes } = await request({ type: "nodes" });
  byId("nodes-note").textContent = "";
  sync(byId("nodes"), nodes, node => `${node.name} ${node.started}`, element => ({
    name: append(element, "span"), number: append(element, "span", "number"), details: append(element, "small"),
  }), (row, node) => {
    row.name.textContent = node.isThis ? `${node.name} (this node)` : node.name;
    row.number.textContent = count(node.connections, "connection");
    row.details.textContent = `${count(node.groups, "group")} · started ${dateAndClock.format(node.started)}`;
  });
}

/** Shows a problem in the note of a panel. The next successful refresh removes the note. */
async function attempt(work, note) {
  try {
    await work;
  } catch (error) {
    byId(note).textContent = error.message;
  }
}

let isRefreshing = false;

/**
 * Refreshes the panels. Skips a refresh while the server still answers the last one, so that requests cannot pile up.
 */
async function refresh() {
  if (isRefreshing || document.hidden || socket?.readyState !== WebSocket.OPEN) return;
  isRefreshing = true;
  await Promise.all([
    attempt(refreshGroups(), "groups-note"),
    attempt(refreshGroup(), "group-note"),
    attempt(refreshNodes(), "nodes-note"),
  ]);
  isRefreshing = false;
}

setInterval(refresh, REFRESH);
document.addEventListener("visibilitychange", refresh);
let searching;
byId("search").addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(() => attempt(refreshGroups(), "groups-note"), 200);
});

// --- Forms ---

function handle(form, getRequest) {
  const result = form.querySelector("output");
  form.addEventListener("submit", async event => {
    event.preventDefault();
    result.textContent = "";
    result.className = "";
    try {
      result.textContent = (await request(getRequest())).text;
      attempt(refreshGroup(), "group-note");
    } catch (error) {
      result.className = "problem";
      result.textContent = error.message;
    }
  });
}

const labels = { group: "Group", user: "User ID", connection: "Connection ID" };
byId("to").addEventListener("change", () => {
  const label = labels[byId("to").value];
  byId("name").disabled = label === undefined;
  byId("name-label").textContent = label ?? "Group";
});

handle(byId("publish"), () => ({
  type: "publish", to: byId("to").value, name: byId("name").value, text: byId("text").value,
}));
handle(byId("close"), () => ({
  type: "close",
  name: byId("connection").value.trim(),
  code: byId("code").value === "" ? null : Number(byId("code").value),
  reason: byId("reason").value,
}));

connect();
