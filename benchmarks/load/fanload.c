// The load generator opens connections, publishes messages, and checks and times every delivery. It runs on one thread, because it
// shares the processors with the servers. It prints one JSON object.
#include "fanload.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

struct options options = {.path = "/ws", .connections = 200, .messages = 1000, .size = 120, .window = 1, .groups = 1, .timeout = 60};
struct totals totals;
static struct connection *connections;
static int poll_handle = -1;

enum { MAX_IDLE_ROUNDS = 200, CONNECTS_PER_POLL = 100 };
#define IDLE_ROUND_SECONDS 0.05
#define MAX_IDLE_CPU 0.05

static const char usage[] =
    "Usage: fanload --port PORT [--path PATH] [--pid SERVER]\n"
    "  --connections N    --groups N      --stalled N    \"{g}\" in PATH stands for the number of the group\n"
    "  --messages N       --size BYTES    --window N | --rate MESSAGES_PER_SECOND\n"
    "  --receivers websocket|events       --dialect raw|signalr-json|signalr-messagepack|webpubsub|webpubsub-reliable\n"
    "  --http2            --tls           --deflate      --json           --timeout SECONDS\n"
    "  --idle SECONDS     --collect PATH\n";

static int choose(const char *value, const char *const *names) {
  for (int i = 0; names[i]; i++)
    if (!strcmp(value, names[i])) return i;
  fail("Unknown value %s.", value);
}

static void read_options(int count, char **values) {
  static const char *const protocols[] = {"websocket", "events", NULL};
  static const char *const dialects[] = {"raw", "signalr-json", "signalr-messagepack", "webpubsub", "webpubsub-reliable", NULL};
  static const struct option names[] = {
      {"port", 1, 0, 'p'},     {"path", 1, 0, 'u'},   {"pid", 1, 0, 'k'},       {"connections", 1, 0, 'n'}, {"groups", 1, 0, 'g'},
      {"stalled", 1, 0, 'z'},  {"messages", 1, 0, 'm'}, {"size", 1, 0, 's'},    {"window", 1, 0, 'w'},      {"rate", 1, 0, 'r'},
      {"receivers", 1, 0, 'R'}, {"dialect", 1, 0, 'd'}, {"http2", 0, 0, '2'},   {"tls", 0, 0, 'T'},         {"deflate", 0, 0, 'D'},
      {"json", 0, 0, 'J'},     {"timeout", 1, 0, 't'}, {"idle", 1, 0, 'i'},     {"collect", 1, 0, 'c'},     {0}};
  int name;
  while ((name = getopt_long(count, values, "", names, NULL)) != -1) switch (name) {
      case 'p': options.port = atoi(optarg); break;
      case 'u': options.path = optarg; break;
      case 'k': options.pid = atoi(optarg); break;
      case 'n': options.connections = atoi(optarg); break;
      case 'g': options.groups = atoi(optarg); break;
      case 'z': options.stalled = atoi(optarg); break;
      case 'm': options.messages = atoi(optarg); break;
      case 's': options.size = atoi(optarg); break;
      case 'w': options.window = atoi(optarg); break;
      case 'r': options.rate = atof(optarg); break;
      case 'R': options.protocol = (enum protocol)choose(optarg, protocols); break;
      case 'd': options.dialect = (enum dialect)choose(optarg, dialects); break;
      case '2': options.http2 = true; break;
      case 'T': options.tls = true; break;
      case 'D': options.deflate = true; break;
      case 'J': options.json = true; break;
      case 't': options.timeout = atoi(optarg); break;
      case 'i': options.idle = atof(optarg); break;
      case 'c': options.collect = optarg; break;
      default: fputs(usage, stderr); exit(2);
    }
  if (!options.port || optind < count) { fputs(usage, stderr); exit(2); }
  if (options.size < 64) fail("--size must be at least 64, because each message has a header.");
  if (options.groups < 1 || options.groups > 9999 || options.connections < options.groups) fail("--groups must be from 1 to 9999, and at most --connections.");
  if (options.deflate && options.groups > 1) fail("--deflate supports one group.");
}

