// What lanes of a warp do together: shuffles, votes, matches, reductions, matrix products; printf.
#include <stdio.h>

#include "sim_exec.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef float f32;

// Who must take part, from a mask operand: the same in all lanes that do, themselves included.
static bool together(SimWarp *w, const SimInstr *i, int k) {
  const u32 member = SIM_REG(u32, k)[__builtin_ctz(w->lanes)];
  if ((w->lanes & ~member) != 0) {
    sim_report(SIM_DIVERGENT_BARRIER, w->exec->kernel, sim_line(w->exec->kernel, sim_pc(w)),
               "lanes %08x take part that the mask %08x does not name: %s", w->lanes, member,
               i->text);
    sim_end(w->exec);
    return false;
  }
  return !sim_wait_for(w, member);
}

void sim_run_shfl(SimWarp *w, const SimInstr *i) {
  if (!together(w, i, 5)) return;
  u32 *d = SIM_REG(u32, 0);
  const u32 *a = SIM_REG(u32, 2), *b = SIM_REG(u32, 3), *c = SIM_REG(u32, 4);
  u32 out[32], valid = 0;
  for (u32 l = 0; l < 32; l++) {
    const u32 segment = c[l] >> 8 & 31, clamp = c[l] & 31, n = b[l] & 31;
    const u32 low = l & segment, high = low | (clamp & ~segment);
    u32 j;
    bool p;
    switch (i->mode) {
    case SIM_SHFL_UP:
      j = l - n, p = (s32)j >= (s32)high;
      break;
    case SIM_SHFL_DOWN:
      j = l + n, p = j <= high;
      break;
    case SIM_SHFL_BFLY:
      j = l ^ n, p = j <= high;
      break;
    default:
      j = low | (n & ~segment), p = j <= high;
    }
    if (!p) j = l;
    // A lane that does not take part has nothing to give.
    out[l] = w->lanes >> j & 1 ? a[j] : 0xdeadbeef;
    valid |= (u32)p << l;
  }
  SIM_LANES(d, out[l]);
  if (i->size[1] != 0) sim_set_mask(w, i->o[1], valid);
}

void sim_run_vote(SimWarp *w, const SimInstr *i) {
  if (!together(w, i, 3)) return;
  const u32 p = (sim_mask(w, i, 2) ^ (i->negate ? UINT32_MAX : 0)) & w->lanes;
  if (i->mode == SIM_VOTE_BALLOT) {
    u32 *d = SIM_REG(u32, 0);
    SIM_LANES(d, p);
    return;
  }
  const bool r = i->mode == SIM_VOTE_ALL   ? p == w->lanes
                 : i->mode == SIM_VOTE_ANY ? p != 0
                                           : p == 0 || p == w->lanes;
  sim_set_mask(w, i->o[0], r ? UINT32_MAX : 0);
}

void sim_run_match(SimWarp *w, const SimInstr *i) {
  if (!together(w, i, 3)) return;
  u64 a[32];
  sim_read(w, i, 2, a);
  u32 out[32] = {0}, all = 1;
  SIM_EACH(w->lanes, l) {
    SIM_EACH(w->lanes, m) out[l] |= (u32)(a[m] == a[l]) << m;
    if (out[l] != w->lanes) all = 0;
  }
  u32 *d = SIM_REG(u32, 0);
  if (i->mode == 0) {
    SIM_LANES(d, out[l]);
    return;
  }
  SIM_LANES(d, all ? w->lanes : 0);
  if (i->size[1] != 0) sim_set_mask(w, i->o[1], all ? UINT32_MAX : 0);
}

void sim_run_redux(SimWarp *w, const SimInstr *i) {
  if (!together(w, i, 3)) return;
  const u32 *a = SIM_REG(u32, 2);
  u32 r = a[__builtin_ctz(w->lanes)];
  const bool is_signed = i->type == SIM_T_S32;
  SIM_EACH(w->lanes & (w->lanes - 1), l) {
    const bool less = is_signed ? (s32)a[l] < (s32)r : a[l] < r;
    switch (i->mode) {
    case SIM_A_ADD:
      r += a[l];
      break;
    case SIM_A_MIN:
      r = less ? a[l] : r;
      break;
    case SIM_A_MAX:
      r = less ? r : a[l];
      break;
    case SIM_A_AND:
      r &= a[l];
      break;
    case SIM_A_OR:
      r |= a[l];
      break;
    default:
      r ^= a[l];
    }
  }
  u32 *d = SIM_REG(u32, 0);
  SIM_LANES(d, r);
}

