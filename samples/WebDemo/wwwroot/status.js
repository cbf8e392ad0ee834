const WORDS = { disconnected: "Disconnected", connecting: "Connecting…", connected: "Connected", reconnecting: "Reconnecting" };

const countdown = document.getElementById("countdown");
const retry = document.getElementById("retry");

/** Lets the header's button, and whatever promises a better line, try a lost connection again before its time. */
export function retryEarly(connection) {
  retry.addEventListener("click", () => connection.retryNow());
  addEventListener("online", () => connection.retryNow());
  document.addEventListener("visibilitychange", () => document.hidden || connection.retryNow());
  setInterval(() => showCountdown(connection), 250);
}

/** Shows in the header how a connection is: its state; when it is tried again and how to do so at once, if that is known. */
export function showStatus(connection) {
  document.body.dataset.state = connection.state;
  document.getElementById("state").textContent = WORDS[connection.state];
  retry.hidden = connection.state !== "reconnecting" || !connection.retryNow;
  showCountdown(connection);
}

function showCountdown({ state, retryAt }) {
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
  countdown.textContent = state === "reconnecting" && retryAt ? `in ${seconds} s` : "";
}

/** Why a connection ended, as a person would say it. */
export function reasonOf(code, reason) {
  return `Closed with ${code}: ${reason || (code === 1006 ? "the connection was lost." : "no reason was given.")}`;
}

/** A path of this server, for a WebSocket. */
export function socketUrl(path) {
  return location.origin.replace(/^http/, "ws") + path;
}
