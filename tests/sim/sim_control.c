// What a test asks of the simulated device, and the reports.
#include "sim_memory.h"
#include "sim_runtime.h"
#include "sim_stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- reports ----

enum { REPORTS_MAX = 256, REPORT_BYTES = 700 };

typedef struct Report {
  SimFault fault;
  int64_t times;
  const SimKernel *kernel;
  int line;
  char text[REPORT_BYTES];
} Report;

static Report reports[REPORTS_MAX];
static int64_t n_reports;

static void say_at_exit(void) {
  sim_stream_run_all();
  if (n_reports == 0) return;
  for (int64_t i = 0; i < n_reports; i++)
    fprintf(stderr, "simulated device: %s (%lld times)\n", reports[i].text,
            (long long)reports[i].times);
  fflush(stderr);
  sim_counters_write();
  _Exit(99);
}

void sim_report(SimFault fault, const SimKernel *kernel, SimLine line, const char *fmt, ...) {
  char text[REPORT_BYTES], message[REPORT_BYTES / 2];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  char place[60] = "";
  if (line.file != NULL) snprintf(place, sizeof place, " at %.40s:%d", line.file, line.line);
  snprintf(text, sizeof text, "%s%s%.250s%s", message, kernel != NULL ? " in " : "",
           kernel != NULL ? kernel->title : "", place);
  static bool watching;
  const char *wanted = getenv("VMA_SIM_EXIT");
  if (!watching && wanted != NULL && strcmp(wanted, "1") == 0) atexit(say_at_exit);
  watching = true;
  for (int64_t i = 0; i < n_reports; i++) {
    // A kernel's fault at a line is one, whichever thread and byte it was found at first.
    const Report *r = &reports[i];
    const bool same = kernel != NULL && line.line > 0
                          ? r->kernel == kernel && r->line == line.line && r->fault == fault
                          : strcmp(r->text, text) == 0;
    if (!same) continue;
    reports[i].times++;
    return;
  }
  if (n_reports == REPORTS_MAX) return;
  reports[n_reports] = (Report){.fault = fault, .times = 1, .kernel = kernel, .line = line.line};
  memcpy(reports[n_reports++].text, text, sizeof text);
}

// ---- the control ----

static void configure(const char *device, int sms, uint64_t seed, bool checks) {
  SimRuntime *r = sim_runtime();
  sim_stream_run_all();
  if (device != NULL) sim_take_device(device);
  if (sms > 0) r->device.sms = sms;
  if (seed > 0) r->seed = seed;
  r->checks = checks;
}

static void set_seed(uint64_t seed) {
  sim_runtime()->seed = seed;
}
static int64_t count_reports(void) {
  sim_stream_run_all();
  return n_reports;
}
static const char *report_text(int64_t i) {
  return i >= 0 && i < n_reports ? reports[i].text : "";
}
static SimFault report_fault(int64_t i) {
  return i >= 0 && i < n_reports ? reports[i].fault : SIM_FAULTS;
}

static void clear(void) {
  SimRuntime *r = sim_runtime();
  sim_stream_run_all();
  n_reports = 0;
  sim_counters_clear();
  sim_product_clear();
  r->host_waits = r->overlapped = 0;
  r->device_peak = r->device_bytes;
}

static int64_t host_waits(void) {
  return sim_runtime()->host_waits;
}
static int64_t overlapped(void) {
  return sim_runtime()->overlapped;
}
static int64_t device_bytes(void) {
  return sim_runtime()->device_bytes;
}
static int64_t device_peak(void) {
  return sim_runtime()->device_peak;
}
__attribute__((visibility("default"))) const SimControl *sim_control(void) {
  static const SimControl control = {.configure = configure,
                                     .set_seed = set_seed,
                                     .reports = count_reports,
                                     .report = report_text,
                                     .report_fault = report_fault,
                                     .clear = clear,
                                     .counters = sim_counters_sum,
                                     .product_shapes = sim_product_shapes,
                                     .host_waits = host_waits,
                                     .overlapped = overlapped,
                                     .device_bytes = device_bytes,
                                     .device_peak = device_peak,
                                     .mutation_points = sim_mutation_points,
                                     .mutation_point = sim_mutation_point,
                                     .mutation_watch = sim_mutation_watch,
                                     .mutation_matters = sim_mutation_matters,
                                     .mutate = sim_mutate};
  return &control;
}
