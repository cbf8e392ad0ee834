const settings = document.getElementById("settings");
const room = document.getElementById("room");

/** Where the choice leads: the URL's path, encoded. */
export function readPath() {
  const url = settings.elements.url.value;
  const inRoom = url === "/rooms/";
  document.getElementById("room-field").hidden = !inRoom;
  const path = inRoom ? url + encodeURIComponent(roomName()) : url;
  // Kept behind the page's own URL, so that a link leads into a room.
  history.replaceState(null, "", "#" + path);
  return path;
}

/** Makes the choice that a link holds, if it holds one. */
export function followLink() {
  const [, url, name] = /^#(\/ws$|\/seed$|\/rooms\/)([^/]*)$/.exec(location.hash) ?? [];
  if (!url) return;
  settings.elements.url.value = url;
  try {
    if (name) room.value = decodeURIComponent(name);
  } catch {
    // Not encoded as it should be: the room that is filled in will do.
  }
}

/** The group of a path, as the server names it: decoded, but for the slashes in a room's name. */
export function groupOf(path) {
  return path.split("%2F").map(decodeURIComponent).join("%2F");
}

/** The part of a query that names a group; safe between a shell's quotes. */
export function groupQuery(path) {
  return "group=" + encodeURIComponent(groupOf(path)).replace(/^%2F|(?<=rooms)%2F/g, "/").replaceAll("'", "%27");
}

// One dot or two would mean "here" and "up" to whoever resolves the URL.
function roomName() {
  const name = room.value.trim().toWellFormed();
  return /^\.{0,2}$/.test(name) ? "blue" : name;
}
