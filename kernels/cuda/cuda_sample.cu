// Choosing tokens: sampling and the beam step, as kernels/core/token_choice.h says it.
//
// sample, one block of 512 threads a row of V logits; scratch holds the penalised logits (f32) and
// their weights e^((x - largest) / temperature) (f64, as on the host). Nothing is sorted: a value's
// bits, turned so that they order like the value, are its key, and what the sorted list would say
// is found by searching keys from the top bit down, two bits a pass: the k-th largest by counts,
// the smallest set that reaches p and the value that the draw falls on by sums of weights. Each
// pass adds per thread with a stride of 512, then over the block, in f64 and in one order. Among
// equal values the lowest id comes first, which one scan of counts finds. Without top-k and top-p
// the draw runs over the ids from the last to the first, as on the host: one scan of sums.
//   What a thread owns: elements i, i + 512, ... in the passes; a run of ceil(V / 512) neighbouring
//   ids in the two scans.
//   Shared memory: a bit for each id that was seen (V / 8 bytes, dynamic: 32 KiB at most), 512 f64
//   for scans, 96 f64 slots.
//   flops: an f64 exponential a logit; bytes: the row once, 16 to 48 passes over 12 V bytes of
//   scratch in L2.
//
// beam_step: one block of 512 threads a beam: largest value and sum (f64) of its logits, then K
// passes for its K best, each the best of those behind the one before. A second kernel merges the
// lists of a text's beams the same way.
//   Shared memory: the bits as above, 32 slots a reduction. bytes: the row K + 2 times from L2.
#include "cuda_best.cuh"
#include "cuda_scratch.h"

enum { CHOICE_THREADS = 512, CHOICE_COLS = 1 << 18, MERGE_THREADS = 128 };

// ---- ids that were seen ----

// The lists of all rows as a kernel's argument; ids NULL: there are none.
struct SeenView {
  int32_t *ids, *lengths;
  const float *penalty;
  int64_t stride, room;
};

static SeenView seen_view(const SeenIds *seen) {
  SeenView view = {};
  if (!tensor_given(seen->ids)) return view;
  view.ids = (int32_t *)seen->ids.data;
  view.lengths = (int32_t *)seen->lengths.data;
  view.penalty = (const float *)seen->penalty.data;
  view.stride = seen->ids.stride;
  view.room = seen->ids.cols;
  return view;
}

// The bits of the ids that a row has seen, and its penalty (1: off). All threads call it.
__device__ __forceinline__ float mark_seen(uint32_t *bits, const SeenView &seen, int64_t row,
                                           int64_t cols) {
  for (int64_t i = threadIdx.x; i < (cols + 31) / 32; i += blockDim.x) bits[i] = 0;
  __syncthreads();
  if (seen.ids == NULL) return 1.0f;
  int64_t n = seen.lengths[row] < seen.room ? seen.lengths[row] : seen.room;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    int32_t id = seen.ids[row * seen.stride + i];
    if (id >= 0 && id < cols) atomicOr(&bits[id / 32], 1u << (id % 32));
  }
  __syncthreads();
  return seen.penalty[row];
}

__device__ __forceinline__ float penalised(float x, float penalty, const uint32_t *bits,
                                           int64_t id) {
  if (penalty == 1.0f || (bits[id / 32] >> (id % 32) & 1) == 0) return x;
  return x < 0.0f ? __fmul_rn(x, penalty) : __fdiv_rn(x, penalty);
}

// ---- sampling ----

// A row in scratch, and shared memory to add it up.
struct Choice {
  float *values;
  double *weights;
  int64_t cols;
  double *slots; // [96]
  double *scan;  // [CHOICE_THREADS]
};

