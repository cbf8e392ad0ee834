// Decoding: chunks, WebSocket frames, events, envelopes of SignalR and Web PubSub, and the messages of the load generator.
#include "fanload.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A message starts with "#GGGG#SSSSSSSSSS#TTTTTTTTTTTTTTTTTTTT#": the group, the sequence number and the time of the publish.
// A server may add an envelope before this header.
enum { MAX_ENVELOPE = 512 };

static uint64_t time_received;

static void write_digits(char *text, int digits, uint64_t value) {
  for (int i = digits - 1; i >= 0; i--, value /= 10) text[i] = (char)('0' + value % 10);
}

static uint64_t read_digits(const unsigned char *text, int digits) {
  uint64_t value = 0;
  for (int i = 0; i < digits; i++) value = value * 10 + (text[i] - '0');
  return value;
}

// The headers of all published messages, in the order of the publishes. The groups take turns.
static struct published { uint64_t time; char header[HEADER_LENGTH]; } *published;
static uint64_t published_count;

void write_header(char *header, int group, uint64_t sequence, uint64_t time) {
  header[0] = header[5] = header[16] = header[37] = '#';
  write_digits(header + 1, 4, (uint64_t)group);
  write_digits(header + 6, 10, sequence);
  write_digits(header + 17, 20, time);
  published[published_count].time = time;
  memcpy(published[published_count++].header, header, HEADER_LENGTH);
}

// Returns the published message if it is the next message of this connection. Otherwise returns NULL. A comparison of the header needs less
// CPU time than reading its numbers.
static const struct published *find_next(const struct connection *connection, const unsigned char *header) {
  uint64_t index = connection->next * (uint64_t)options.groups + (uint64_t)connection->group;
  return index < published_count && !memcmp(header, published[index].header, HEADER_LENGTH) ? &published[index] : NULL;
}

// Checks and counts one message. Returns its sequence number. Returns UINT64_MAX for a malformed message, and for a message that the
// load generator has not published.
static uint64_t record(struct connection *connection, const unsigned char *payload, size_t length) {
  const unsigned char *header = memchr(payload, '#', length < MAX_ENVELOPE ? length : MAX_ENVELOPE);
  if (!header) return UINT64_MAX;
  size_t left = length - (size_t)(header - payload);
  // FastAPI adds "Message: " before the payload.
  bool has_size = connection->dialect != RAW || connection->protocol == EVENT_STREAM
                      ? length >= (size_t)options.size
                      : length == (size_t)options.size || length == (size_t)options.size + strlen("Message: ");
  if (!has_size || left < HEADER_LENGTH) {
    totals.malformed++;
    return UINT64_MAX;
  }
  uint64_t sequence = connection->next, sent;
  const struct published *next = find_next(connection, header);
  if (next) sent = next->time;
  else {
    if (header[5] != '#' || header[16] != '#' || header[37] != '#' || read_digits(header + 1, 4) != (uint64_t)connection->group) {
      totals.malformed++;
      return UINT64_MAX;
    }
    sequence = read_digits(header + 6, 10), sent = read_digits(header + 17, 20);
    totals.misordered++;
  }
  connection->next = sequence + 1;
  totals.delivered++;
  totals.payload_bytes += (uint64_t)options.size;
  latency_add(time_received > sent ? time_received - sent : 0);
  if (connection->dialect == WEBPUBSUB_RELIABLE) {
    const char name[] = "\"sequenceId\":";
    const unsigned char *field = memmem(payload, length < MAX_ENVELOPE ? length : MAX_ENVELOPE, name, sizeof name - 1);
    if (!field) field = memmem(payload, length, name, sizeof name - 1);
    if (field) connection->sequence_id = strtoull((const char *)field + sizeof name - 1, NULL, 10);
    else totals.malformed++;
  }
  return sequence;
}

