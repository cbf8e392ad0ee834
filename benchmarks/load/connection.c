// Connections to the server: sockets, TLS, HTTP/1.1 and HTTP/2.
#include "fanload.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024, MAX_JOINED = 32 * 1024, HTTP2_WINDOW = 16 * 1024 * 1024, CONNECTIONS_PER_ADDRESS = 20000 };
static unsigned char read_buffer[READ_SIZE + 1];
static SSL_CTX *tls_context;
static nghttp2_session_callbacks *http2_callbacks;

size_t buffer_length(const struct buffer *buffer) { return buffer->end - buffer->start; }

void buffer_append(struct buffer *buffer, const void *data, size_t length) {
  if (buffer->end + length > buffer->capacity) {
    size_t rest = buffer_length(buffer);
    if (rest) memmove(buffer->data, buffer->data + buffer->start, rest);
    buffer->start = 0;
    buffer->end = rest;
    if (rest + length > buffer->capacity) {
      buffer->capacity = (rest + length) * 2;
      buffer->data = realloc(buffer->data, buffer->capacity);
      if (!buffer->data) fail("Out of memory.");
    }
  }
  memcpy(buffer->data + buffer->end, data, length);
  buffer->end += length;
}

void buffer_consume(struct buffer *buffer, size_t length) {
  buffer->start += length;
  if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
}

