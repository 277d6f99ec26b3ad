// How much memory a run on this machine's CPU may take.
#ifndef VMA_FREE_MEMORY_H
#define VMA_FREE_MEMORY_H

#include <stdint.h>

// What the kernel says can be had without swapping (/proc/meminfo, MemAvailable), or what the
// limits of this process's control groups leave (version 1 and 2, every group above its own too)
// where that is less; a twentieth of it stays free for others. 0 when the kernel does not say. The
// paths are looked up under `root`: "" but in tests.
int64_t free_memory_bytes(const char *root);

// What this process holds in memory now, after giving back to the system what it has freed.
int64_t process_memory_bytes(void);

#endif
