// Runs the published client for a test. Commands are read from standard input and what happens is written to standard output, each a
// line of JSON; the end of the input is the end.
import { createInterface } from "node:readline";
import { WebPubSubClient, WebPubSubJsonProtocol } from "@azure/web-pubsub-client";

const [url, protocol, given] = process.argv.slice(2);
const options = JSON.parse(given);
// The reliable protocol is the client's default, and nothing else is said here for it.
if (protocol === "plain") options.protocol = WebPubSubJsonProtocol();
const client = new WebPubSubClient(url, options);

for (const name of ["connected", "disconnected", "stopped", "server-message", "group-message", "rejoin-group-failed"]) {
  client.on(name, args => write({ event: name, args }));
}

for await (const line of createInterface({ input: process.stdin })) run(JSON.parse(line, fromBase64));
process.exit();

async function run({ id, call, args }) {
  try {
    write({ id, result: (await client[call](...args)) ?? null });
  } catch (error) {
    write({ id, error: { name: error.name, message: error.message, detail: error.errorDetail } });
  }
}

function write(what) {
  process.stdout.write(JSON.stringify(what, toBase64) + "\n");
}

// Bytes, which JSON does not know.
function toBase64(_, value) {
  return value instanceof ArrayBuffer ? { base64: Buffer.from(value).toString("base64") } : value;
}

function fromBase64(_, value) {
  return typeof value?.base64 === "string" ? Uint8Array.from(Buffer.from(value.base64, "base64")).buffer : value;
}
