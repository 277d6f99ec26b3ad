// Tickets of read_begin and read_end for backends whose memory is the host's: the rows are taken at
// once and kept until they are fetched.
#ifndef VMA_READ_TICKETS_H
#define VMA_READ_TICKETS_H

#include "backend.h"

enum { READ_TICKETS = 64, READ_TICKET_BYTES = 64 << 10 };

typedef struct ReadTickets {
  void *rows[READ_TICKETS]; // made at a ticket's first use, and kept
  bool open[READ_TICKETS];
  int64_t bytes[READ_TICKETS];
} ReadTickets;

// The copy is made by be->copy_out, of any tensor, empty ones too.
int64_t read_tickets_begin(ReadTickets *tickets, Backend *be, Tensor src);
void read_tickets_end(ReadTickets *tickets, void *dst, int64_t ticket);
void read_tickets_free(ReadTickets *tickets);

#endif
