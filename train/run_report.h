// The page that a run leaves for people.
#ifndef VMA_RUN_REPORT_H
#define VMA_RUN_REPORT_H

#include "run_parts.h"

// Writes output.dir/report.html. state: "finished", "stopped" or "failed"; message: why it ended.
Status run_write_report(const Run *run, const char *state, const char *message, Error *err);

#endif
