// Copies between the host and the device.
//
// In: host rows go into a ring of pinned memory, from there on the stream `copies` into a ring of
// the device, and from there, in order with the kernels, to their place. So the way over the bus
// overlaps with kernels that still read the place's old content, and the host goes on at once; it
// waits only where the ring is full. Out: through pinned memory, and waits. read_begin: into a slot
// of pinned memory, and read_end waits for that slot alone.
#include "cuda_backend.h"

#include <stdlib.h>
#include <string.h>

enum {
  RING_BYTES = CUDA_RING_BYTES, // at most half of it is in one piece
  RING_PIECES = 1024,
  OUT_BYTES = 2 << 20,
  TICKETS = 64,
  TICKET_BYTES = 64 << 10
};

// A piece of the ring that a copy holds until `used` has passed.
typedef struct RingPiece {
  int64_t end; // of its bytes, counted since the backend was opened
  cudaEvent_t arrived, used;
} RingPiece;

struct CudaRing {
  char *host, *device; // RING_BYTES each
  int64_t head, tail;  // bytes handed out and given back since the opening
  int64_t first, next; // pieces in use: [first, next), modulo RING_PIECES
  RingPiece pieces[RING_PIECES];
  char *out;         // OUT_BYTES, pinned
  char *ticket_host; // TICKETS * TICKET_BYTES, pinned
  cudaEvent_t ticket_done[TICKETS];
  int64_t ticket_bytes[TICKETS]; // 0: closed
};

static void wait_event(CudaBackend *cuda, cudaEvent_t event) {
  if (cudaEventQuery(event) == cudaSuccess) return;
  (void)cudaGetLastError();
  cuda->waits++;
  CUDA_CHECK(cudaEventSynchronize(event));
}

static void give_back_oldest(CudaBackend *cuda, CudaRing *ring) {
  RingPiece *oldest = &ring->pieces[ring->first % RING_PIECES];
  wait_event(cuda, oldest->used);
  ring->tail = oldest->end;
  ring->first++;
}

// `bytes` of the ring in one stretch; *at is where they begin.
static RingPiece *take(CudaBackend *cuda, int64_t bytes, int64_t *at) {
  CudaRing *ring = cuda->ring;
  int64_t need = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  int64_t place = ring->head % RING_BYTES,
          skip = place + need > RING_BYTES ? RING_BYTES - place : 0;
  while (ring->next - ring->first == RING_PIECES ||
         ring->head + skip + need - ring->tail > RING_BYTES)
    give_back_oldest(cuda, ring);
  *at = (ring->head + skip) % RING_BYTES;
  ring->head += skip + need;
  RingPiece *piece = &ring->pieces[ring->next++ % RING_PIECES];
  piece->end = ring->head;
  return piece;
}

// Rows of `row` bytes, dense on the host, to rows `stride` bytes apart.
static void copy_rows_in(CudaBackend *cuda, void *dst, const void *src, int64_t rows, int64_t row,
                         int64_t stride) {
  CudaRing *ring = cuda->ring;
  int64_t at;
  RingPiece *piece = take(cuda, rows * row, &at);
  memcpy(ring->host + at, src, (size_t)(rows * row));
  CUDA_CHECK(cudaMemcpyAsync(ring->device + at, ring->host + at, (size_t)(rows * row),
                             cudaMemcpyHostToDevice, cuda->copies));
  CUDA_CHECK(cudaEventRecord(piece->arrived, cuda->copies));
  CUDA_CHECK(cudaStreamWaitEvent(cuda->stream, piece->arrived, 0));
  CUDA_CHECK(cudaMemcpy2DAsync(dst, (size_t)stride, ring->device + at, (size_t)row, (size_t)row,
                               (size_t)rows, cudaMemcpyDeviceToDevice, cuda->stream));
  CUDA_CHECK(cudaEventRecord(piece->used, cuda->stream));
}

// A tensor as rows of bytes, dense ones as a single row that may be cut anywhere.
typedef struct ByteRows {
  char *data;
  int64_t rows, row, stride;
} ByteRows;

static ByteRows bytes_of(Tensor t) {
  ByteRows b = {t.data, t.rows, dtype_bytes(t.dtype, t.cols), dtype_bytes(t.dtype, t.stride)};
  if (b.row == b.stride || b.rows == 1)
    return (ByteRows){t.data, 1, b.rows * b.row, b.rows * b.row};
  return b;
}

// The next piece of at most `limit` bytes of what is left, at row r and byte c of it.
static ByteRows piece_of(const ByteRows *b, int64_t r, int64_t c, int64_t limit) {
  int64_t row = b->row - c < limit ? b->row - c : limit;
  int64_t rows = row == b->row ? limit / row : 1;
  if (rows > b->rows - r) rows = b->rows - r;
  return (ByteRows){b->data + r * b->stride + c, rows, row, b->stride};
}

typedef void PieceFn(CudaBackend *cuda, ByteRows piece, char *host);

static void in_pieces(CudaBackend *cuda, Tensor t, char *host, int64_t limit, PieceFn *fn) {
  ByteRows b = bytes_of(t);
  if (b.row == 0) return;
  for (int64_t r = 0, c = 0; r < b.rows;) {
    ByteRows piece = piece_of(&b, r, c, limit);
    fn(cuda, piece, host);
    host += piece.rows * piece.row;
    c += piece.row;
    if (c < b.row) continue;
    r += piece.rows;
    c = 0;
  }
}

static void piece_in(CudaBackend *cuda, ByteRows p, char *host) {
  // A single row has no stride that counts, and CUDA limits the pitch.
  copy_rows_in(cuda, p.data, host, p.rows, p.row, p.rows == 1 ? p.row : p.stride);
}