static void pause_for(double seconds) {
  struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&time, NULL);
}

// The frame payload that a publisher sends. The header of each message replaces the bytes at "header".
static struct { unsigned char *data; size_t length, header; int opcode; } publication;

static void write_json_payload(char *payload, size_t size) {
  // The values look like a price feed, so the payload compresses like typical JSON.
  static const char *const names[] = {"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"};
  size_t length = (size_t)sprintf(payload, "{\"id\":\"");
  memset(payload + length, '0', HEADER_LENGTH);
  length += HEADER_LENGTH;
  length += (size_t)sprintf(payload + length, "\",\"items\":[");
  unsigned seed = 12345;
  for (;;) {
    char item[128];
    seed = seed * 1103515245u + 12345u;
    int count = snprintf(item, sizeof item, "{\"symbol\":\"%s\",\"price\":%u.%02u,\"change\":%u},", names[seed >> 16 & 7],
                         (seed >> 8) % 1000, (seed >> 4) % 100, (seed >> 20) % 50);
    if (length + (size_t)count + 16 > size) break;
    memcpy(payload + length, item, (size_t)count);
    length += (size_t)count;
  }
  length += (size_t)sprintf(payload + length, "0],\"end\":\"");
  if (length + 2 > size) fail("--json needs a larger --size.");
  memset(payload + length, 'x', size - length - 2);
  memcpy(payload + size - 2, "\"}", 2);
}

static void create_publication(void) {
  size_t size = (size_t)options.size;
  unsigned char *data = publication.data = malloc(size + 256);
  size_t length = 0;
  publication.opcode = 1;
  if (options.dialect == SIGNALR_JSON) length = (size_t)sprintf((char *)data, "{\"type\":1,\"target\":\"Send\",\"arguments\":[\"");
  if (options.dialect == SIGNALR_MESSAGEPACK) {
    // An invocation is an array of type, headers, invocation ID, target, arguments and stream IDs.
    unsigned char invocation[] = "\x96\x01\x80\xc0\xa4Send\x91";
    size_t string_header = size < 256 ? 2 : 3, body = sizeof invocation - 1 + string_header + size + 1, left = body;
    do data[length++] = (unsigned char)((left & 127) | (left > 127 ? 128 : 0));
    while (left >>= 7);
    memcpy(data + length, invocation, sizeof invocation - 1);
    length += sizeof invocation - 1;
    data[length++] = size < 256 ? 0xd9 : 0xda;
    if (size >= 256) data[length++] = (unsigned char)(size >> 8);
    data[length++] = (unsigned char)size;
    publication.opcode = 2;
  }
  publication.header = length + (options.json ? strlen("{\"id\":\"") : 0);
  if (options.json) write_json_payload((char *)data + length, size);
  else memset(data + length, 'x', size);
  length += size;
  if (options.dialect == SIGNALR_JSON) length += (size_t)sprintf((char *)data + length, "\"]}\x1e");
  if (options.dialect == SIGNALR_MESSAGEPACK) data[length++] = 0x90;
  publication.length = length;
}

static void receive(struct connection *connection) {
  if (connection->closed) return;
  connection_receive(connection);
  if (!connection->closed && connection_has_output(connection)) connection_flush(connection);
  if (!connection->closed) return;
  epoll_ctl(poll_handle, EPOLL_CTL_DEL, connection->fd, NULL);
  totals.closed++;
}

// Waits for data, for at most the given time, and receives it.
static void poll_connections(uint64_t nanoseconds) {
  struct epoll_event events[512];
  struct timespec timeout = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
  int count = epoll_pwait2(poll_handle, events, 512, &timeout, NULL);
  for (int i = 0; i < count; i++) receive(events[i].data.ptr);
}

