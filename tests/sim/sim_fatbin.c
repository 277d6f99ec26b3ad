// The PTX and the machine code of one architecture inside a fat binary, as nvcc 12 and 13 lay it
// out: a wrapper that the host object registers, a header, then entries one after the other, each
// with its own header.
#include <stdio.h>
#include <string.h>

#include "sim_fatbin.h"

enum {
  WRAPPER_MAGIC = 0x466243b1,
  HEADER_VERSION = 1,
  ENTRY_PTX = 1,
  ENTRY_ELF = 2,
  ENTRY_VERSION = 0x101,
  FLAG_LZ4 = 0x2000,
  FLAG_ZSTD = 0x8000,
};
#define HEADER_MAGIC 0xba55ed50u

typedef struct Wrapper {
  uint32_t magic, version;
  const uint8_t *data;
  const void *unused;
} Wrapper;

typedef struct Header {
  uint32_t magic;
  uint16_t version, header_bytes;
  uint64_t bytes; // of all entries
} Header;

typedef struct Entry {
  uint16_t kind, version;
  uint32_t header_bytes;
  uint64_t bytes;
  uint32_t packed_bytes, options;
  uint16_t minor, major;
  uint32_t arch, name_offset, name_bytes;
  uint64_t flags;
} Entry;

#define UNKNOWN                                                                                    \
  "the fat binary's layout is not known (%s): sim_fatbin.c knows that of nvcc 12 and 13"

// Calls `fn` for every entry; false: the layout is not known, and `message` says so.
typedef void EntryFn(void *user, const Entry *entry, const uint8_t *data);

static bool each_entry(const void *wrapper, EntryFn *fn, void *user, char *message,
                       size_t message_size) {
  Wrapper w;
  memcpy(&w, wrapper, sizeof w);
  if (w.magic != WRAPPER_MAGIC || w.data == NULL) {
    snprintf(message, message_size, UNKNOWN, "magic number of the wrapper");
    return false;
  }
  Header header;
  memcpy(&header, w.data, sizeof header);
  if (header.magic != HEADER_MAGIC || header.version != HEADER_VERSION ||
      header.header_bytes < sizeof header) {
    snprintf(message, message_size, UNKNOWN, "magic number or version of the header");
    return false;
  }
  uint64_t at = header.header_bytes;
  const uint64_t end = at + header.bytes;
  while (at + sizeof(Entry) <= end) {
    Entry entry;
    memcpy(&entry, w.data + at, sizeof entry);
    if (entry.version != ENTRY_VERSION || entry.header_bytes < sizeof entry ||
        entry.bytes > end - at) {
      snprintf(message, message_size, UNKNOWN, "version or size of an entry");
      return false;
    }
    fn(user, &entry, w.data + at + entry.header_bytes);
    at += entry.header_bytes + entry.bytes;
  }
  return true;
}

typedef struct Wanted {
  uint16_t kind;
  int arch, found;
  bool packed, any;
  const uint8_t *best;
  int64_t bytes;
} Wanted;

static void take(void *user, const Entry *entry, const uint8_t *data) {
  Wanted *w = user;
  if (entry->kind != w->kind) return;
  w->any = true;
  if ((entry->flags & (FLAG_LZ4 | FLAG_ZSTD)) != 0 || entry->packed_bytes != 0) {
    w->packed = true;
  } else if ((int)entry->arch <= w->arch && (int)entry->arch > w->found) {
    w->best = data;
    w->bytes = (int64_t)entry->bytes;
    w->found = (int)entry->arch;
  }
}

const char *sim_fatbin_ptx(const void *wrapper, int arch, int64_t *bytes, int *found, char *message,
                           size_t message_size) {
  Wanted w = {.kind = ENTRY_PTX, .arch = arch};
  if (!each_entry(wrapper, take, &w, message, message_size)) return NULL;
  *found = w.found;
  if (w.best != NULL) {
    *bytes = (int64_t)strnlen((const char *)w.best, (size_t)w.bytes);
    return (const char *)w.best;
  }
  if (w.packed)
    snprintf(message, message_size, "the PTX is compressed: compile with nvcc --no-compress");
  else
    snprintf(message, message_size, "the fat binary has no PTX %s%d: compile with code=compute_%d",
             w.any ? "for compute capability up to " : "at all, looked for ", arch, arch);
  return NULL;
}

const uint8_t *sim_fatbin_machine_code(const void *wrapper, int arch, int64_t *bytes) {
  char message[200];
  Wanted w = {.kind = ENTRY_ELF, .arch = arch};
  if (!each_entry(wrapper, take, &w, message, sizeof message)) return NULL;
  *bytes = w.bytes;
  return w.best;
}
