// Runs the published client for one test. Standard input takes one command per line, as JSON.
// Standard output has one line of JSON for each result and each event. The program exits at the end of its input.
import { createInterface } from "node:readline";
import { WebPubSubClient, WebPubSubJsonProtocol } from "@azure/web-pubsub-client";

const [url, protocol, optionsJson] = process.argv.slice(2);
const options = JSON.parse(optionsJson);
// Without an explicit protocol, the client uses its default, which is the reliable protocol.
if (protocol === "plain") options.protocol = WebPubSubJsonProtocol();
// With this option, the client asks for a new URL for each new connection. A recovery uses the URL of its connection again.
const credential = options.newUrls ? { getClientAccessUrl: async () => `${url}?ticket=${crypto.randomUUID()}` } : url;
const client = new WebPubSubClient(credential, options);

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

function write(line) {
  process.stdout.write(JSON.stringify(line, toBase64) + "\n");
}

// JSON has no type for bytes, so the program sends bytes as { base64 }.
function toBase64(_, value) {
  return value instanceof ArrayBuffer ? { base64: Buffer.from(value).toString("base64") } : value;
}

function fromBase64(_, value) {
  return typeof value?.base64 === "string" ? Uint8Array.from(Buffer.from(value.base64, "base64")).buffer : value;
}
