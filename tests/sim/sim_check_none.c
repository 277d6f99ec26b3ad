// No checks: launches run for their values.
#include "sim.h"

uint32_t sim_check_access(SimBlock *block, const SimAccess *access) {
  (void)block;
  return access->mask;
}
void sim_check_block_begin(SimBlock *block) {
  (void)block;
}
void sim_check_block_end(SimBlock *block) {
  (void)block;
}
void sim_check_launch_begin(SimLaunch *launch) {
  (void)launch;
}
void sim_check_launch_end(SimLaunch *launch) {
  (void)launch;
}
void sim_check_barrier(SimBlock *block, int id, const uint32_t *masks) {
  (void)block, (void)id, (void)masks;
}
void sim_check_warp_sync(SimBlock *block, int warp, uint32_t mask) {
  (void)block, (void)warp, (void)mask;
}
void sim_check_async_commit(SimBlock *block, int warp, uint32_t mask) {
  (void)block, (void)warp, (void)mask;
}
void sim_check_async_wait(SimBlock *block, int warp, uint32_t mask, int pending, int64_t pc) {
  (void)block, (void)warp, (void)mask, (void)pending, (void)pc;
}
void sim_check_async_copy(SimBlock *block, int warp, uint32_t mask, int bytes,
                          const int *source_bytes, const uint64_t *shared_offset,
                          const uint64_t *global_address, int64_t pc) {
  (void)block, (void)warp, (void)mask, (void)bytes, (void)source_bytes, (void)shared_offset,
      (void)global_address, (void)pc;
}
