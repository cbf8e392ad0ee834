import { Connection } from "./connection.js";
import { element } from "./element.js";
import { showMessage, showNote } from "./log.js";
import { hueOf } from "./names.js";
import { endSession, readSession, storeSession } from "./session.js";
import { CONNECT_FAILED, describeClose, enableEarlyRetry, showStatus, socketUrl } from "./status.js";

const $ = id => document.getElementById(id);
const [message, send, renewButton] = ["message", "send", "renew"].map($);
const connection = new Connection({ state: showState, message: receive, closed });
let session = readSession();
let ownId = null;
let isRenewing = false;

// #region members
function connect() {
  connection.connect(() => socketUrl("/members?" + new URLSearchParams({ access_token: session.token, you: "" })));
}

// The page asks for the members online every two seconds, and always uses its newest token.
async function refreshMembers() {
  const url = "members/online?" + new URLSearchParams({ access_token: session.token });
  const names = await fetch(url).then(response => response.ok ? response.text() : "", () => "");
  if (connection.state === "connected") showMembers(names.split("\n").filter(name => name !== ""));
}
// #endregion

function receive(data) {
  // The server sends the ID of the connection after the join. A message of a member contains ": ", so it never has this form.
  if (ownId === null && /^you \S+$/.test(data)) setOwnId(data.slice(4));
  // The server has added the name of the sender.
  else showMessage(data, data.startsWith(`${session.name}: `), true);
}

// #region members
// Extends the connection without a reconnect.
async function renew() {
  const renewed = await (await post("login/renew", session.token)).json();
  await post("members/refresh", renewed.token, { connectionId: ownId });
  storeSession(session = renewed);
}
// #endregion

async function post(url, token, body) {
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await response.text() || `The server answered with status ${response.status}.`);
  return response;
}

function showMembers(names) {
  $("count").textContent = names.length === 0 ? "" : `${names.length} online`;
  $("people").hidden = names.length === 0;
  $("people").replaceChildren(...names.toSorted().map(name => {
    const item = element("li", "", name === session.name ? `${name} (you)` : name);
    item.style.setProperty("--hue", hueOf(name));
    return item;
  }));
}

function setOwnId(id) {
  ownId = id;
  renewButton.disabled = id === null;
}

function closed(code, reason, wasOpen) {
  // The server closes the connection when the token expires, and refuses an invalid token. The state shows failed retries.
  if (code === 1008 || !readSession()) endSession();
  else if (wasOpen) showNote(describeClose(code, reason), true);
  else if (connection.attempts === 0) showNote(CONNECT_FAILED, true);
  if (!wasOpen) checkToken();
}

// A browser does not report the status of a refused handshake. A restarted server has a new key, so it refuses old tokens.
async function checkToken() {
  try {
    const { status } = await fetch("members?" + new URLSearchParams({ access_token: session.token }));
    if (status === 401) endSession();
  } catch {
    // The page cannot reach the server. The connection state shows this problem.
  }
}

function showState() {
  const isConnected = connection.state === "connected";
  // Each connection has its own ID, which arrives later.
  setOwnId(null);
  // While the page is not connected, it does not know the members.
  if (isConnected) refreshMembers();
  else showMembers([]);
  if (isConnected) showNote(`Connected as ${session.name}`);
  message.disabled = send.disabled = !isConnected;
  message.placeholder = isConnected ? "Write a message" : "Waiting for the connection…";
  showStatus(connection);
}

function showTime() {
  const seconds = Math.max(0, Math.round((session.expires - Date.now()) / 1000));
  $("valid").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

$("composer").addEventListener("submit", event => {
  event.preventDefault();
  if (message.value === "" || connection.state !== "connected") return;
  connection.send(message.value);
  message.value = "";
  message.focus();
});
renewButton.addEventListener("click", async () => {
  // A disabled button would lose the focus, so ignore further clicks instead.
  if (isRenewing) return;
  isRenewing = true;
  try {
    await renew();
    showTime();
    showNote("Renewed without a reconnect");
  } catch (error) {
    showNote(`Cannot renew: ${error.message}`, true);
  } finally {
    isRenewing = false;
  }
});
$("logout").addEventListener("click", endSession);

if (session) {
  $("member").textContent = session.name;
  $("curl").textContent = `curl -i -H 'Accept: text/event-stream' ${location.origin}/members`;
  setInterval(showTime, 1000);
  setInterval(() => { if (connection.state === "connected") refreshMembers(); }, 2000);
  showTime();
  enableEarlyRetry(connection);
  connect();
} else {
  endSession();
}
