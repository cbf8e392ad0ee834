// The broadcast server of Bun: bun bun.js PORT [--tls CERTIFICATE KEY] [--deflate]
const [port, ...options] = process.argv.slice(2)
const tls = options.indexOf('--tls')
const compress = options.includes('--deflate')

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(port),
  tls: tls < 0 ? undefined : { cert: Bun.file(options[tls + 1]), key: Bun.file(options[tls + 2]) },
  fetch: (request, server) =>
    server.upgrade(request, { data: new URL(request.url).pathname }) ? undefined : new Response('', { status: 426 }),
  websocket: {
    perMessageDeflate: compress,
    open: socket => { socket.subscribe(socket.data) },
    message: (socket, message) => { server.publish(socket.data, message, compress) }
  }
})