static void open_connections(void) {
  connections = calloc((size_t)options.connections, sizeof *connections);
  for (int i = 0; i < options.connections; i++) {
    struct connection *connection = &connections[i];
    bool signalr = options.dialect == SIGNALR_JSON || options.dialect == SIGNALR_MESSAGEPACK;
    connection->group = i % options.groups;
    connection->publishes = i < options.groups;
    connection->stalled = i >= options.connections - options.stalled;
    connection->protocol = connection->publishes ? WEBSOCKET : options.protocol;
    connection->dialect = connection->publishes && !signalr ? RAW : options.dialect;
    connection_open(connection, i);
    if (connection->stalled) continue;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(poll_handle, EPOLL_CTL_ADD, connection->fd, &event);
    // Answer pings in between. Thousands of handshakes can take longer than a server waits for a pong.
    if (i % CONNECTS_PER_POLL == 0) poll_connections(0);
  }
}

static void acknowledge(void) {
  for (int i = 0; i < options.connections; i++) {
    struct connection *connection = &connections[i];
    if (connection->stalled || connection->sequence_id == connection->acknowledged) continue;
    char text[64];
    int length = snprintf(text, sizeof text, "{\"type\":\"sequenceAck\",\"sequenceId\":%llu}", (unsigned long long)connection->sequence_id);
    connection->acknowledged = connection->sequence_id;
    connection_send_frame(connection, 1, text, (size_t)length);
    connection_flush(connection);
  }
}

// Sends no messages for this time. The clients stay connected and answer pings.
static void stay_idle(double seconds) {
  uint64_t end = now() + (uint64_t)(seconds * 1e9);
  for (uint64_t time = now(); time < end; time = now()) poll_connections(end - time);
}

// Runtimes optimize code in the background after a warm-up and after many handshakes. Waits until the server uses almost no CPU time.
static void wait_for_idle_server(void) {
  if (!options.pid) return;
  double cpu = process_cpu(options.pid);
  for (int round = 0, idle_rounds = 0; round < MAX_IDLE_ROUNDS && idle_rounds < 2; round++) {
    stay_idle(IDLE_ROUND_SECONDS);
    double previous = cpu;
    cpu = process_cpu(options.pid);
    idle_rounds = cpu - previous < IDLE_ROUND_SECONDS * MAX_IDLE_CPU ? idle_rounds + 1 : 0;
  }
}

static uint64_t send_messages(void) {
  uint64_t members = (uint64_t)(options.connections - options.stalled), total = 0;
  uint64_t *sent_per_group = calloc((size_t)options.groups, sizeof *sent_per_group);
  uint64_t *members_per_group = calloc((size_t)options.groups, sizeof *members_per_group);
  for (uint64_t i = 0; i < members; i++) members_per_group[connections[i].group]++;
  for (int i = 0; i < options.messages; i++) total += members_per_group[i % options.groups];

  uint64_t start = now(), sent = 0, last_delivered = 0, last_progress = start, next_acknowledgement = start + 1000000000u;
  double members_of_group = (double)members / options.groups;
  bool has_output = false;
  while (totals.delivered < total) {
    uint64_t time = now();
    uint64_t allowed = options.rate > 0 ? (uint64_t)((double)(time - start) / 1e9 * options.rate) + 1
                                        : (uint64_t)((double)totals.delivered / members_of_group) + (uint64_t)options.window;
    if (allowed > (uint64_t)options.messages) allowed = (uint64_t)options.messages;
    uint64_t first = sent;
    for (; sent < allowed; sent++) {
      struct connection *publisher = &connections[sent % (uint64_t)options.groups];
      // With a rate, the latency starts at the planned time of the publish. So a late publish counts as latency.
      uint64_t planned = options.rate > 0 ? start + (uint64_t)((double)sent / options.rate * 1e9) : now();
      write_header((char *)publication.data + publication.header, publisher->group, sent_per_group[publisher->group]++, planned);
      connection_send_frame(publisher, publication.opcode, publication.data, publication.length);
    }
    // Usually, the socket accepts the messages at once. Otherwise, the next rounds flush all publishers.
    uint64_t publishers = has_output || sent - first > (uint64_t)options.groups ? (uint64_t)options.groups : sent - first;
    has_output = false;
    for (uint64_t i = 0; i < publishers; i++) {
      struct connection *publisher = &connections[(first + i) % (uint64_t)options.groups];
      connection_flush(publisher);
      has_output |= connection_has_output(publisher);
    }
    uint64_t wait = has_output ? 1000000u : 5000000u;
    if (options.rate > 0 && sent < (uint64_t)options.messages) {
      uint64_t next = start + (uint64_t)((double)sent / options.rate * 1e9);
      time = now();
      wait = next > time ? next - time : 0;
    }
    poll_connections(wait);
    time = now();
    if (options.dialect == WEBPUBSUB_RELIABLE && time >= next_acknowledgement) {
      acknowledge();
      next_acknowledgement = time + 1000000000u;
    }
    if (totals.delivered != last_delivered) last_delivered = totals.delivered, last_progress = time;
    if (time - last_progress > 10000000000u || time - start > (uint64_t)options.timeout * 1000000000u) break;
    if (totals.closed == members) break;
  }
  free(sent_per_group);
  free(members_per_group);
  printf("\"expected\": %llu, \"seconds\": %.6f, ", (unsigned long long)total, (double)(now() - start) / 1e9);
  return total;
}

