import { hueOf } from "./names.js";

/** The cursors of other people. Positions are percentages of the width and height of the container. */
export class Cursors {
  #container;
  #isAbsent;
  #cursors = new Map();

  /** The function isAbsent returns true for the ID of a person whose cursor is hidden. */
  constructor(container, isAbsent = () => false) {
    [this.#container, this.#isAbsent] = [container, isAbsent];
  }

  /** Shows the label. Without a label, shows the name. */
  move({ id, name, label = name }, left, top) {
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
    cursor.style.left = `${left}%`;
    cursor.style.top = `${top}%`;
    cursor.classList.toggle("flipped", left > 80);
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
