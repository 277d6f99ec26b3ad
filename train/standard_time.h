// The time of day as files keep it: "2026-01-31T12:00:00Z" (ISO 8601, UTC).
#ifndef VMA_STANDARD_TIME_H
#define VMA_STANDARD_TIME_H

enum { STANDARD_TIME_BYTES = 32 };

// Now; returns `text`.
const char *standard_time(char text[STANDARD_TIME_BYTES]);

#endif