static void piece_out(CudaBackend *cuda, ByteRows p, char *host) {
  CudaRing *ring = cuda->ring;
  size_t stride = (size_t)(p.rows == 1 ? p.row : p.stride);
  CUDA_CHECK(cudaMemcpy2DAsync(ring->out, (size_t)p.row, p.data, stride, (size_t)p.row,
                               (size_t)p.rows, cudaMemcpyDeviceToHost, cuda->stream));
  cuda->waits++;
  CUDA_CHECK(cudaStreamSynchronize(cuda->stream));
  memcpy(host, ring->out, (size_t)(p.rows * p.row));
}

static void cuda_copy_in(Backend *be, Tensor dst, const void *src) {
  in_pieces(cuda_of(be), dst, (char *)(uintptr_t)src, RING_BYTES / 4, piece_in);
}

static void cuda_copy_out(Backend *be, void *dst, Tensor src) {
  in_pieces(cuda_of(be), src, dst, OUT_BYTES, piece_out);
}

static void cuda_sync(Backend *be) {
  CudaBackend *cuda = cuda_of(be);
  cuda->waits++;
  CUDA_CHECK(cudaStreamSynchronize(cuda->copies));
  CUDA_CHECK(cudaStreamSynchronize(cuda->stream));
}

static int64_t cuda_read_begin(Backend *be, Tensor src) {
  CudaBackend *cuda = cuda_of(be);
  CudaRing *ring = cuda->ring;
  ByteRows b = bytes_of(src);
  CHECK(b.rows * b.row <= TICKET_BYTES, "%lld bytes to read later; at most %d",
        (long long)(b.rows * b.row), TICKET_BYTES);
  int64_t ticket = 0;
  while (ticket < TICKETS && ring->ticket_bytes[ticket] != 0) ticket++;
  CHECK(ticket < TICKETS, "more than %d reads are open", TICKETS);
  ring->ticket_bytes[ticket] = b.rows * b.row;
  if (b.rows * b.row == 0) return ticket;
  CUDA_CHECK(cudaMemcpy2DAsync(ring->ticket_host + ticket * TICKET_BYTES, (size_t)b.row, b.data,
                               (size_t)b.stride, (size_t)b.row, (size_t)b.rows,
                               cudaMemcpyDeviceToHost, cuda->stream));
  CUDA_CHECK(cudaEventRecord(ring->ticket_done[ticket], cuda->stream));
  return ticket;
}

static void cuda_read_end(Backend *be, void *dst, int64_t ticket) {
  CudaBackend *cuda = cuda_of(be);
  CudaRing *ring = cuda->ring;
  CHECK(ticket >= 0 && ticket < TICKETS, "ticket %lld", (long long)ticket);
  if (ring->ticket_bytes[ticket] == 0) return;
  wait_event(cuda, ring->ticket_done[ticket]);
  memcpy(dst, ring->ticket_host + ticket * TICKET_BYTES, (size_t)ring->ticket_bytes[ticket]);
  ring->ticket_bytes[ticket] = 0;
}

Status cuda_ring_open(CudaBackend *cuda, Error *err) {
  CudaRing *ring = calloc(1, sizeof *ring);
  if (ring == NULL) return error_set(err, STATUS_MEMORY, "no memory for the CUDA backend");
  cuda->ring = ring;
  void *device, *host, *out, *tickets;
  if (cudaMalloc(&device, RING_BYTES) != cudaSuccess ||
      cudaMallocHost(&host, RING_BYTES) != cudaSuccess ||
      cudaMallocHost(&out, OUT_BYTES) != cudaSuccess ||
      cudaMallocHost(&tickets, (size_t)TICKETS * TICKET_BYTES) != cudaSuccess) {
    return error_set(err, STATUS_MEMORY, "no pinned memory for copies to the device: %s",
                     cudaGetErrorString(cudaGetLastError()));
  }
  ring->device = device;
  ring->host = host;
  ring->out = out;
  ring->ticket_host = tickets;
  for (int i = 0; i < RING_PIECES; i++) {
    CUDA_CHECK(cudaEventCreateWithFlags(&ring->pieces[i].arrived, cudaEventDisableTiming));
    CUDA_CHECK(cudaEventCreateWithFlags(&ring->pieces[i].used, cudaEventDisableTiming));
  }
  for (int i = 0; i < TICKETS; i++)
    CUDA_CHECK(cudaEventCreateWithFlags(&ring->ticket_done[i], cudaEventDisableTiming));
  return STATUS_OK;
}

void cuda_ring_close(CudaBackend *cuda) {
  CudaRing *ring = cuda->ring;
  if (ring == NULL) return;
  for (int i = 0; i < RING_PIECES; i++) {
    if (ring->pieces[i].arrived != NULL) CUDA_CHECK(cudaEventDestroy(ring->pieces[i].arrived));
    if (ring->pieces[i].used != NULL) CUDA_CHECK(cudaEventDestroy(ring->pieces[i].used));
  }
  for (int i = 0; i < TICKETS; i++) {
    if (ring->ticket_done[i] != NULL) CUDA_CHECK(cudaEventDestroy(ring->ticket_done[i]));
  }
  if (ring->device != NULL) CUDA_CHECK(cudaFree(ring->device));
  if (ring->host != NULL) CUDA_CHECK(cudaFreeHost(ring->host));
  if (ring->out != NULL) CUDA_CHECK(cudaFreeHost(ring->out));
  if (ring->ticket_host != NULL) CUDA_CHECK(cudaFreeHost(ring->ticket_host));
  free(ring);
  cuda->ring = NULL;
}

void cuda_copy_install(Backend *be) {
  be->copy_in = cuda_copy_in;
  be->copy_out = cuda_copy_out;
  be->sync = cuda_sync;
  be->read_begin = cuda_read_begin;
  be->read_end = cuda_read_end;
}
