/** The subprotocol in which each frame begins with a header line. */
export const POSITIONS = "positions.broadcast.v1";

/** Splits a frame into its header line and its payload: a text or an ArrayBuffer. */
export function readFrame(data) {
  if (typeof data === "string") {
    const end = data.indexOf("\n");
    return { header: data.slice(0, end), payload: data.slice(end + 1) };
  }

  const end = new Uint8Array(data).indexOf(10);
  return { header: new TextDecoder().decode(data.slice(0, end)), payload: data.slice(end + 1) };
}

/** Returns the number of a message in its room: 42 for "00c0ffee00c0ffee-42". */
export function offsetOf(position) {
  return Number(position.split("-")[1]);
}
