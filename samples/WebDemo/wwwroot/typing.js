import { Connection } from "./connection.js";
import { socketUrl } from "./status.js";

// The page sends at most one message per interval. The page hides a name if no message arrives for SHOWN_TIME.
const SEND_INTERVAL = 1500;
const SHOWN_TIME = 4000;

/** Shows the names of the people who are typing in a room, and tells these people when the user of this page is typing. */
export class Typing {
  #element;
  #timers = new Map();
  #lastSent = 0;
  #isPending = false;
  #connection = new Connection({ state: () => this.#sendPending(), message: name => this.#show(name), closed() {} });

  constructor(element) {
    this.#element = element;
  }

  follow(path, name) {
    this.stop();
    this.#connection.connect(() => socketUrl(`${path}/typing?${new URLSearchParams({ name })}`));
  }

  stop() {
    this.#isPending = false;
    for (const name of [...this.#timers.keys()]) this.hide(name);
    this.#connection.disconnect();
  }

  send() {
    if (Date.now() - this.#lastSent < SEND_INTERVAL) return;
    this.#lastSent = Date.now();
    this.#isPending = true;
    this.#sendPending();
  }

  /** Hides the name of a person who has sent a message or has stopped typing. */
  hide(name) {
    clearTimeout(this.#timers.get(name));
    if (this.#timers.delete(name)) this.#update();
  }

  // The message waits until the page is connected.
  #sendPending() {
    if (!this.#isPending || this.#connection?.state !== "connected") return;
    this.#isPending = false;
    this.#connection.send("");
  }

  #show(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(() => this.hide(name), SHOWN_TIME));
    this.#update();
  }

  #update() {
    const names = [...this.#timers.keys()];
    this.#element.textContent = names.length === 0 ? "" : names.length > 2 ? "Several people are typing…" : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing…`;
  }
}
