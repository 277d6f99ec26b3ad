// The shadow of memory, for sim_check*.c only, and what is asked of whole ranges: who touched each
// pair of bytes last, and what warps know of each other.
#ifndef VMA_SIM_CHECK_H
#define VMA_SIM_CHECK_H

#include "sim_memory.h"

enum { CHECK_WARPS = 32, CHECK_GRAIN = 2 }; // bytes of a cell

// A thread's access: what a later one must be ordered after. count and sync are the warp's own
// clocks then: of barriers it came through, of __syncwarp.
typedef struct Mark {
  uint32_t block;
  uint16_t thread;
  uint8_t kind; // 0 none, 1 plain, 2 atomic, 3 plain and of one byte
  uint8_t spare;
  uint32_t count, sync;
  int32_t pc;
} Mark;

// Two reads: of the first thread in a stretch without order, and of the last of another thread.
typedef struct Cell {
  Mark write, read, other;
  uint32_t launch; // that the marks are of
  bool written, in_flight;
  uint16_t sources; // cp.async that read it and have not been waited for, of the block that runs
} Cell;

typedef struct Copy { // of cp.async, until its wait
  uint16_t thread;
  uint8_t bytes;
  int32_t group; // -1: not committed yet
  uint32_t offset;
  int64_t pc;
  Cell *source; // the first of source_cells
  int source_cells;
  uint8_t data[16];
} Copy;

// Of a warp once it has synchronised only some of its lanes: [l][m] is the `sync` of what lane m
// did last before lane l.
typedef struct Lanes {
  uint32_t known[32][32];
} Lanes;

typedef struct Shadow {                     // of a block
  Cell *shared;                             // [shared_bytes / CHECK_GRAIN]
  uint8_t *local;                           // [thread][local_bytes]: whether written
  uint32_t known[CHECK_WARPS][CHECK_WARPS]; // [w][v]: the count of v that w comes after
  uint32_t count[CHECK_WARPS], sync[CHECK_WARPS];
  Lanes *lanes[CHECK_WARPS];        // NULL: all lanes have synchronised each time
  int32_t groups[CHECK_WARPS * 32]; // committed by each thread
  Copy *copies;
  int64_t n_copies, room;
} Shadow;

Mark check_mark(const SimBlock *block, int thread, uint8_t kind, int64_t pc);
// Records an access of `bytes` at the cells from `first` on, reporting what it is not ordered
// after. `where`: for reports, the memory's name.
void check_cells(SimBlock *block, Cell *cells, int64_t first, int64_t n, Mark mark, bool writes,
                 const char *where);

// How the memory's parts serve an access of a warp: sim_check_count.c
void check_count_shared(uint32_t mask, int bytes, const uint64_t *address);
void check_count_global(const SimAccess *access);

// The op's declared range that the access lies in, or NULL. *guess: where the last one was found.
const SimRange *check_declared(const SimOp *op, uint64_t at, int64_t bytes, bool reads, bool writes,
                               int *guess);
// "tensor arena/name of 64 bytes, byte 12"
void check_name_place(const SimMemory *memory, uint64_t at, char *text, size_t size);

// Rows of device memory that a piece of work (`who`) uses as its `what`: reports what the op that
// has begun has not declared, what was released, what is no device memory. false: it is no memory
// of the device's, so the work cannot be carried out.
bool sim_check_range(const char *who, const char *what, const void *from, int64_t rows, int64_t row,
                     int64_t stride, bool reads, bool writes);
// Reports bytes that nothing was written to; false: there were some.
bool sim_check_written(const char *who, const char *what, const void *from, int64_t rows,
                       int64_t row, int64_t stride);

// The cells of global memory from an address on, made at first use; NULL: in no allocation.
Cell *check_global_cells(const void *address);

// The block ends: what was never waited for is reported, and reads no more.
void check_async_end(SimBlock *block);

#endif
