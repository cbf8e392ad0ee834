const FIRST_DELAY = 1000;
const MAX_DELAY = 30_000;

// The time in milliseconds after which a connection is stable. The next retry then starts with the first delay again.
const STABLE_AFTER = 5000;

// A retry does not help after these close codes (RFC 6455, section 7.4): 1000 is a normal end, and 1008 is a refusal.
const FINAL = [1000, 1008];

/** A WebSocket that reconnects automatically until the page calls disconnect(). */
export class Connection {
  /** "disconnected", "connecting", "connected" or "reconnecting". */
  state = "disconnected";
  /** The time of the next attempt while reconnecting, in milliseconds since 1970. */
  retryAt = 0;
  /** The number of retries since the last stable connection. */
  attempts = 0;

  #getUrl;
  #protocols;
  #socket = null;
  #timer;
  #on;

  /** Handlers: state(), message(data) and closed(code, reason, wasOpen). disconnect() does not call closed(). */
  constructor(on) {
    this.#on = on;
  }

  /** Connects. The function getUrl returns the URL of each attempt. */
  connect(getUrl, protocols = []) {
    this.#drop();
    [this.#getUrl, this.#protocols] = [getUrl, protocols];
    this.attempts = 0;
    this.#open();
  }

  disconnect() {
    this.#drop();
    this.#enter("disconnected");
  }

  retryNow() {
    if (this.state !== "reconnecting") return;
    clearTimeout(this.#timer);
    this.#open();
  }

  /** Drops the connection, as if the network had failed. The next attempt starts after the delay. */
  interrupt(delay) {
    if (this.state !== "connected") return;
    this.#drop();
    this.#retryAfter(delay);
  }

  send(text) {
    this.#socket.send(text);
  }

  #open() {
    const socket = new WebSocket(this.#getUrl(), this.#protocols);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    let openedAt = 0;
    // A dropped socket may still raise events. Ignore these events.
    const listen = (type, handle) => socket.addEventListener(type, event => socket === this.#socket && handle(event));
    listen("open", () => {
      openedAt = performance.now();
      this.#enter("connected");
    });
    listen("message", event => this.#on.message(event.data));
    listen("close", event => {
      this.#socket = null;
      if (openedAt > 0 && performance.now() - openedAt > STABLE_AFTER) this.attempts = 0;
      this.#on.closed(event.code, event.reason, openedAt > 0);
      if (FINAL.includes(event.code)) this.#enter("disconnected");
      else this.#wait();
    });
    this.#enter("connecting");
  }

  #wait() {
    // The delay doubles with each attempt. The delay has a random part, so that not all clients reconnect to a restarted server at the same time.
    this.#retryAfter(Math.min(MAX_DELAY, FIRST_DELAY * 2 ** this.attempts++) * (0.5 + Math.random() / 2));
  }

  #retryAfter(delay) {
    this.retryAt = Date.now() + delay;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#enter("reconnecting");
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #enter(state) {
    this.state = state;
    this.#on.state();
  }
}
