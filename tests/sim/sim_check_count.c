// How memory serves an access of a warp. Shared memory: 32 banks of 4 bytes, a wavefront reads one
// word of each; lanes that name the same word share it. Accesses of 8 and 16 bytes a lane go by
// halves and quarters of the warp. Global memory: sectors of 32 bytes.
#include "sim_check.h"

void check_count_shared(uint32_t mask, int bytes, const uint64_t *address) {
  SimCounters *c = sim_counters_now();
  if (c == NULL) return;
  const int words = bytes < 4 ? 1 : bytes / 4, lanes = 32 / words;
  for (int part = 0; part < words; part++) {
    uint64_t seen[32][32];
    int n[32] = {0}, most = 0;
    for (int l = part * lanes; l < (part + 1) * lanes; l++) {
      if (!(mask >> l & 1)) continue;
      for (int e = 0; e < words; e++) {
        const uint64_t word = address[l] / 4 + (uint64_t)e;
        const int bank = (int)(word % 32);
        bool known = false;
        for (int k = 0; k < n[bank] && !known; k++) known = seen[bank][k] == word;
        if (known) continue;
        seen[bank][n[bank]] = word;
        if (++n[bank] > most) most = n[bank];
      }
    }
    c->shared_wavefronts += most;
    c->shared_extra += most > 1 ? most - 1 : 0;
  }
}

// The ideal is what the bytes would take if they lay side by side; bytes that several lanes name
// count once there.
void check_count_global(const SimAccess *a) {
  SimCounters *c = sim_counters_now();
  if (c == NULL) return;
  uint64_t sectors[64], places[32], highest = 0;
  int n = 0, n_places = 0;
  int64_t bytes = 0;
  for (int l = 0; l < 32; l++) {
    if (!(a->mask >> l & 1)) continue;
    const uint64_t at = a->address[l];
    bytes += a->bytes;
    bool known = false;
    for (int k = n_places - 1; k >= 0 && at <= highest && !known; k--) known = places[k] == at;
    if (!known) places[n_places++] = at;
    if (at > highest) highest = at;
    for (uint64_t sector = at / 32; sector <= (at + (uint64_t)a->bytes - 1) / 32; sector++) {
      known = false;
      for (int k = n - 1; k >= 0 && !known; k--) known = sectors[k] == sector;
      if (!known) sectors[n++] = sector;
    }
  }
  c->global_sectors += n;
  c->global_ideal += ((int64_t)n_places * a->bytes + 31) / 32;
  if (a->kind != SIM_WRITE) c->bytes_read += bytes;
  if (a->kind == SIM_WRITE || a->kind == SIM_ATOMIC) c->bytes_written += bytes;
}
