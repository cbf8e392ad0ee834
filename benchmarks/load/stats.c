// Clocks, CPU time, memory and latencies.
#include "fanload.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time)) return 0;
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

double process_cpu(int pid) {
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  if (pid && clock_getcpuclockid(pid, &clock)) fail("The server has ended.");
  return (double)read_clock(clock) / 1e9;
}

long process_memory(int pid, const char *field) {
  char path[64], line[256];
  long value = 0;
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *file = fopen(path, "r");
  if (!file) fail("The server has ended.");
  size_t length = strlen(field);
  while (fgets(line, sizeof line, file))
    if (!strncmp(line, field, length) && line[length] == ':') value = atol(line + length + 1);
  fclose(file);
  return value;
}

// Writes 5 to clear_refs, which sets VmHWM to the current value of VmRSS.
void process_reset_peak(int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/clear_refs", pid);
  int file = open(path, O_WRONLY);
  if (file < 0 || write(file, "5", 1) != 1) fail("Cannot reset the peak memory of the server: %s", strerror(errno));
  close(file);
}

// A histogram with 64 buckets per power of two, so a percentile has an error of at most 1.6 %.
enum { BUCKETS_PER_POWER = 64, BUCKETS = 59 * BUCKETS_PER_POWER };
static uint64_t histogram[BUCKETS], latencies, longest;

void latency_add(uint64_t nanoseconds) {
  int power = nanoseconds < BUCKETS_PER_POWER ? 0 : 63 - __builtin_clzll(nanoseconds) - 5;
  uint64_t bucket = power == 0 ? nanoseconds : (uint64_t)power * BUCKETS_PER_POWER + (nanoseconds >> (power - 1)) - BUCKETS_PER_POWER;
  histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
  latencies++;
  if (nanoseconds > longest) longest = nanoseconds;
}

double latency_percentile(double fraction) {
  if (!latencies) return 0;
  if (fraction >= 1) return (double)longest / 1e3;
  uint64_t rank = (uint64_t)((double)latencies * fraction), seen = 0;
  for (int bucket = 0; bucket < BUCKETS; bucket++) {
    seen += histogram[bucket];
    if (seen <= rank) continue;
    int power = bucket / BUCKETS_PER_POWER, rest = bucket % BUCKETS_PER_POWER;
    uint64_t value = power == 0 ? (uint64_t)rest : (uint64_t)(BUCKETS_PER_POWER + rest) << (power - 1);
    return (double)value / 1e3;
  }
  return (double)longest / 1e3;
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("fanload: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(2);
}
