// fanload: a load generator for servers that broadcast messages. See ../README.md.
#pragma once
#define _GNU_SOURCE
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

enum protocol { WEBSOCKET, EVENT_STREAM };
enum dialect { RAW, SIGNALR_JSON, SIGNALR_MESSAGEPACK, WEBPUBSUB, WEBPUBSUB_RELIABLE };

struct options {
  int port;
  const char *path;                // "{g}" stands for the number of the group
  int connections;
  int messages;
  int size;                        // bytes of the payload of the app, without framing and envelope
  int window;                      // messages in flight
  double rate;                     // messages per second; 0: the window limits the rate
  int groups;
  int stalled;                     // connections that never read
  int pid;                         // process ID of the server
  int timeout;                     // seconds
  double idle;                     // seconds between the last connect and the memory measurement
  const char *collect;             // path of a request that starts a garbage collection in the server
  enum protocol protocol;          // of the receivers; publishers always use WebSockets
  enum dialect dialect;            // of the receivers; publishers use the raw dialect, except with SignalR
  bool http2, tls, deflate, json;
};
extern struct options options;

// A byte queue. The bytes are data[start..end].
struct buffer {
  unsigned char *data;
  size_t start, end, capacity;
};
size_t buffer_length(const struct buffer *buffer);
void buffer_append(struct buffer *buffer, const void *data, size_t length);
void buffer_consume(struct buffer *buffer, size_t length);

struct connection {
  int fd;
  int group;
  bool publishes, stalled, closed;
  enum protocol protocol;
  enum dialect dialect;
  SSL *tls;
  nghttp2_session *http2;
  int32_t stream;                  // HTTP/2 stream
  int status;                      // HTTP/2 response status
  bool allows_connect;             // the server supports WebSockets over HTTP/2
  struct buffer received;          // an incomplete frame or event
  struct buffer message;           // an incomplete message of a framed protocol
  bool is_compressed;              // the message in progress is compressed
  struct buffer out;               // bytes that wait for the socket; with HTTP/2, bytes that wait for a DATA frame
  struct buffer wire;              // with HTTP/2: frames that wait for the socket
  struct { bool in_data, skips_line_end; uint64_t left; } chunk;
  uint64_t next;                   // the sequence number of the next message
  uint64_t sequence_id, acknowledged;
};

// Counters of all connections.
struct totals {
  uint64_t delivered, misordered, malformed, payload_bytes, wire_bytes, closed, compressed, inflated;
};
extern struct totals totals;

// connection.c: sockets, TLS, HTTP and HTTP/2.
void connection_setup(void);
void connection_open(struct connection *connection, int index);
void connection_receive(struct connection *connection);  // reads until the socket is empty
void connection_flush(struct connection *connection);
bool connection_has_output(const struct connection *connection);
void connection_send_frame(struct connection *connection, int opcode, const void *payload, size_t length);
void http_get(const char *path);

// decode.c: frames, events, envelopes and messages.
void decode_setup(void);
void decode(struct connection *connection, unsigned char *data, size_t length);
void decode_chunked(struct connection *connection, unsigned char *data, size_t length);
#define HEADER_LENGTH 38
void write_header(char *header, int group, uint64_t sequence, uint64_t time);

// stats.c
uint64_t now(void);
double process_cpu(int pid);       // seconds; pid 0 is this process
long process_memory(int pid, const char *field);  // KB, a field of /proc/PID/status such as VmRSS
void process_reset_peak(int pid);
void latency_add(uint64_t nanoseconds);
double latency_percentile(double fraction);       // microseconds
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