void sim_run_activemask(SimWarp *w, const SimInstr *i) {
  u32 *d = SIM_REG(u32, 0);
  SIM_LANES(d, w->lanes);
}

// ---- mma ----
// Fragments (PTX ISA, "matrix fragments for mma.m16n8kN"): g = lane/4, t = lane%4. A pair register
// of A holds rows g (+8 for the odd ones), columns 2t, 2t+1 (+8 from the third register on); of B
// rows 2t, 2t+1 (+8), column g; of C and D rows g, g, g+8, g+8 and columns 2t, 2t+1.

static inline f32 half_of(int type, u32 pair, int high) {
  const u16 h = (u16)(high ? pair >> 16 : pair);
  return type == SIM_T_BF16 ? sim_bf16_to_f32(h) : sim_f16_to_f32(h);
}

static f32 tf32_of(u32 bits) { // the lower 13 bits are not looked at
  f32 f;
  bits &= 0xffffe000;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static void gather_float(const SimWarp *w, const SimInstr *i, f32 a[16][16], f32 b[16][8]) {
  const int k = i->mode;
  if (i->type == SIM_T_TF32) { // one element a register
    for (int l = 0; l < 32; l++) {
      const int g = l / 4, t = l % 4;
      for (int r = 0; r < k / 2; r++)
        a[g + 8 * (r & 1)][t + 4 * (r >> 1)] = tf32_of(SIM_REG(u32, 4 + r)[l]);
      for (int r = 0; r < k / 4; r++) b[t + 4 * r][g] = tf32_of(SIM_REG(u32, 8 + r)[l]);
    }
    return;
  }
  for (int r = 0; r < k / 4; r++) {
    const u32 *x = SIM_REG(u32, 4 + r);
    for (int l = 0; l < 32; l++) {
      f32 *row = &a[l / 4 + 8 * (r & 1)][l % 4 * 2 + 8 * (r >> 1)];
      row[0] = half_of(i->type, x[l], 0);
      row[1] = half_of(i->type, x[l], 1);
    }
  }
  for (int r = 0; r < k / 8; r++) {
    const u32 *x = SIM_REG(u32, 8 + r);
    for (int l = 0; l < 32; l++) {
      const int row = l % 4 * 2 + 8 * r;
      b[row][l / 4] = half_of(i->type, x[l], 0);
      b[row + 1][l / 4] = half_of(i->type, x[l], 1);
    }
  }
}

void sim_run_mma_float(SimWarp *w, const SimInstr *i) {
  if (sim_wait_for(w, UINT32_MAX)) return;
  f32 a[16][16], b[16][8], d[16][8];
  const int k = i->mode;
  gather_float(w, i, a, b);
  for (int r = 0; r < 4; r++) {
    const f32 *c = SIM_REG(f32, 12 + r);
    for (int l = 0; l < 32; l++) d[l / 4 + 8 * (r >> 1)][l % 4 * 2 + (r & 1)] = c[l];
  }
  for (int m = 0; m < 16; m++) {
    f32 sum[8];
    memcpy(sum, d[m], sizeof sum);
    for (int j = 0; j < k; j++) {
      const f32 x = a[m][j];
      for (int n = 0; n < 8; n++) sum[n] += x * b[j][n];
    }
    memcpy(d[m], sum, sizeof sum);
  }
  for (int r = 0; r < 4; r++) {
    f32 *out = SIM_REG(f32, r);
    for (int l = 0; l < 32; l++) out[l] = d[l / 4 + 8 * (r >> 1)][l % 4 * 2 + (r & 1)];
  }
}

// Four 8-bit elements a register: A rows g, g+8, columns 4t..4t+3 (+16); B rows 4t..4t+3 (+16).
void sim_run_mma_s8(SimWarp *w, const SimInstr *i) {
  if (sim_wait_for(w, UINT32_MAX)) return;
  s32 a[16][32], b[32][8], d[16][8];
  const int k = i->mode;
  for (int r = 0; r < k / 8; r++)
    for (int l = 0; l < 32; l++)
      for (int e = 0; e < 4; e++) {
        const u32 byte = SIM_REG(u32, 4 + r)[l] >> (8 * e) & 255;
        a[l / 4 + 8 * (r & 1)][l % 4 * 4 + e + 16 * (r >> 1)] =
            i->type == SIM_T_S8 ? (int8_t)byte : (s32)byte;
      }
  for (int r = 0; r < k / 16; r++)
    for (int l = 0; l < 32; l++)
      for (int e = 0; e < 4; e++) {
        const u32 byte = SIM_REG(u32, 8 + r)[l] >> (8 * e) & 255;
        b[l % 4 * 4 + e + 16 * r][l / 4] = i->from == SIM_T_S8 ? (int8_t)byte : (s32)byte;
      }
  for (int r = 0; r < 4; r++)
    for (int l = 0; l < 32; l++)
      d[l / 4 + 8 * (r >> 1)][l % 4 * 2 + (r & 1)] = SIM_REG(s32, 12 + r)[l];
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 8; n++) {
      int64_t sum = d[m][n];
      for (int j = 0; j < k; j++) sum += a[m][j] * b[j][n];
      if (i->sat) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      d[m][n] = (s32)(u32)sum;
    }
  for (int r = 0; r < 4; r++)
    for (int l = 0; l < 32; l++) SIM_REG(s32, r)[l] = d[l / 4 + 8 * (r >> 1)][l % 4 * 2 + (r & 1)];
}