// Compressed messages. A server without context takeover can send the same bytes to all clients. So the generator inflates only the
// first copy of each message, and compares the length and the hash of the other copies with it.
struct compressed { uint64_t hash, sent; size_t length; };
static struct compressed *compressed;
static z_stream inflater;
static struct buffer inflated;

static uint64_t hash_bytes(const unsigned char *data, size_t length) {
  uint64_t hash = 14695981039346656037u, word;
  for (; length >= 8; data += 8, length -= 8) {
    memcpy(&word, data, 8);
    hash = (hash ^ word) * 1099511628211u;
    hash ^= hash >> 29;
  }
  for (; length; data++, length--) hash = (hash ^ *data) * 1099511628211u;
  return hash;
}

static bool inflate_message(unsigned char *data, size_t length) {
  static const unsigned char tail[] = {0, 0, 0xff, 0xff};
  inflateReset(&inflater);
  inflater.next_out = inflated.data;
  inflater.avail_out = (unsigned)inflated.capacity;
  inflater.next_in = data;
  inflater.avail_in = (unsigned)length;
  int result = inflate(&inflater, Z_SYNC_FLUSH);
  if (result == Z_OK && !inflater.avail_in) {
    inflater.next_in = (unsigned char *)tail;
    inflater.avail_in = sizeof tail;
    result = inflate(&inflater, Z_SYNC_FLUSH);
  }
  inflated.end = inflated.capacity - inflater.avail_out;
  return (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) && inflated.end;
}

static void record_compressed(struct connection *connection, unsigned char *payload, size_t length) {
  totals.compressed++;
  uint64_t hash = hash_bytes(payload, length);
  if (connection->next < (uint64_t)options.messages) {
    struct compressed *expected = &compressed[connection->next];
    if (expected->length == length && expected->hash == hash) {
      connection->next++;
      totals.delivered++;
      totals.payload_bytes += (uint64_t)options.size;
      latency_add(time_received > expected->sent ? time_received - expected->sent : 0);
      return;
    }
  }
  totals.inflated++;
  if (!inflate_message(payload, length)) {
    totals.malformed++;
    return;
  }
  uint64_t sequence = record(connection, inflated.data, inflated.end);
  if (sequence >= (uint64_t)options.messages) return;
  const unsigned char *header = memchr(inflated.data, '#', inflated.end);
  compressed[sequence] = (struct compressed){hash, read_digits(header + 17, 20), length};
}

void decode_setup(void) {
  published = calloc((size_t)options.messages + 1, sizeof *published);
  if (!published) fail("Out of memory.");
  if (!options.deflate) return;
  if (inflateInit2(&inflater, -15) != Z_OK) fail("Cannot create an inflater.");
  compressed = calloc((size_t)options.messages + 1, sizeof *compressed);
  inflated.capacity = (size_t)options.size + 1024;
  inflated.data = malloc(inflated.capacity);
  if (!compressed || !inflated.data) fail("Out of memory.");
}

// Runs a parser over the unparsed bytes and the new bytes. The parser returns how many bytes it has used.
typedef size_t parser(struct connection *connection, unsigned char *data, size_t length);

static void parse(struct connection *connection, struct buffer *rest, parser *parser, unsigned char *data, size_t length) {
  if (!buffer_length(rest)) {
    size_t used = parser(connection, data, length);
    if (used < length) buffer_append(rest, data + used, length - used);
    return;
  }
  buffer_append(rest, data, length);
  buffer_consume(rest, parser(connection, rest->data + rest->start, buffer_length(rest)));
}

static size_t parse_signalr_json(struct connection *connection, unsigned char *data, size_t length) {
  size_t used = 0;
  unsigned char *end;
  while ((end = memchr(data + used, 0x1e, length - used))) {
    record(connection, data + used, (size_t)(end - data) - used);
    used = (size_t)(end - data) + 1;
  }
  return used;
}

