import { Connection } from "./connection.js";
import { cursorMessage, Cursors } from "./cursors.js";
import { element } from "./element.js";
import { guestName, rememberedName } from "./names.js";
import { enableEarlyRetry, showStatus, socketUrl } from "./status.js";

const SHOWN_PRICES = 6;
const TICKER_INTERVAL = 500;

const $ = id => document.getElementById(id);
const main = document.querySelector("main");
const live = new Connection({ state: showState, message: receive, closed() {} });
const prices = new Connection({ state() {}, message: receivePrice, closed() {} });
const cursors = new Cursors($("cursors"));
const newest = new Map();
let pointer = null;
let frame = 0;

// #region live
function receive(data) {
  const message = parse(data);
  if (message?.type === "cursor") cursors.receive(message);
  else if (message?.people !== undefined) showFigures(message);
}

function sendPointer() {
  frame = 0;
  if (live.state === "connected") live.send(cursorMessage(pointer));
}
// #endregion

// The page also receives messages to all connections. The page ignores messages that are not figures, cursors or prices.
function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

function showFigures({ people, messagesPerSecond, p99, phoneUrl }) {
  $("people").textContent = people.toLocaleString();
  $("messages-per-second").textContent = messagesPerSecond.toLocaleString();
  $("p99").textContent = p99 === undefined ? "–" : `${p99.toFixed(p99 < 10 ? 2 : 0)} ms`;
  if (!phoneUrl || !$("phone").hidden) return;
  $("phone-code").src = "phone.svg";
  $("phone-code").alt = `QR code of ${phoneUrl}`;
  $("phone-link").textContent = $("phone-link").href = phoneUrl;
  $("phone").hidden = false;
}

function showState() {
  cursors.clear();
  showStatus(live);
}

// Ticker.

function receivePrice(data) {
  const price = parse(data);
  if (typeof price?.symbol === "string" && Number.isFinite(price.price)) newest.set(price.symbol, price);
}

function showPrices() {
  const shown = [...newest.values()].sort((a, b) => (a.symbol < b.symbol ? -1 : 1)).slice(0, SHOWN_PRICES);
  $("ticker").replaceChildren(...shown.map(({ symbol, price, change }) => {
    const item = element("li");
    const isDown = change < 0;
    item.append(element("b", "", symbol), element("span", isDown ? "down" : "up", `${price.toFixed(2)} ${isDown ? "▼" : "▲"}`));
    return item;
  }));
}

// Pointer.

function movePointer(position) {
  // The other visitors need only one message that the cursor has left.
  if (!position && !pointer) return;
  pointer = position;
  frame ||= requestAnimationFrame(sendPointer);
}

addEventListener("pointermove", event => {
  const { left, top, width, height } = main.getBoundingClientRect();
  const parts = [(event.clientX - left) / width, (event.clientY - top) / height];
  movePointer(parts.every(part => part >= 0 && part <= 1) ? parts : null);
});
document.documentElement.addEventListener("pointerleave", () => movePointer(null));

setInterval(() => document.hidden || showPrices(), TICKER_INTERVAL);
enableEarlyRetry(live);
live.connect(() => socketUrl("/live?" + new URLSearchParams({ name: rememberedName() ?? guestName() })));
prices.connect(() => socketUrl("/prices"));
