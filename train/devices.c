#include "devices.h"

#include <string.h>

#define CARD(device, words, memory, f32, bf16, traffic, links, share)                              \
  {                                                                                                \
    .name = (device), .title = (words), .gpu = true, .gib = (memory), .tflops = {(f32), (bf16)},   \
    .gbytes = (traffic), .link = (links), .gemm_share = (share)                                    \
  }

// Memory: what programs get of a card, less a margin; shares of products: what good libraries reach
// at the shapes of such models, rounded down.
static const Device devices[] = {
    CARD("rtx-3090", "NVIDIA RTX 3090, 24 GB", 23.0, 35.6, 71.2, 936, 20, 0.70),
    CARD("rtx-4090", "NVIDIA RTX 4090, 24 GB", 23.0, 82.6, 165.2, 1008, 20, 0.70),
    CARD("a6000", "NVIDIA RTX A6000, 48 GB", 47.0, 38.7, 154.8, 768, 20, 0.65),
    CARD("l40s", "NVIDIA L40S, 48 GB", 44.0, 91.6, 362.0, 864, 20, 0.60),
    CARD("a100-40", "NVIDIA A100, 40 GB", 38.5, 19.5, 312.0, 1555, 235, 0.65),
    CARD("a100-80", "NVIDIA A100, 80 GB", 78.0, 19.5, 312.0, 2039, 235, 0.65),
    CARD("h100", "NVIDIA H100, 80 GB", 78.0, 66.9, 989.4, 3350, 370, 0.60),
    CARD("h200", "NVIDIA H200, 141 GB", 138.0, 66.9, 989.4, 4800, 370, 0.60),
};
enum { N_DEVICES = sizeof devices / sizeof *devices };

// Shares of the peaks become the rates of every kind of op.
static void assume_rates(Device *d) {
  double bytes = d->gbytes * 1e9 * DEVICE_BYTES_SHARE;
  for (int kind = 0; kind < OP_KINDS; kind++) {
    bool attention = kind == OP_ATTENTION || kind == OP_ATTENTION_BACK;
    double share = attention ? DEVICE_ATTENTION_SHARE : d->gemm_share;
    d->rates.kind[kind] =
        (OpRate){.flops = {d->tflops[DT_F32] * 1e12 * share, d->tflops[DT_BF16] * 1e12 * share},
                 .bytes = bytes};
  }
  d->rates.launch = DEVICE_LAUNCH_SECONDS;
}

// Whether the words of a card's name are in what its driver calls it: "NVIDIA A100-SXM4-80GB".
static bool is_card(const Device *d, const char *name) {
  static const struct {
    const char *name, *word;
  } words[] = {{"rtx-3090", "3090"}, {"rtx-4090", "4090"}, {"a6000", "A6000"}, {"l40s", "L40S"},
               {"a100-40", "A100"},  {"a100-80", "A100"},  {"h100", "H100"},   {"h200", "H200"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (strcmp(d->name, words[i].name) == 0) return strstr(name, words[i].word) != NULL;
  }
  return false;
}

void device_of_gpu(Device *device, const Backend *be) {
  int64_t free_bytes = 0, all = 0;
  be->mem_info((Backend *)(uintptr_t)be, &free_bytes, &all);
  const Device *card = NULL; // of two of a name, the one whose memory it has
  for (int i = 0; i < N_DEVICES; i++) {
    bool large = (double)all >= devices[i].gib * (1 << 30);
    if (is_card(&devices[i], be->device) && (card == NULL || large)) card = &devices[i];
  }
  for (int i = 0; card == NULL; i++) {
    if (strcmp(devices[i].name, "a100-40") == 0) card = &devices[i];
  }
  *device = *card;
  assume_rates(device);
  device->title = be->device;
  device->here = true;
  device->gib = (double)all / (1 << 30);
  int64_t used = all - free_bytes - backend_cuda_fixed_bytes();
  if (used < 0) used = 0;
  bool apart = be->context_bytes >= 0 && be->context_bytes <= used;
  device->context = apart ? be->context_bytes : used;
  device->others = apart ? used - device->context : -1;
  device->shadow = be->shadow;
}

bool device_is_cpu(const char *name) {
  return name[0] == '\0' || strcmp(name, "cpu") == 0;
}

Status device_find(Device *device, const char *name, Error *err) {
  const char *names[N_DEVICES];
  for (int i = 0; i < N_DEVICES; i++) {
    names[i] = devices[i].name;
    if (strcmp(name, names[i]) != 0) continue;
    *device = devices[i];
    assume_rates(device);
    return STATUS_OK;
  }
  const char *nearest = error_nearest(name, names, N_DEVICES);
  if (nearest != NULL) {
    return error_set(err, STATUS_USAGE,
                     "plan.device: there is no device '%.40s'; did you mean "
                     "'%s'?",
                     name, nearest);
  }
  return error_set(err, STATUS_USAGE,
                   "plan.device: there is no device '%.40s'; expected cpu, rtx-3090, rtx-4090, "
                   "a6000, l40s, a100-40, a100-80, h100 or h200",
                   name);
}
