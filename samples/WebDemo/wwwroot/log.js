import { element } from "./element.js";
import { hueOf } from "./names.js";

const MAX_ENTRIES = 500;

const log = document.getElementById("log");
const list = document.getElementById("messages");
const latest = document.getElementById("latest");

let pending = [];
let lastSender = null;
let wasAtEnd = true;
let lastTop = 0;

/** Shows a message: text or an ArrayBuffer. Only a live message has a time, because the history does not contain times. */
export function showMessage(data, own, isLive) {
  add({ data, own, time: isLive ? new Date() : null });
}

/** Shows a note about the connection. */
export function showNote(text, isProblem = false) {
  add({ note: text, isProblem });
}

/** Replaces all entries. */
export function replaceAll(entries) {
  list.replaceChildren();
  [pending, lastSender, latest.hidden, wasAtEnd] = [[], null, true, true];
  entries.forEach(add);
}

/** Adds a message { data, own, time } or a note { note, isProblem }. */
export function add(entry) {
  // One animation frame shows all new entries, so a fast stream does not slow the page. Hidden pages have no animation frames.
  if (pending.push(entry) === 1) requestAnimationFrame(flush);
  if (pending.length > MAX_ENTRIES) pending.splice(0, pending.length - MAX_ENTRIES);
}

function flush() {
  // In a small window, the text of an empty list may be higher than the window. So scroll to the first message.
  const follow = isAtEnd() || !list.querySelector(".message");
  list.append(...pending.map(entry => (entry.note ? note(entry) : message(entry))));
  const hasMessages = pending.some(entry => !entry.note);
  pending = [];
  while (list.children.length > MAX_ENTRIES) list.firstElementChild.remove();
  if (follow) log.scrollTop = log.scrollHeight;
  else if (hasMessages) latest.hidden = false;
}

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 24;
}

log.addEventListener("scroll", () => {
  // A list that becomes smaller keeps its scroll position. So a list that showed its end still counts as being at its end.
  wasAtEnd = isAtEnd() || (wasAtEnd && log.scrollTop >= lastTop);
  lastTop = log.scrollTop;
  if (wasAtEnd) latest.hidden = true;
}, { passive: true });

// An open drawer or keyboard makes the list smaller. Keep the newest message visible.
new ResizeObserver(() => {
  if (wasAtEnd && list.querySelector(".message")) log.scrollTop = log.scrollHeight;
}).observe(log);

latest.addEventListener("click", () => {
  log.scrollTop = log.scrollHeight;
  log.focus();
});

function note({ note, isProblem }) {
  lastSender = null;
  return element("li", isProblem ? "note problem" : "note", note);
}

// The page shows received data as text, and never as markup.
function message({ data, own, time }) {
  const isText = typeof data === "string";
  const [, sender, text] = (isText && /^([^:\n]{1,32}): (.*)$/su.exec(data)) || [null, null, isText ? data : bytes(data.byteLength)];
  const item = element("li", own ? "message own" : "message");
  if (sender && sender === lastSender?.name && own === lastSender.own) item.classList.add("more");
  lastSender = { name: sender, own };
  item.style.setProperty("--hue", hueOf(sender ?? ""));
  const bubble = element("div", isText ? "bubble" : "bubble binary");
  bubble.dir = "auto";
  if (sender) bubble.append(element("b", "", sender), element("span", "colon", ": "));
  bubble.append(element("span", "text", text));
  item.append(bubble);
  if (time) {
    const shown = element("time", "", time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    shown.dateTime = time.toISOString();
    item.append(shown);
  }

  return item;
}

function bytes(count) {
  return count === 1 ? "1 byte" : `${count} bytes`;
}