int main(int count, char **values) {
  read_options(count, values);
  // OpenSSL writes to sockets without MSG_NOSIGNAL. A closed connection counts as an error, but SIGPIPE must not end the program.
  signal(SIGPIPE, SIG_IGN);
  connection_setup();
  decode_setup();
  create_publication();
  poll_handle = epoll_create1(0);
  wait_for_idle_server();
  long memory_before = options.pid ? process_memory(options.pid, "VmRSS") : 0;
  uint64_t start = now();
  open_connections();
  // After a handshake, the buffer of OpenSSL can contain messages. The socket does not report these messages again.
  for (int i = 0; i < options.connections; i++)
    if (!connections[i].stalled) receive(&connections[i]);
  double connect_seconds = (double)(now() - start) / 1e9;
  stay_idle(options.idle);
  wait_for_idle_server();

  printf("{\"connections\": %d, \"connect_seconds\": %.3f, ", options.connections, connect_seconds);
  if (options.pid) {
    long memory_idle = process_memory(options.pid, "VmRSS");
    printf("\"memory_before_kb\": %ld, \"memory_idle_kb\": %ld, ", memory_before, memory_idle);
    if (options.collect) {
      http_get(options.collect);
      pause_for(0.2);
      printf("\"memory_collected_kb\": %ld, ", process_memory(options.pid, "VmRSS"));
    }
    process_reset_peak(options.pid);
    printf("\"memory_start_kb\": %ld, ", process_memory(options.pid, "VmRSS"));
  }

  uint64_t bytes_before = totals.wire_bytes, expected = 0;
  double server_cpu = options.pid ? process_cpu(options.pid) : 0, own_cpu = process_cpu(0);
  if (options.messages) expected = send_messages();
  server_cpu = options.pid ? process_cpu(options.pid) - server_cpu : 0;
  own_cpu = process_cpu(0) - own_cpu;
  if (options.pid) printf("\"memory_peak_kb\": %ld, ", process_memory(options.pid, "VmHWM"));
  printf("\"delivered\": %llu, \"misordered\": %llu, \"malformed\": %llu, \"closed\": %llu, \"compressed\": %llu, \"inflated\": %llu, "
         "\"payload_bytes\": %llu, \"wire_bytes\": %llu, \"server_cpu_seconds\": %.6f, \"load_cpu_seconds\": %.6f, "
         "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
         (unsigned long long)totals.delivered, (unsigned long long)totals.misordered, (unsigned long long)totals.malformed,
         (unsigned long long)totals.closed, (unsigned long long)totals.compressed, (unsigned long long)totals.inflated,
         (unsigned long long)totals.payload_bytes, (unsigned long long)(totals.wire_bytes - bytes_before), server_cpu, own_cpu,
         latency_percentile(0.5), latency_percentile(0.99), latency_percentile(0.999), latency_percentile(1));
  return totals.delivered == expected && !totals.misordered && !totals.malformed && !totals.closed ? 0 : 1;
}