// ---- printf ----

// A generic address of the lane's own memory, or a host address.
static const uint8_t *host_of(const SimWarp *w, u32 lane, u64 address) {
  const int64_t bytes = w->exec->kernel->local_bytes;
  if ((address & SIM_WINDOW_MASK) == SIM_WINDOW_LOCAL)
    return w->local + lane * bytes + (address & ~SIM_WINDOW_MASK);
  if ((address & SIM_WINDOW_MASK) == SIM_WINDOW_SHARED)
    return w->exec->block.shared + (address & ~SIM_WINDOW_MASK);
  return (const uint8_t *)(uintptr_t)address;
}

static u64 take(const uint8_t *args, int64_t *at, int bytes) {
  *at = (*at + bytes - 1) / bytes * bytes;
  u64 value = 0;
  if (args != NULL) memcpy(&value, args + *at, (size_t)bytes);
  *at += bytes;
  return value;
}

// Each argument lies at a multiple of its size; floats as f64.
static void print_lane(const SimWarp *w, u32 lane, const char *format, const uint8_t *args) {
  int64_t at = 0;
  for (const char *p = format; *p != 0; p++) {
    if (*p != '%' || p[1] == '%') {
      if (*p == '%') p++;
      fputc(*p, stdout);
      continue;
    }
    char spec[40] = "%";
    int n = 1;
    bool wide = false;
    for (p++; *p != 0 && strchr("-+ #0123456789.hlzjt", *p) != NULL && n < 30; p++) {
      if (strchr("lzjt", *p) != NULL)
        wide = true;
      else if (*p != 'h')
        spec[n++] = *p;
    }
    if (*p == 0) return;
    if (strchr("diouxXc", *p) != NULL) {
      const u64 value = take(args, &at, wide ? 8 : 4);
      if (*p != 'c') spec[n++] = 'l', spec[n++] = 'l';
      spec[n] = *p;
      if (*p == 'c')
        printf(spec, (int)value);
      else if (*p == 'd' || *p == 'i')
        printf(spec, wide ? (long long)value : (long long)(s32)value);
      else
        printf(spec, (unsigned long long)value);
    } else if (strchr("eEfFgGaA", *p) != NULL) {
      const u64 bits = take(args, &at, 8);
      double value;
      memcpy(&value, &bits, sizeof value);
      spec[n] = *p;
      printf(spec, value);
    } else {
      const u64 value = take(args, &at, 8);
      spec[n] = *p;
      if (*p == 's')
        printf(spec, (const char *)host_of(w, lane, value));
      else
        printf("%p", (void *)(uintptr_t)value);
    }
  }
}

void sim_run_printf(SimWarp *w, const SimInstr *i) {
  const int64_t stride = w->exec->kernel->local_bytes;
  const int64_t base = stride - w->exec->code->call_bytes;
  SIM_EACH(w->lanes, l) {
    u64 format, args;
    memcpy(&format, w->local + l * stride + base + i->target, 8);
    memcpy(&args, w->local + l * stride + base + i->imm, 8);
    print_lane(w, l, (const char *)host_of(w, l, format), args != 0 ? host_of(w, l, args) : NULL);
  }
}