// Each message has its length before it, as a number with seven bits per byte.
static size_t parse_signalr_messagepack(struct connection *connection, unsigned char *data, size_t length) {
  size_t used = 0;
  for (;;) {
    size_t value = 0, bytes = 0;
    bool complete = false;
    while (!complete && used + bytes < length && bytes < 5) {
      unsigned char byte = data[used + bytes];
      value |= (size_t)(byte & 127) << (7 * bytes++);
      complete = !(byte & 128);
    }
    if (!complete || used + bytes + value > length) return used;
    record(connection, data + used + bytes, value);
    used += bytes + value;
  }
}

static void on_message(struct connection *connection, unsigned char *payload, size_t length) {
  if (connection->is_compressed) record_compressed(connection, payload, length);
  else record(connection, payload, length);
}

static void on_data_frame(struct connection *connection, unsigned char *payload, size_t length, bool is_last) {
  if (connection->dialect == SIGNALR_JSON) parse(connection, &connection->message, parse_signalr_json, payload, length);
  else if (connection->dialect == SIGNALR_MESSAGEPACK) parse(connection, &connection->message, parse_signalr_messagepack, payload, length);
  else if (is_last && !buffer_length(&connection->message)) on_message(connection, payload, length);
  else {
    buffer_append(&connection->message, payload, length);
    if (!is_last) return;
    on_message(connection, connection->message.data + connection->message.start, buffer_length(&connection->message));
    buffer_consume(&connection->message, buffer_length(&connection->message));
  }
}

static size_t parse_frames(struct connection *connection, unsigned char *data, size_t length) {
  size_t used = 0;
  while (length - used >= 2) {
    unsigned char *frame = data + used;
    size_t header = 2;
    uint64_t payload = frame[1] & 127;
    int length_bytes = payload < 126 ? 0 : payload == 126 ? 2 : 8;
    if (length - used < header + (size_t)length_bytes) break;
    if (length_bytes) {
      payload = 0;
      for (int i = 0; i < length_bytes; i++) payload = payload << 8 | frame[header++];
    }
    if (length - used < header + payload) break;
    int opcode = frame[0] & 15;
    if (opcode == 1 || opcode == 2) connection->is_compressed = frame[0] & 0x40;
    if (opcode <= 2) on_data_frame(connection, frame + header, payload, frame[0] & 0x80);
    else if (opcode == 8) connection->closed = true;
    else if (opcode == 9) connection_send_frame(connection, 10, frame + header, payload);
    used += header + payload;
  }
  return used;
}

static size_t parse_events(struct connection *connection, unsigned char *data, size_t length) {
  size_t used = 0;
  unsigned char *end;
  while ((end = memmem(data + used, length - used, "\n\n", 2))) {
    record(connection, data + used, (size_t)(end - data) - used);
    used = (size_t)(end - data) + 2;
  }
  return used;
}

void decode(struct connection *connection, unsigned char *data, size_t length) {
  time_received = now();
  parse(connection, &connection->received, connection->protocol == EVENT_STREAM ? parse_events : parse_frames, data, length);
}

// Removes the chunked transfer encoding of HTTP/1.1.
void decode_chunked(struct connection *connection, unsigned char *data, size_t length) {
  for (size_t i = 0; i < length;) {
    if (connection->chunk.in_data) {
      size_t count = connection->chunk.left < length - i ? connection->chunk.left : length - i;
      decode(connection, data + i, count);
      connection->chunk.left -= count;
      i += count;
      if (connection->chunk.left) continue;
      connection->chunk.in_data = false;
      connection->chunk.skips_line_end = true;
      continue;
    }
    unsigned char byte = data[i++];
    if (byte == '\r') continue;
    if (byte != '\n') {
      int digit = byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10;
      connection->chunk.left = connection->chunk.left * 16 + (uint64_t)digit;
    } else if (connection->chunk.skips_line_end) connection->chunk.skips_line_end = false;
    else if (connection->chunk.left) connection->chunk.in_data = true;
    else connection->closed = true;
  }
}
