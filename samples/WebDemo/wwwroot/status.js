/** The text after a failed connection attempt. Browsers do not report the cause. */
export const CONNECT_FAILED = "Cannot connect. The server cannot be reached, or it refused the connection.";

const TEXTS = { disconnected: "Disconnected", connecting: "Connecting…", connected: "Connected", reconnecting: "Reconnecting" };

const countdown = document.getElementById("countdown");
const retry = document.getElementById("retry");

/** Starts a retry before the delay ends: after a click on the button, when the network returns, and when the page becomes visible. */
export function enableEarlyRetry(connection) {
  retry.addEventListener("click", () => connection.retryNow());
  addEventListener("online", () => connection.retryNow());
  document.addEventListener("visibilitychange", () => document.hidden || connection.retryNow());
  setInterval(() => showCountdown(connection), 250);
}

/** Shows the connection state in the header, with a countdown and a retry button while reconnecting. */
export function showStatus(connection) {
  document.body.dataset.state = connection.state;
  document.getElementById("state").textContent = TEXTS[connection.state];
  retry.hidden = connection.state !== "reconnecting" || !connection.retryNow;
  showCountdown(connection);
}

function showCountdown({ state, retryAt }) {
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
  countdown.textContent = state === "reconnecting" && retryAt ? `in ${seconds} s` : "";
}

/** Describes the close code and reason of a connection. */
export function describeClose(code, reason) {
  return `Closed with ${code}: ${reason || (code === 1006 ? "the connection was lost." : "no reason was given.")}`;
}

/** Shows on the page why a connection has closed. */
export function showProblem(code, reason, wasOpen) {
  const problem = document.getElementById("problem");
  problem.textContent = wasOpen ? describeClose(code, reason) : CONNECT_FAILED;
  problem.hidden = false;
}

/** Returns the WebSocket URL for a path of this server. */
export function socketUrl(path) {
  return location.origin.replace(/^http/, "ws") + path;
}
