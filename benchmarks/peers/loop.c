// A bare loop over send(). It shows the lowest CPU time of a server that sends each message to each client with one system call. The loop
// is not a correct server. It answers every handshake with the same key, drops messages to slow clients, and accepts payloads up to 65,535 bytes.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FILES = 100000, INPUT = 128 * 1024, MAX_PAYLOAD = 65535 };
struct client { size_t length; bool is_open; unsigned char input[INPUT]; };
static struct client *clients[MAX_FILES];
static int sockets[MAX_FILES], socket_count, poll_handle;

static void accept_client(int listener) {
  int file = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
  if (file < 0) return;
  if (file >= MAX_FILES || !(clients[file] = malloc(sizeof(struct client)))) { close(file); return; }
  clients[file]->length = 0;
  clients[file]->is_open = false;
  setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
  epoll_ctl(poll_handle, EPOLL_CTL_ADD, file, &event);
}

static void close_client(int file) {
  close(file);
  free(clients[file]);
  for (int i = 0; i < socket_count; i++)
    if (sockets[i] == file) { sockets[i] = sockets[--socket_count]; break; }
}

static void open_client(int file, struct client *client) {
  // The key of the load generator is the example of RFC 6455.
  static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
  if (!memmem(client->input, client->length, "\r\n\r\n", 4)) return;
  if (send(file, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) return;
  client->is_open = true;
  client->length = 0;
  sockets[socket_count++] = file;
}

// Sends the first message of the input to all clients. Returns false if the input contains no complete message.
static bool send_message(struct client *client) {
  static unsigned char output[MAX_PAYLOAD + 4];
  size_t payload = client->input[1] & 127, header = 6;
  if (client->length < header) return false;
  if (payload == 127) exit(1);
  if (payload == 126) header = 8, payload = (size_t)client->input[2] << 8 | client->input[3];
  if (client->length < header + payload) return false;
  const unsigned char *mask = client->input + header - 4, *masked = client->input + header;
  size_t output_header = 2;
  output[0] = 0x81;
  output[1] = (unsigned char)(payload < 126 ? payload : 126);
  if (payload >= 126) output[2] = (unsigned char)(payload >> 8), output[3] = (unsigned char)payload, output_header = 4;
  for (size_t i = 0; i < payload; i++) output[output_header + i] = masked[i] ^ mask[i & 3];
  if ((client->input[0] & 15) <= 2)
    for (int i = 0; i < socket_count; i++) send(sockets[i], output, output_header + payload, MSG_DONTWAIT | MSG_NOSIGNAL);
  client->length -= header + payload;
  memmove(client->input, client->input + header + payload, client->length);
  return true;
}

static void receive(int file) {
  struct client *client = clients[file];
  ssize_t count = read(file, client->input + client->length, INPUT - client->length);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) { close_client(file); return; }
  client->length += (size_t)count;
  if (!client->is_open) { open_client(file, client); return; }
  while (client->length >= 6 && send_message(client)) { }
}

int main(int count, char **values) {
  if (count != 2) { fputs("Usage: loop PORT\n", stderr); return 2; }
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(values[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("loop"); return 1; }
  poll_handle = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
  epoll_ctl(poll_handle, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int ready = epoll_wait(poll_handle, events, 512, -1);
    for (int i = 0; i < ready; i++)
      if (events[i].data.fd == listener) accept_client(listener);
      else receive(events[i].data.fd);
  }
}
