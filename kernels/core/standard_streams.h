// Standard input, output and error when whoever started the program has closed them (`>&-`).
//
// The system gives the lowest free number to the next file that is opened: with standard output
// closed that may be metrics.jsonl, and what is printed then goes into it.
#ifndef VMA_STANDARD_STREAMS_H
#define VMA_STANDARD_STREAMS_H

// First thing in main: holds the numbers 0 to 2 that are closed. Reading from or writing to such a
// stream fails as if it were closed.
void standard_streams_hold(void);

#endif
