// A line chart as inline SVG: curves and points over steps, with axes, a legend and a description
// for who cannot see it. Colours are the page's, by class: "train", "smooth", "held", "other".
#ifndef VMA_CHART_H
#define VMA_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Series {
  const char *label, *class;
  const int64_t *x; // [n] steps, ascending
  const double *y;  // [n]; NAN: a gap
  int64_t n;
  bool points; // marks, each with its value as a tooltip, joined by a thin line
} Series;

enum { CHART_SERIES_MAX = 3, CHART_POINTS_MAX = 1000 };

typedef struct Chart {
  const char *id;    // of the element, unique on the page
  const char *title; // no HTML in it
  Series series[CHART_SERIES_MAX];
  int n_series;
} Chart;

// A figure. Curves of more than CHART_POINTS_MAX points are drawn by means of equal stretches. The
// attributes data-x and data-y of a curve's svg element are the ranges of its axes: "least most".
void chart_print(FILE *to, const Chart *chart);

#endif
