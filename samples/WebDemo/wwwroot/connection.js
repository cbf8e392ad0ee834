const FIRST_DELAY = 1000;
const LONGEST_DELAY = 30_000;

// A connection that lasted this long was a good one: the next loss starts from the first delay again.
const GOOD = 5000;

// The server meant it (RFC 6455, section 7.4): 1000, all is said; 1008, refused. The same question would get the same answer.
const FINAL = [1000, 1008];

/** A WebSocket that comes back by itself until it is told to stop. */
export class Connection {
  /** disconnected, connecting, connected or reconnecting */
  state = "disconnected";
  /** When it will be tried again, in milliseconds since the epoch, while reconnecting. */
  retryAt = 0;
  /** How often it has been tried again. */
  attempts = 0;

  #url;
  #socket = null;
  #timer;
  #on;

  /** on: state(), message(data), closed(code, reason, wasOpen) for ends that disconnect() did not ask for */
  constructor(on) {
    this.#on = on;
  }

  connect(url) {
    this.#drop();
    this.#url = url;
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

  send(text) {
    this.#socket.send(text);
  }

  #open() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    let openedAt = 0;
    // A socket that was dropped may still have something to say; nobody listens.
    const listen = (type, heard) => socket.addEventListener(type, event => socket === this.#socket && heard(event));
    listen("open", () => {
      openedAt = performance.now();
      this.#enter("connected");
    });
    listen("message", event => this.#on.message(event.data));
    listen("close", event => {
      this.#socket = null;
      if (openedAt > 0 && performance.now() - openedAt > GOOD) this.attempts = 0;
      this.#on.closed(event.code, event.reason, openedAt > 0);
      if (FINAL.includes(event.code)) this.#enter("disconnected");
      else this.#wait();
    });
    this.#enter("connecting");
  }

  #wait() {
    // Twice as long each time; and never all clients at once, when a server that many were connected to comes back.
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.attempts++) * (0.5 + Math.random() / 2);
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
