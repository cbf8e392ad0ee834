const settings = document.getElementById("settings");
const room = document.getElementById("room");

/** Returns the encoded path of the selected URL. */
export function readPath() {
  const url = settings.elements.url.value;
  const inRoom = url === "/rooms/";
  document.getElementById("room-field").hidden = !inRoom;
  const path = inRoom ? url + encodeURIComponent(roomName()) : url;
  // Store the path in the page's own URL, so people can share a link to the room.
  history.replaceState(null, "", "#" + path);
  return path;
}

/** Selects the URL that the link to this page contains. Without a URL in the link, the selection does not change. */
export function applyLink() {
  const [, url, name] = /^#(\/ws$|\/seed$|\/rooms\/)([^/]*)$/.exec(location.hash) ?? [];
  if (!url) return;
  settings.elements.url.value = url;
  try {
    if (name) room.value = decodeURIComponent(name);
  } catch {
    // The encoding of the link is invalid. Keep the room name that is in the field.
  }
}

/** Returns the group name that the server uses for a path. The server decodes the path, except for slashes in the room name. */
export function groupOf(path) {
  return path.split("%2F").map(decodeURIComponent).join("%2F");
}

/** Returns the query parameter for the group of a path. The result is safe inside single quotes of a shell. */
export function groupQuery(path) {
  return "group=" + encodeURIComponent(groupOf(path)).replace(/^%2F|(?<=rooms)%2F/g, "/").replaceAll("'", "%27");
}

// URL resolution treats "." and ".." as relative segments, so they cannot be room names.
function roomName() {
  const name = room.value.trim().toWellFormed();
  return /^\.{0,2}$/.test(name) ? "blue" : name;
}