// Orders like x; both zeros are one.
__device__ __forceinline__ uint32_t key_of(float x) {
  uint32_t bits = __float_as_uint(x == 0.0f ? 0.0f : x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

// As on the host: relative to the largest in f32, the rest in f64.
__device__ __forceinline__ double weight_of(float x, float most, float temperature) {
  return exp((double)(x - most) / (double)temperature);
}

// s[i] = the sum over the values whose key is at least t[i], which ascend: of weights, or of ones.
__device__ __forceinline__ void sums_from(double (&s)[3], const Choice &row, const uint32_t (&t)[3],
                                          bool count) {
  double own[3] = {0.0, 0.0, 0.0};
  for (int64_t i = threadIdx.x; i < row.cols; i += CHOICE_THREADS) {
    uint32_t key = key_of(row.values[i]);
    if (key < t[0]) continue;
    double w = count ? 1.0 : row.weights[i];
    own[0] += w;
    own[1] += key >= t[1] ? w : 0.0;
    own[2] += key >= t[2] ? w : 0.0;
  }
  // No barrier behind: two of the next call's lie between these reads and its writes of a slot.
#pragma unroll
  for (int k = 0; k < 3; k++) s[k] = block_sum_f64(own[k], row.slots + 32 * k);
}

// The largest key t for which t <= sure or the sum from t on is enough: at least `goal`, or more
// than it (`beyond`).
__device__ __forceinline__ uint32_t search(const Choice &row, uint32_t sure, double goal,
                                           bool beyond, bool count) {
  uint32_t key = 0;
#pragma unroll 1
  for (int shift = 30; shift >= 0; shift -= 2) {
    uint32_t t[3], step = 0;
    double s[3];
#pragma unroll
    for (int k = 0; k < 3; k++) t[k] = key + ((uint32_t)(k + 1) << shift);
    sums_from(s, row, t, count);
#pragma unroll
    for (int k = 0; k < 3; k++) {
      bool enough = beyond ? s[k] > goal : s[k] >= goal;
      if (t[k] <= sure || enough) step = (uint32_t)(k + 1);
    }
    key += step << shift;
  }
  return key;
}

// The id of the rank-th value (from 0, lowest id first) of that key, to thread 0 and whoever waits
// for the next barrier, in *found. Rank may have been rounded beyond the last of those values, or
// of the first `ties` of them, that count: then it is this.
__device__ __forceinline__ void find_tie(int32_t *found, const Choice &row, uint32_t key,
                                         double rank, double ties) {
  int64_t run = (row.cols + CHOICE_THREADS - 1) / CHOICE_THREADS, from = threadIdx.x * run,
          to = from + run < row.cols ? from + run : row.cols;
  double own = 0.0;
  for (int64_t i = from; i < to; i++) own += key_of(row.values[i]) == key ? 1.0 : 0.0;
  row.scan[threadIdx.x] = own;
  __syncthreads();
  double before = 0.0, all = 0.0;
  for (int i = 0; i < CHOICE_THREADS; i++) {
    if (i == (int)threadIdx.x) before = all;
    all += row.scan[i];
  }
  rank = fmin(rank, fmin(ties, all) - 1.0);
  if (!(before <= rank && rank < before + own)) return;
  for (int64_t i = from; i < to; i++) {
    if (key_of(row.values[i]) != key) continue;
    if (before == rank) *found = (int32_t)i;
    before += 1.0;
  }
}

// The same without top-k and top-p: the id on which a draw of u falls, from the last id on.
__device__ __forceinline__ void find_drawn(int32_t *found, const Choice &row, double u) {
  int64_t run = (row.cols + CHOICE_THREADS - 1) / CHOICE_THREADS, from = threadIdx.x * run,
          to = from + run < row.cols ? from + run : row.cols;
  double own = 0.0;
  for (int64_t i = to; i-- > from;) own += row.weights[i];
  row.scan[threadIdx.x] = own;
  __syncthreads();
  double total = 0.0, before = 0.0, behind = 0.0;
  for (int i = CHOICE_THREADS; i-- > 0;) {
    if (i == (int)threadIdx.x) before = total;
    total += row.scan[i];
    if (i == (int)threadIdx.x) behind = total;
  }
  double at = u * total;
  if (!(before <= at && at < behind)) return;
  int64_t i = to - 1;
  for (double sum = before + row.weights[i]; at >= sum && i > from;) sum += row.weights[--i];
  *found = (int32_t)i;
}

// What is kept: the values of larger keys than `key`, and of those of that key the first `ties`.
struct Kept {
  uint32_t key;
  double ties, total; // of weights
};

__device__ __forceinline__ Kept keep(const Choice &row, float most, float temperature,
                                     int32_t top_k, float top_p) {
  Kept kept = {0, 0.0, 0.0};
  uint32_t floor = 0;
  if (top_k > 0 && top_k < row.cols) floor = search(row, 0, (double)top_k, false, true);
  kept.key = floor;
  double s[3], n[3], goal = 0.0;
  if (top_p < 1.0f) {
    const uint32_t all[3] = {floor, floor, floor};
    sums_from(s, row, all, false);
    goal = (double)top_p * s[0];
    uint32_t most_key = key_of(most), key = search(row, floor, goal, false, false);
    kept.key = key < most_key ? key : most_key;
  }
  const uint32_t edge[3] = {kept.key, kept.key + 1, kept.key + 1};
  sums_from(s, row, edge, false);
  sums_from(n, row, edge, true);
  kept.ties = n[0] - n[1];
  kept.total = s[0];
  if (top_p < 1.0f) {
    double w = weight_of(value_of(kept.key), most, temperature);
    double ties = ceil((goal - s[1]) / w);
    if (ties < kept.ties) kept.ties = ties;
    if (!(kept.ties >= 1.0)) kept.ties = 1.0;
    kept.total = s[1] + kept.ties * w;
  }
  return kept;
}

__device__ __forceinline__ void find_kept(int32_t *found, const Choice &row, const Kept &kept,
                                          float most, float temperature, double u) {
  double at = u * kept.total, s[3];
  uint32_t key = search(row, kept.key, at, true, false);
  const uint32_t above[3] = {key + 1, key + 1, key + 1};
  sums_from(s, row, above, false);
  double rank = floor((at - s[0]) / weight_of(value_of(key), most, temperature));
  if (!(rank >= 0.0)) rank = 0.0;
  find_tie(found, row, key, rank, key == kept.key ? kept.ties : (double)row.cols);
}

// The uniform number that rng_uniform gives.
__device__ __forceinline__ double uniform(uint64_t key, uint64_t counter) {
  uint4 w = philox_words(key, (uint32_t)counter, (uint32_t)(counter >> 32), 0x766d6100u, 0);
  uint64_t bits = (uint64_t)w.x << 32 | w.y;
  return (double)(bits >> 11) * 0x1p-53;
}

struct SampleView {
  const float *temperature, *top_p;
  const int32_t *top_k;
  const uint64_t *seeds;
  uint64_t *draws;
  SeenView seen;
};

// The row into scratch, penalised; the largest. Its value is NaN where there is no choice.
template <typename F>
__device__ __forceinline__ Best load_row(const Choice &row, const F *logits, float penalty,
                                         const uint32_t *bits, float *slots, Best *best_slots) {
  Best best = best_none();
  float bad = 0.0f;
  for (int64_t i = threadIdx.x; i < row.cols; i += CHOICE_THREADS) {
    float x = load_f32(logits + i);
    if (!(x < INFINITY)) bad = 1.0f;
    x = penalised(x, penalty, bits, i);
    row.values[i] = x;
    Best here = {x, (int32_t)i};
    if (is_better(here, best)) best = here;
  }
  bad = block_max(bad, slots);
  best = block_best(best, best_slots);
  if (bad > 0.0f) best.value = NAN;
  return best;
}

// budget: sample_kernel registers=64 shared=5264
template <typename F>
static __global__ void __launch_bounds__(CHOICE_THREADS)
    sample_kernel(int32_t *ids, Rows<const F> logits, SampleView view, double *weights,
                  float *values, int64_t first, int64_t cols) {
  extern __shared__ uint32_t seen_bits[];
  __shared__ double slots[96], scan[CHOICE_THREADS];
  __shared__ float max_slots[32];
  __shared__ Best best_slots[32];
  __shared__ int32_t found;
  int64_t r = first + blockIdx.x;
  Choice row = {values + blockIdx.x * cols, weights + blockIdx.x * cols, cols, slots, scan};
  float penalty = mark_seen(seen_bits, view.seen, r, cols);
  Best best = load_row(row, logits.row(r), penalty, seen_bits, max_slots, best_slots);
  float temperature = view.temperature[r], top_p = view.top_p[r];
  int32_t top_k = view.top_k[r], id = best.index;
  bool can = !isnan(best.value), draws = can && temperature > 0.0f;
  if (draws) {
    for (int64_t i = threadIdx.x; i < cols; i += CHOICE_THREADS)
      row.weights[i] = weight_of(row.values[i], best.value, temperature);
    double u = uniform(view.seeds[r], view.draws[r]);
    bool cut = (top_k > 0 && top_k < cols) || top_p < 1.0f;
    if (threadIdx.x == 0) found = cut ? best.index : 0;
    __syncthreads();
    if (cut) {
      Kept kept = keep(row, best.value, temperature, top_k, top_p);
      find_kept(&found, row, kept, best.value, temperature, u);
    } else {
      find_drawn(&found, row, u);
    }
    __syncthreads();
    id = found;
  }
  if (threadIdx.x != 0) return;
  ids[r] = can ? id : -1;
  if (draws) view.draws[r] += 1;
  if (!can || view.seen.ids == NULL) return;
  int32_t length = view.seen.lengths[r];
  if (length >= view.seen.room) return;
  view.seen.ids[r * view.seen.stride + length] = id;
  view.seen.lengths[r] = length + 1;
}

// ---- beams ----

// The `keep` best of each beam, in order; id -1 where there are no more.
// budget: beam_kernel registers=64 shared=640
template <typename F>
static __global__ void __launch_bounds__(CHOICE_THREADS)
    beam_kernel(float *scores, int32_t *ids, Rows<const F> logits, const int32_t *rows,
                Rows<const float> sums, SeenView seen, int64_t beams, int64_t keep, int64_t cols) {
  extern __shared__ uint32_t seen_bits[];
  __shared__ double sum_slots[32];
  __shared__ float max_slots[32];
  __shared__ Best best_slots[32];
  int64_t beam = blockIdx.x;
  const F *x = logits.row(rows != NULL ? rows[beam] : beam);
  float before = sums.row(beam / beams)[beam % beams];
  float penalty = mark_seen(seen_bits, seen, beam, cols);
  float most = -INFINITY;
  for (int64_t i = threadIdx.x; i < cols; i += CHOICE_THREADS) most = fmaxf(most, load_f32(x + i));
  most = block_max(most, max_slots);
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < cols; i += CHOICE_THREADS)
    sum += exp((double)(load_f32(x + i) - most));
  float log_sum = (float)log(block_sum_f64(sum, sum_slots));
  Best last = {INFINITY, -1};
  int64_t k = 0;
  do { // there is one at least
    Best best = best_none();
    for (int64_t i = threadIdx.x; i < cols; i += CHOICE_THREADS) {
      float log_prob = load_f32(x + i) - most - log_sum;
      Best here = {penalised(log_prob, penalty, seen_bits, i) + before, (int32_t)i};
      if (is_better(last, here) && is_better(here, best)) best = here;
    }
    last = block_best(best, best_slots);
    if (threadIdx.x == 0) {
      scores[beam * keep + k] = last.value;
      ids[beam * keep + k] = last.index == INT32_MAX ? -1 : last.index;
    }
    __syncthreads(); // the slots are free again
  } while (++k < keep);
}

// A text's lists into one. The place in all of them decides ties: lowest beam, then id.
// budget: merge_kernel registers=32 shared=256
static __global__ void __launch_bounds__(MERGE_THREADS)
    merge_kernel(Rows<float> scores, Rows<int32_t> parents, Rows<int32_t> ids,
                 const float *list_scores, const int32_t *list_ids, int64_t beams, int64_t keep) {
  __shared__ Best best_slots[32];
  int64_t text = blockIdx.x, n = beams * keep;
  list_scores += text * n;
  list_ids += text * n;
  Best last = {INFINITY, -1};
  int64_t k = 0;
  do { // there is one at least
    Best best = best_none();
    for (int64_t i = threadIdx.x; i < n; i += MERGE_THREADS) {
      Best here = {list_scores[i], (int32_t)i};
      if (list_ids[i] >= 0 && is_better(last, here) && is_better(here, best)) best = here;
    }
    last = block_best(best, best_slots);
    if (threadIdx.x == 0) {
      bool there = last.index != INT32_MAX;
      scores.row(text)[k] = last.value;
      parents.row(text)[k] = there ? (int32_t)(last.index / keep) : -1;
      ids.row(text)[k] = there ? list_ids[last.index] : -1;
    }
    __syncthreads(); // the slots are free again
  } while (++k < keep);
}

// ---- the ops ----

static int64_t bits_bytes(const char *op, int64_t cols) {
  CHECK(cols <= CHOICE_COLS, "%s: logits of %lld columns; expected at most %d", op, (long long)cols,
        (int)CHOICE_COLS);
  return (cols + 31) / 32 * (int64_t)sizeof(uint32_t);
}

static void cuda_sample(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_sample(be, ids, logits, args);
  CUDA_OP(cuda, "sample", CUDA_WRITE(ids), CUDA_READ(logits), CUDA_READ(args->temperature),
          CUDA_READ(args->top_k), CUDA_READ(args->top_p), CUDA_READ(args->seeds),
          CUDA_UPDATE(args->draws), CUDA_UPDATE(args->seen.ids), CUDA_UPDATE(args->seen.lengths),
          CUDA_READ(args->seen.penalty));
  if (logits.rows == 0) return;
  int64_t bytes = bits_bytes("sample", logits.cols);
  int64_t most = logits.rows < CUDA_SAMPLE_ROWS ? logits.rows : (int64_t)CUDA_SAMPLE_ROWS;
  double *weights = (double *)cuda_scratch(cuda, cuda_scratch_sample(logits));
  float *values = (float *)(weights + most * logits.cols);
  SampleView view = {(const float *)args->temperature.data, (const float *)args->top_p.data,
                     (const int32_t *)args->top_k.data,     (const uint64_t *)args->seeds.data,
                     (uint64_t *)args->draws.data,          seen_view(&args->seen)};
  for (int64_t first = 0; first < logits.rows; first += CUDA_SAMPLE_ROWS) {
    int64_t n = logits.rows - first < most ? logits.rows - first : most;
    CUDA_F(logits.dtype, "sample",
           CUDA_LAUNCH(cuda, sample_kernel<F>, n, CHOICE_THREADS, bytes, (int32_t *)ids.data,
                       const_rows<F>(logits), view, weights, values, first, logits.cols));
  }
}

static void cuda_beam_step(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                           const BeamArgs *args) {
  CudaBackend *cuda = cuda_of(be);
  op_check_beam_step(be, scores, parents, ids, logits, args);
  CUDA_OP(cuda, "beam_step", CUDA_WRITE(scores), CUDA_WRITE(parents), CUDA_WRITE(ids),
          CUDA_READ(logits), CUDA_READ(args->rows), CUDA_READ(args->sums),
          CUDA_READ(args->seen.ids), CUDA_READ(args->seen.lengths), CUDA_READ(args->seen.penalty));
  if (scores.rows == 0) return;
  int64_t bytes = bits_bytes("beam_step", logits.cols), keep = scores.cols,
          all = scores.rows * args->beams;
  float *list_scores = (float *)cuda_scratch(cuda, cuda_scratch_beam(scores, args->beams));
  int32_t *list_ids = (int32_t *)(list_scores + all * keep);
  CUDA_F(logits.dtype, "beam_step",
         CUDA_LAUNCH(cuda, beam_kernel<F>, all, CHOICE_THREADS, bytes, list_scores, list_ids,
                     const_rows<F>(logits), (const int32_t *)args->rows.data,
                     const_rows<float>(args->sums), seen_view(&args->seen), args->beams, keep,
                     logits.cols));
  CUDA_LAUNCH(cuda, merge_kernel, scores.rows, MERGE_THREADS, 0, rows_of<float>(scores),
              rows_of<int32_t>(parents), rows_of<int32_t>(ids), list_scores, list_ids, args->beams,
              keep);
}

void cuda_sample_install(Backend *be) {
  be->sample = cuda_sample;
  be->beam_step = cuda_beam_step;
}
