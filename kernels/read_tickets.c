#include "read_tickets.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

int64_t read_tickets_begin(ReadTickets *tickets, Backend *be, Tensor src) {
  int64_t ticket = 0, bytes = src.rows * dtype_bytes(src.dtype, src.cols);
  CHECK(bytes <= READ_TICKET_BYTES, "%lld bytes to read later; at most %d", (long long)bytes,
        READ_TICKET_BYTES);
  while (ticket < READ_TICKETS && tickets->open[ticket]) ticket++;
  CHECK(ticket < READ_TICKETS, "more than %d reads are open", READ_TICKETS);
  if (tickets->rows[ticket] == NULL) tickets->rows[ticket] = malloc(READ_TICKET_BYTES);
  CHECK(tickets->rows[ticket] != NULL, "no memory for %d bytes", READ_TICKET_BYTES);
  tickets->open[ticket] = true;
  tickets->bytes[ticket] = bytes;
  be->copy_out(be, tickets->rows[ticket], src);
  return ticket;
}

void read_tickets_end(ReadTickets *tickets, void *dst, int64_t ticket) {
  CHECK(ticket >= 0 && ticket < READ_TICKETS && tickets->open[ticket], "ticket %lld is not open",
        (long long)ticket);
  memcpy(dst, tickets->rows[ticket], (size_t)tickets->bytes[ticket]);
  tickets->open[ticket] = false;
}

void read_tickets_free(ReadTickets *tickets) {
  for (int i = 0; i < READ_TICKETS; i++) free(tickets->rows[i]);
}
