// What the machine code says of a kernel: nvcc's ELF files list the registers of each function in
// the section .nv.info.
#include <elf.h>
#include <string.h>

#include "sim_fatbin.h"

enum { FORMAT_SIZED = 4, ATTRIBUTE_REGISTERS = 0x2f };

typedef struct Cubin {
  const uint8_t *data;
  int64_t bytes;
  Elf64_Ehdr head;
} Cubin;

static bool section(const Cubin *c, int i, Elf64_Shdr *out) {
  const uint64_t at = c->head.e_shoff + (uint64_t)i * sizeof *out;
  if (i >= c->head.e_shnum || at + sizeof *out > (uint64_t)c->bytes) return false;
  memcpy(out, c->data + at, sizeof *out);
  return out->sh_type == SHT_NOBITS || out->sh_offset + out->sh_size <= (uint64_t)c->bytes;
}

static bool text_is(const Cubin *c, const Elf64_Shdr *strings, uint64_t at, const char *text) {
  const uint64_t n = strlen(text) + 1;
  return at + n <= strings->sh_size && memcmp(c->data + strings->sh_offset + at, text, n) == 0;
}

static bool symbol_is(const Cubin *c, const Elf64_Shdr *symbols, uint32_t i, const char *name) {
  Elf64_Shdr strings;
  Elf64_Sym symbol;
  if ((i + UINT64_C(1)) * sizeof symbol > symbols->sh_size ||
      !section(c, (int)symbols->sh_link, &strings))
    return false;
  memcpy(&symbol, c->data + symbols->sh_offset + i * sizeof symbol, sizeof symbol);
  return text_is(c, &strings, symbol.st_name, name);
}

// Attributes: a byte of format, a byte of name, two of size or value; then the sized ones' data.
static int registers_in(const Cubin *c, const Elf64_Shdr *info, const char *kernel) {
  Elf64_Shdr symbols;
  if (!section(c, (int)info->sh_link, &symbols)) return 0;
  const uint8_t *p = c->data + info->sh_offset, *end = p + info->sh_size;
  while (p + 4 <= end) {
    uint16_t size;
    uint32_t pair[2];
    memcpy(&size, p + 2, sizeof size);
    if (p[0] != FORMAT_SIZED) {
      p += 4;
      continue;
    }
    if (p + 4 + size > end) return 0;
    if (p[1] == ATTRIBUTE_REGISTERS && size >= sizeof pair) {
      memcpy(pair, p + 4, sizeof pair);
      if (symbol_is(c, &symbols, pair[0], kernel)) return (int)pair[1];
    }
    p += 4 + size;
  }
  return 0;
}

int sim_cubin_registers(const uint8_t *elf, int64_t bytes, const char *kernel) {
  Cubin c = {.data = elf, .bytes = bytes};
  Elf64_Shdr names, s;
  if (elf == NULL || bytes < (int64_t)sizeof c.head) return 0;
  memcpy(&c.head, elf, sizeof c.head);
  if (memcmp(c.head.e_ident, ELFMAG, SELFMAG) != 0 || !section(&c, c.head.e_shstrndx, &names))
    return 0;
  for (int i = 0; i < c.head.e_shnum; i++) {
    if (!section(&c, i, &s) || !text_is(&c, &names, s.sh_name, ".nv.info")) continue;
    return registers_in(&c, &s, kernel);
  }
  return 0;
}
