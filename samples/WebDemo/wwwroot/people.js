import { Connection } from "./connection.js";
import { hueOf } from "./names.js";
import { socketUrl } from "./status.js";

/** Follows who is at a URL, and shows it in a list. */
export class People {
  /** Of each connection's id, the name. */
  members = new Map();
  /** The id that is this page's own, if it is known. */
  own;

  #list;
  #changed;
  #connection = new Connection({ state: () => this.#restart(), message: data => this.#receive(data), closed() {} });

  constructor(list, changed) {
    this.#list = list;
    this.#changed = changed;
  }

  /** Whether the list can be relied on. */
  get isKnown() {
    return this.#connection.state === "connected";
  }

  follow(path) {
    this.#connection.connect(socketUrl(path + "/presence"));
  }

  stop() {
    this.#connection.disconnect();
  }

  retryNow() {
    this.#connection.retryNow();
  }

  show() {
    this.#list.replaceChildren(...[...this.members].map(([id, name]) => {
      const item = document.createElement("li");
      item.textContent = id === this.own ? `${name} (you)` : name;
      item.style.setProperty("--hue", hueOf(name));
      return item;
    }));
    this.#list.hidden = this.members.size === 0;
  }

  // Every connection is told everyone at first.
  #restart() {
    this.members.clear();
    this.show();
    this.#changed();
  }

  #receive(data) {
    const { id, name } = JSON.parse(data);
    if (name === undefined) this.members.delete(id);
    else this.members.set(id, name);
    this.show();
    this.#changed();
  }
}