// Returns the number of bytes, 0 at the end of the connection, and -1 if the socket has no data.
static ssize_t transport_read(struct connection *connection, void *data, size_t length) {
  if (!connection->tls) {
    ssize_t count = read(connection->fd, data, length);
    return count < 0 && errno != EAGAIN ? 0 : count;
  }
  int count = SSL_read(connection->tls, data, (int)length);
  if (count > 0) return count;
  int error = SSL_get_error(connection->tls, count);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static ssize_t transport_write(struct connection *connection, const void *data, size_t length) {
  if (!connection->tls) {
    ssize_t count = send(connection->fd, data, length, MSG_NOSIGNAL);
    return count < 0 && errno != EAGAIN ? 0 : count;
  }
  int count = SSL_write(connection->tls, data, (int)(length < 1 << 30 ? length : 1 << 30));
  if (count > 0) return count;
  int error = SSL_get_error(connection->tls, count);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static void set_blocking(const struct connection *connection, bool blocking) {
  struct timeval timeout = {.tv_sec = blocking ? options.timeout : 0};
  setsockopt(connection->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  int flag = !blocking;
  if (ioctl(connection->fd, FIONBIO, &flag)) fail("ioctl: %s", strerror(errno));
}

static void flush_queue(struct connection *connection, struct buffer *queue) {
  while (buffer_length(queue)) {
    ssize_t count = transport_write(connection, queue->data + queue->start, buffer_length(queue));
    if (count == 0) connection->closed = true;
    if (count <= 0) return;
    buffer_consume(queue, (size_t)count);
  }
}

// HTTP/2

static ssize_t read_data(nghttp2_session *session, int32_t stream, uint8_t *data, size_t length, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
  (void)session, (void)stream, (void)flags, (void)user;
  struct buffer *out = &((struct connection *)source->ptr)->out;
  size_t count = buffer_length(out) < length ? buffer_length(out) : length;
  if (!count) return NGHTTP2_ERR_DEFERRED;
  memcpy(data, out->data + out->start, count);
  buffer_consume(out, count);
  return (ssize_t)count;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user) {
  (void)session, (void)flags, (void)stream;
  decode(user, (unsigned char *)data, length);
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t value_length, uint8_t flags, void *user) {
  (void)session, (void)frame, (void)value_length, (void)flags;
  if (name_length == 7 && !memcmp(name, ":status", 7)) ((struct connection *)user)->status = atoi((const char *)value);
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
    ((struct connection *)user)->allows_connect =
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
  return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
  (void)session, (void)stream, (void)error;
  ((struct connection *)user)->closed = true;
  return 0;
}

static void http2_flush(struct connection *connection) {
  if (buffer_length(&connection->out) && connection->stream) nghttp2_session_resume_data(connection->http2, connection->stream);
  const uint8_t *data;
  ssize_t count;
  while ((count = nghttp2_session_mem_send(connection->http2, &data)) > 0) buffer_append(&connection->wire, data, (size_t)count);
  if (count < 0) fail("HTTP/2: %s", nghttp2_strerror((int)count));
  flush_queue(connection, &connection->wire);
}

static void http2_receive(struct connection *connection, unsigned char *data, size_t length) {
  ssize_t count = nghttp2_session_mem_recv(connection->http2, data, length);
  if (count < 0) fail("HTTP/2: %s", nghttp2_strerror((int)count));
  if (nghttp2_session_want_write(connection->http2)) http2_flush(connection);
}

static void http2_read_blocking(struct connection *connection) {
  ssize_t count = transport_read(connection, read_buffer, READ_SIZE);
  if (count <= 0) fail("The server closed an HTTP/2 connection, or did not answer in time.");
  http2_receive(connection, read_buffer, (size_t)count);
}

#define FIELD(name, value) {(uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}

static void http2_open(struct connection *connection, const char *path) {
  nghttp2_session_client_new(&connection->http2, http2_callbacks, connection);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP2_WINDOW}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
  nghttp2_submit_settings(connection->http2, NGHTTP2_FLAG_NONE, settings, 2);
  nghttp2_session_set_local_window_size(connection->http2, NGHTTP2_FLAG_NONE, 0, HTTP2_WINDOW);
  http2_flush(connection);
  char authority[32];
  snprintf(authority, sizeof authority, "127.0.0.1:%d", options.port);
  const char *scheme = options.tls ? "https" : "http";
  if (connection->protocol == WEBSOCKET) {
    while (!connection->allows_connect) http2_read_blocking(connection);
    nghttp2_nv fields[] = {FIELD(":method", "CONNECT"), FIELD(":protocol", "websocket"), FIELD(":scheme", scheme),
                           FIELD(":path", path), FIELD(":authority", authority), FIELD("sec-websocket-version", "13")};
    nghttp2_data_provider body = {.source.ptr = connection, .read_callback = read_data};
    connection->stream = nghttp2_submit_request(connection->http2, NULL, fields, sizeof fields / sizeof *fields, &body, NULL);
  } else {
    nghttp2_nv fields[] = {FIELD(":method", "GET"), FIELD(":scheme", scheme), FIELD(":path", path),
                           FIELD(":authority", authority), FIELD("accept", "text/event-stream")};
    connection->stream = nghttp2_submit_request(connection->http2, NULL, fields, sizeof fields / sizeof *fields, NULL, NULL);
  }
  http2_flush(connection);
  while (!connection->status) http2_read_blocking(connection);
  if (connection->status != 200) fail("The server answered a request over HTTP/2 with status %d.", connection->status);
}

// HTTP/1.1

static const char *subprotocol(const struct connection *connection) {
  switch (connection->dialect) {
    case WEBPUBSUB: return "Sec-WebSocket-Protocol: json.webpubsub.azure.v1\r\n";
    case WEBPUBSUB_RELIABLE: return "Sec-WebSocket-Protocol: json.reliable.webpubsub.azure.v1\r\n";
    default: return "";
  }
}

static void http1_open(struct connection *connection, const char *path) {
  char request[1024];
  int length;
  if (connection->protocol == EVENT_STREAM)
    length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n",
                      path, options.port);
  else
    length = snprintf(request, sizeof request,
                      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s\r\n",
                      path, options.port, subprotocol(connection),
                      options.deflate ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                                        "client_no_context_takeover\r\n"
                                      : "");
  if (transport_write(connection, request, (size_t)length) != length) fail("Cannot send a handshake.");
  size_t received = 0;
  char *end = NULL;
  while (!end) {
    ssize_t count = transport_read(connection, read_buffer + received, READ_SIZE - received);
    if (count <= 0) fail("The server closed a connection during the handshake, or did not answer in time.");
    received += (size_t)count;
    read_buffer[received] = 0;
    end = strstr((char *)read_buffer, "\r\n\r\n");
  }
  const char *expected = connection->protocol == EVENT_STREAM ? "HTTP/1.1 200" : "HTTP/1.1 101";
  if (strncmp((char *)read_buffer, expected, strlen(expected))) fail("The server refused a handshake: %.*s", 60, read_buffer);
  *end = 0;
  bool compresses = strcasestr((char *)read_buffer, "permessage-deflate") != NULL;
  if (options.deflate && connection->protocol == WEBSOCKET && !compresses) fail("The server did not accept permessage-deflate.");
  if (connection->protocol == EVENT_STREAM && !strcasestr((char *)read_buffer, "transfer-encoding: chunked"))
    fail("The event stream does not use the chunked transfer encoding.");
  unsigned char *rest = (unsigned char *)end + 4;
  size_t rest_length = received - (size_t)(rest - read_buffer);
  if (!rest_length) return;
  if (connection->protocol == EVENT_STREAM) decode_chunked(connection, rest, rest_length);
  else decode(connection, rest, rest_length);
}

static void signalr_handshake(struct connection *connection) {
  const char *request = connection->dialect == SIGNALR_JSON ? "{\"protocol\":\"json\",\"version\":1}\x1e"
                                                            : "{\"protocol\":\"messagepack\",\"version\":1}\x1e";
  connection_send_frame(connection, 1, request, strlen(request));
  connection_flush(connection);
  // The answer is one frame with "{}" and a separator. No other frame can follow, because the client is not in a group yet.
  unsigned char answer[5];
  for (size_t received = 0; received < sizeof answer;) {
    ssize_t count = transport_read(connection, answer + received, sizeof answer - received);
    if (count <= 0) fail("The server closed a connection during the handshake of SignalR, or did not answer in time.");
    received += (size_t)count;
  }
  if (memcmp(answer, "\x81\x03{}\x1e", sizeof answer) && memcmp(answer, "\x82\x03{}\x1e", sizeof answer))
    fail("The server refused the handshake of SignalR.");
}

// Connections

void connection_setup(void) {
  if (options.tls) {
    tls_context = SSL_CTX_new(TLS_client_method());
    // The certificate is self-signed. The server runs on this machine.
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(tls_context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (options.http2) SSL_CTX_set_alpn_protos(tls_context, (const unsigned char *)"\x02h2", 3);
  }
  nghttp2_session_callbacks_new(&http2_callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(http2_callbacks, on_data);
  nghttp2_session_callbacks_set_on_header_callback(http2_callbacks, on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(http2_callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(http2_callbacks, on_stream_close);
}

static void connect_socket(struct connection *connection, int index) {
  connection->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connection->fd < 0) fail("socket: %s", strerror(errno));
  // One source address has about 28,000 ports.
  if (index >= CONNECTIONS_PER_ADDRESS) {
    char address[32];
    snprintf(address, sizeof address, "127.0.0.%d", 1 + index / CONNECTIONS_PER_ADDRESS);
    struct sockaddr_in local = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &local.sin_addr);
    if (bind(connection->fd, (struct sockaddr *)&local, sizeof local)) fail("bind: %s", strerror(errno));
  }
  if (connection->stalled) {
    int size = 4096;
    setsockopt(connection->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  }
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(connection->fd, (struct sockaddr *)&server, sizeof server)) fail("connect: %s", strerror(errno));
  int one = 1;
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  set_blocking(connection, true);
}

void connection_open(struct connection *connection, int index) {
  connect_socket(connection, index);
  if (options.tls) {
    connection->tls = SSL_new(tls_context);
    SSL_set_fd(connection->tls, connection->fd);
    if (SSL_connect(connection->tls) != 1) fail("The TLS handshake failed.");
  }
  char path[256], *out = path;
  for (const char *in = options.path; *in && out < path + sizeof path - 16;)
    if (!strncmp(in, "{g}", 3)) out += sprintf(out, "%d", connection->group), in += 3;
    else *out++ = *in++;
  *out = 0;
  if (options.http2) http2_open(connection, path);
  else http1_open(connection, path);
  if (connection->dialect == SIGNALR_JSON || connection->dialect == SIGNALR_MESSAGEPACK) signalr_handshake(connection);
  set_blocking(connection, false);
}

void connection_receive(struct connection *connection) {
  for (;;) {
    // Place a short incomplete frame before the new bytes, so that the decoder does not copy the new bytes.
    struct buffer *received = &connection->received;
    bool joins = connection->protocol == WEBSOCKET && !connection->http2 && buffer_length(received) <= MAX_JOINED;
    size_t rest = joins ? buffer_length(received) : 0;
    if (rest) memcpy(read_buffer, received->data + received->start, rest);
    ssize_t count = transport_read(connection, read_buffer + rest, READ_SIZE - rest);
    if (count == 0) connection->closed = true;
    if (count <= 0) return;
    totals.wire_bytes += (uint64_t)count;
    buffer_consume(received, rest);
    if (connection->http2) http2_receive(connection, read_buffer, (size_t)count);
    else if (connection->protocol == EVENT_STREAM) decode_chunked(connection, read_buffer, (size_t)count);
    else decode(connection, read_buffer, rest + (size_t)count);
    // The buffer of OpenSSL can contain data that the socket no longer has. A plain socket reports the rest of its data again.
    if (connection->closed || !connection->tls) return;
  }
}

bool connection_has_output(const struct connection *connection) {
  return buffer_length(&connection->out) || buffer_length(&connection->wire);
}

void connection_flush(struct connection *connection) {
  if (connection->http2) http2_flush(connection);
  else flush_queue(connection, &connection->out);
}

// The masking key is zero, so the payload needs no change.
void connection_send_frame(struct connection *connection, int opcode, const void *payload, size_t length) {
  unsigned char header[14] = {(unsigned char)(0x80 | opcode)};
  size_t header_length = 2;
  int length_bytes = length < 126 ? 0 : length < 65536 ? 2 : 8;
  header[1] = (unsigned char)(0x80 | (length_bytes == 0 ? length : length_bytes == 2 ? 126 : 127));
  for (int shift = length_bytes - 1; shift >= 0; shift--) header[header_length++] = (unsigned char)(length >> (8 * shift));
  header_length += 4;
  buffer_append(&connection->out, header, header_length);
  buffer_append(&connection->out, payload, length);
}

void http_get(const char *path) {
  struct connection connection = {0};
  connect_socket(&connection, 0);
  if (options.tls) {
    connection.tls = SSL_new(tls_context);
    SSL_set_fd(connection.tls, connection.fd);
    if (SSL_connect(connection.tls) != 1) fail("The TLS handshake failed.");
  }
  char request[256], answer[1024];
  int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
  if (transport_write(&connection, request, (size_t)length) != length) fail("Cannot send a request.");
  ssize_t count = transport_read(&connection, answer, sizeof answer - 1);
  if (count <= 0 || strncmp(answer, "HTTP/1.1 200", 12)) fail("The request GET %s failed.", path);
  if (connection.tls) SSL_free(connection.tls);
  close(connection.fd);
}
