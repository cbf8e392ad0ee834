import { Connection } from "./connection.js";
import { hueOf } from "./names.js";
import { socketUrl } from "./status.js";

/** Shows the people at a URL and updates the list when they join or leave. */
export class People {
  /** The name of each connection, by connection ID. */
  members = new Map();
  /** The connection ID of this page. Undefined until the server has sent the ID. */
  ownId;

  #list;
  #changed;
  #connection = new Connection({ state: () => this.#restart(), message: data => this.#receive(data), closed() {} });

  constructor(list, changed) {
    this.#list = list;
    this.#changed = changed;
  }

  /** True while the list is up to date. */
  get isKnown() {
    return this.#connection.state === "connected";
  }

  follow(path) {
    this.#connection.connect(() => socketUrl(path + "/presence"));
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
      item.textContent = id === this.ownId ? `${name} (you)` : name;
      item.style.setProperty("--hue", hueOf(name));
      return item;
    }));
    this.#list.hidden = this.members.size === 0;
  }

  // The server sends all members on every new connection.
  #restart() {
    this.members.clear();
    this.show();
    this.#changed();
  }

  #receive(data) {
    const { type, members } = JSON.parse(data);
    if (type === "snapshot") this.members.clear();
    for (const { id, left, state } of members) {
      if (left) this.members.delete(id);
      else this.members.set(id, state.name);
    }

    this.show();
    this.#changed();
  }
}
