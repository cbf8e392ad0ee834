import { hueOf } from "./names.js";

// Coordinates are 0 at the left and upper edge of the page, and this number at the other edges.
const MAX = 65_535;

/** Creates the message for a position: two fractions of the width and height. Without a position, the cursor has left the page. */
export function cursorMessage(position) {
  return new Uint16Array((position ?? []).map(fraction => Math.round(fraction * MAX)));
}

/** The cursors of other people. */
export class Cursors {
  #container;
  #isAbsent;
  #cursors = new Map();

  /** The function isAbsent returns true for the ID of a person whose cursor is hidden. */
  constructor(container, isAbsent = () => false) {
    [this.#container, this.#isAbsent] = [container, isAbsent];
  }

  /** Shows a message of the server. Without a position, the cursor has left the page. */
  receive({ id, name, x, y }) {
    if (typeof id !== "string") return;
    if (x === undefined) this.remove(id);
    else if (typeof name === "string" && Number.isFinite(x) && Number.isFinite(y)) this.move({ id, name }, x / MAX, y / MAX);
  }

  /** Moves a cursor to a fraction of the width and height. Shows the label. Without a label, shows the name. */
  move({ id, name, label = name }, x, y) {
    let cursor = this.#cursors.get(id);
    if (!cursor) {
      cursor = document.createElement("div");
      cursor.className = "cursor";
      this.#cursors.set(id, cursor);
      this.#container.append(cursor);
    }

    cursor.hidden = this.#isAbsent(id);
    cursor.textContent = label;
    cursor.style.setProperty("--hue", hueOf(name));
    cursor.style.left = `${x * 100}%`;
    cursor.style.top = `${y * 100}%`;
    cursor.classList.toggle("flipped", x > 0.8);
  }

  remove(id) {
    this.#cursors.get(id)?.remove();
    this.#cursors.delete(id);
  }

  clear() {
    for (const id of [...this.#cursors.keys()]) this.remove(id);
  }

  /** Hides the cursors of absent people, and shows all others. */
  refresh() {
    for (const [id, cursor] of this.#cursors) cursor.hidden = this.#isAbsent(id);
  }
}
