// The drawer "Server · Client · Wire" shows the code behind a page, and the frames of its WebSockets as they pass.
// The attributes data-server and data-client of the body name source files with regions, for example "Game.cs#steer". A page with
// several features names several files, with spaces between the names.

import { element } from "./element.js";

const MAX_FRAMES = 60;
const REFRESH_INTERVAL = 200;
const MAX_TEXT = 160;
const MAX_BYTES = 28;

const frames = [];
let total = { frames: 0, bytes: 0 };
let isPaused = false;
let refreshTimer;

// This module runs before the other modules of the page. So every WebSocket of the page is a WatchedWebSocket.
class WatchedWebSocket extends WebSocket {
  constructor(...parameters) {
    super(...parameters);
    this.addEventListener("message", event => record(this, "↓", event.data));
  }

  send(data) {
    super.send(data);
    record(this, "↑", data);
  }
}

window.WebSocket = WatchedWebSocket;

function record(socket, direction, data) {
  const size = typeof data === "string" ? data.length : data.byteLength ?? data.size;
  total.frames++;
  total.bytes += size;
  if (isPaused) return;
  frames.push({ path: new URL(socket.url).pathname, direction, data, size, time: new Date() });
  if (frames.length > MAX_FRAMES) frames.shift();
}

// The source.

/** Returns the lines of all regions with this name. A region starts with "#region name" and ends with "#endregion". */
export function extractRegion(source, name) {
  const parts = [];
  let part = null;
  for (const line of source.split(/\r?\n/)) {
    if (part === null && new RegExp(`^\\s*(//\\s*)?#region ${name}$`).test(line)) part = [];
    else if (part !== null && /^\s*(\/\/\s*)?#endregion/.test(line)) {
      parts.push(dedent(part));
      part = null;
    } else part?.push(line);
  }

  return parts.join("\n\n");
}

function dedent(lines) {
  const depth = Math.min(...lines.filter(line => line.trim() !== "").map(line => line.search(/\S/)));
  return lines.map(line => line.slice(depth)).join("\n").trim();
}

async function showSource(section, folder, suffix, references) {
  const sources = references.split(" ").map(reference => reference.split("#"));
  const files = sources.map(([file]) => file).join(", ");
  section.querySelector("small").textContent = files;
  const code = section.querySelector("code");
  try {
    const parts = await Promise.all(sources.map(async ([file, region]) => {
      const response = await fetch(folder + file + suffix);
      if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
      const part = extractRegion(await response.text(), region);
      return sources.length > 1 ? `// ${file}\n${part}` : part;
    }));
    code.replaceChildren(...highlight(parts.join("\n\n")));
  } catch (error) {
    code.textContent = `Cannot load ${files}. ${error.message}`;
  }
}

// The drawer shows comments in a softer color, and keeps the indentation of lines that are longer than its column.
function highlight(text) {
  return text.split("\n").map(line => {
    const shown = element(/^\s*(\/\/|#)/.test(line) ? "i" : "span", "", line.trimStart());
    shown.style.setProperty("--indent", `${line.search(/\S|$/)}ch`);
    return shown;
  });
}

// The frames.

function showFrames() {
  const seconds = REFRESH_INTERVAL / 1000;
  rates.push({ frames: total.frames / seconds, bytes: total.bytes / seconds });
  if (rates.length > 5) rates.shift();
  total = { frames: 0, bytes: 0 };
  const average = key => Math.round(rates.reduce((sum, rate) => sum + rate[key], 0) / rates.length);
  wire.querySelector("small").textContent = `${average("frames")} frames/s, ${(average("bytes") / 1024).toFixed(1)} KB/s`;
  if (isPaused) return;
  list.replaceChildren(...frames.map(row));
  list.scrollTop = list.scrollHeight;
}

function row({ path, direction, data, size, time }) {
  const item = element("li", direction === "↑" ? "sent" : "");
  const clock = `${time.toLocaleTimeString([], { hour12: false })}.${String(time.getMilliseconds()).padStart(3, "0")}`;
  const arrow = element("span", "", direction);
  arrow.title = direction === "↑" ? "sent" : "received";
  item.append(arrow, element("time", "", clock), element("span", "", path), element("span", "", `${size} B`), element("b", "", shown(data)));
  return item;
}

function shown(data) {
  if (typeof data === "string") return data.length > MAX_TEXT ? data.slice(0, MAX_TEXT) + "…" : data;
  if (!(data instanceof ArrayBuffer)) return "binary";
  const bytes = [...new Uint8Array(data, 0, Math.min(MAX_BYTES, data.byteLength))].map(byte => byte.toString(16).padStart(2, "0"));
  return bytes.join(" ") + (data.byteLength > MAX_BYTES ? " …" : "");
}

// The page.

function column(title, content) {
  const section = element("section");
  const header = element("header");
  header.append(element("h2", "", title), element("small"));
  content.tabIndex = 0;
  content.ariaLabel = title;
  section.append(header, content);
  drawer.append(section);
  return section;
}

function listing() {
  const pre = element("pre");
  pre.setAttribute("role", "region");
  pre.append(element("code"));
  return pre;
}

const rates = [];
const toggle = element("button", "code-toggle", "</>");
toggle.type = "button";
toggle.ariaLabel = toggle.title = "Code and frames of this page";
toggle.setAttribute("aria-expanded", "false");
toggle.setAttribute("aria-controls", "drawer");
document.querySelector(".brand").append(toggle);

// On a phone, the navigation is wider than the screen.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const drawer = element("aside", "drawer");
drawer.id = "drawer";
drawer.hidden = true;
drawer.ariaLabel = "Behind this page";
document.body.append(drawer);

const server = column("Server", listing());
const client = column("Client", listing());
const list = element("ol", "frames");
const wire = column("Wire", list);
const pause = element("button", "", "Pause");
pause.type = "button";
pause.setAttribute("aria-pressed", "false");
wire.querySelector("header").append(pause);
const close = element("button", "close", "×");
close.type = "button";
close.ariaLabel = close.title = "Close";
drawer.prepend(close);

function open() {
  drawer.hidden = false;
  toggle.setAttribute("aria-expanded", "true");
  const { server: serverSource, client: clientSource } = document.body.dataset;
  showSource(server, "source/", ".txt", serverSource);
  showSource(client, "", "", clientSource);
  showFrames();
  refreshTimer = setInterval(showFrames, REFRESH_INTERVAL);
  close.focus();
}

function hide() {
  const hadFocus = drawer.contains(document.activeElement) || document.activeElement === document.body;
  drawer.hidden = true;
  toggle.setAttribute("aria-expanded", "false");
  clearInterval(refreshTimer);
  if (hadFocus) toggle.focus();
}

toggle.addEventListener("click", () => (drawer.hidden ? open() : hide()));
close.addEventListener("click", hide);
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", isPaused);
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !drawer.hidden && !event.defaultPrevented) hide();
});
