#include "chart.h"

#include "html.h"

#include <inttypes.h>
#include <math.h>

enum {
  WIDTH = 720,
  HEIGHT = 260,
  LEFT = 64,
  RIGHT = 12,
  TOP = 12,
  BOTTOM = 34,
  TICKS = 5,
  TICKS_MAX = 20
};

typedef struct Axes {
  double x_least, x_most, y_least, y_most;
} Axes;

static double x_at(const Axes *a, double x) {
  return LEFT + (x - a->x_least) / (a->x_most - a->x_least) * (WIDTH - LEFT - RIGHT);
}

static double y_at(const Axes *a, double y) {
  return TOP + (a->y_most - y) / (a->y_most - a->y_least) * (HEIGHT - TOP - BOTTOM);
}

// 1, 2 or 5 times a power of ten, so that about TICKS of them fill the range.
static double tick_step(double range) {
  double rough = range / TICKS, power = pow(10, floor(log10(rough)));
  double lead = rough / power;
  return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

static bool has_values(const Chart *chart) {
  for (int s = 0; s < chart->n_series; s++) {
    for (int64_t i = 0; i < chart->series[s].n; i++) {
      if (isfinite(chart->series[s].y[i])) return true;
    }
  }
  return false;
}

// Of a chart that has values.
static Axes axes_of(const Chart *chart) {
  Axes a = {.x_least = INFINITY, .x_most = -INFINITY, .y_least = INFINITY, .y_most = -INFINITY};
  for (int s = 0; s < chart->n_series; s++) {
    const Series *series = &chart->series[s];
    for (int64_t i = 0; i < series->n; i++) {
      a.x_least = fmin(a.x_least, (double)series->x[i]);
      a.x_most = fmax(a.x_most, (double)series->x[i]);
      if (!isfinite(series->y[i])) continue;
      a.y_least = fmin(a.y_least, series->y[i]);
      a.y_most = fmax(a.y_most, series->y[i]);
    }
  }
  if (!(a.x_least < a.x_most)) a.x_most = a.x_least + 1;
  double margin =
      a.y_most > a.y_least ? 0.05 * (a.y_most - a.y_least) : fmax(1e-6, 0.1 * fabs(a.y_most));
  bool from_zero = a.y_least >= 0 && a.y_least < margin * 5;
  a.y_least = from_zero ? 0 : a.y_least - margin;
  a.y_most += margin;
  return a;
}

static void print_axes(FILE *to, const Axes *a) {
  double step = tick_step(a->y_most - a->y_least), first = ceil(a->y_least / step);
  for (int i = 0; i < TICKS_MAX && (first + i) * step <= a->y_most; i++) {
    double y = (first + i) * step;
    double value = fabs(y) < step / 1000 ? 0 : y;
    fprintf(to,
            "<path class=\"grid\" d=\"M%d %.2fH%d\"/><text x=\"%d\" y=\"%.2f\" "
            "text-anchor=\"end\">%.6g</text>\n",
            LEFT, y_at(a, y), WIDTH - RIGHT, LEFT - 6, y_at(a, y) + 4, value);
  }
  step = fmax(1, tick_step(a->x_most - a->x_least));
  first = ceil(a->x_least / step);
  for (int i = 0; i < TICKS_MAX && (first + i) * step <= a->x_most; i++) {
    double x = (first + i) * step;
    fprintf(to, "<text x=\"%.2f\" y=\"%d\" text-anchor=\"middle\">%.10g</text>\n", x_at(a, x),
            HEIGHT - BOTTOM + 18, x);
  }
  fprintf(to, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, HEIGHT - BOTTOM,
          WIDTH - RIGHT);
}

// A curve; where a stretch has no value the line is broken.
static void print_curve(FILE *to, const Series *s, const Axes *a) {
  int64_t stretches = s->n < CHART_POINTS_MAX ? s->n : CHART_POINTS_MAX;
  bool joined = false;
  fprintf(to, "<path class=\"line %s\" d=\"", s->class);
  for (int64_t k = 0; k < stretches; k++) {
    int64_t first = k * s->n / stretches, end = (k + 1) * s->n / stretches, count = 0;
    double x = 0, y = 0;
    for (int64_t i = first; i < end; i++) {
      if (!isfinite(s->y[i])) continue;
      x += (double)s->x[i];
      y += s->y[i];
      count++;
    }
    if (count == 0) {
      joined = false;
      continue;
    }
    fprintf(to, "%s%.2f %.2f", joined ? "L" : "M", x_at(a, x / (double)count),
            y_at(a, y / (double)count));
    joined = true;
  }
  fputs("\"/>\n", to);
}

static void print_points(FILE *to, const Series *s, const Axes *a) {
  for (int64_t i = 0; i < s->n; i++) {
    if (!isfinite(s->y[i])) continue;
    fprintf(to,
            "<circle class=\"%s\" cx=\"%.2f\" cy=\"%.2f\" r=\"4\"><title>step %" PRId64
            ": %.9g</title></circle>\n",
            s->class, x_at(a, (double)s->x[i]), y_at(a, s->y[i]), s->x[i], s->y[i]);
  }
}

static void describe(FILE *to, const Series *s) {
  int64_t first = -1, last = -1, least = -1, gaps = 0;
  for (int64_t i = 0; i < s->n; i++) {
    if (!isfinite(s->y[i])) {
      gaps++;
      continue;
    }
    if (first < 0) first = i;
    if (least < 0 || s->y[i] < s->y[least]) least = i;
    last = i;
  }
  if (first < 0) return;
  fprintf(to,
          "%s: %.4g at step %" PRId64 ", %.4g at step %" PRId64 ", lowest %.4g at step %" PRId64,
          s->label, s->y[first], s->x[first], s->y[last], s->x[last], s->y[least], s->x[least]);
  if (gaps > 0) fprintf(to, ", %" PRId64 " without a value", gaps);
  fputs(". ", to);
}

void chart_print(FILE *to, const Chart *chart) {
  if (!has_values(chart)) {
    fprintf(to, "<figure id=\"%s\"><figcaption>%s</figcaption><p>No values.</p></figure>\n",
            chart->id, chart->title);
    return;
  }
  Axes a = axes_of(chart);
  fprintf(to,
          "<figure><figcaption>%s</figcaption>\n<svg id=\"%s\" role=\"img\" viewBox=\"0 0 %d %d\" "
          "aria-labelledby=\"%s-title %s-desc\" data-x=\"%.9g %.9g\" data-y=\"%.9g %.9g\" "
          "xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"%s-title\">%s</title><desc "
          "id=\"%s-desc\">",
          chart->title, chart->id, WIDTH, HEIGHT, chart->id, chart->id, a.x_least, a.x_most,
          a.y_least, a.y_most, chart->id, chart->title, chart->id);
  for (int s = 0; s < chart->n_series; s++) describe(to, &chart->series[s]);
  fputs("</desc>\n", to);
  print_axes(to, &a);
  for (int s = 0; s < chart->n_series; s++) {
    print_curve(to, &chart->series[s], &a);
    if (chart->series[s].points) print_points(to, &chart->series[s], &a);
  }
  fputs("</svg>\n", to);
  if (chart->n_series > 1) {
    fputs("<p class=\"legend\">", to);
    for (int s = 0; s < chart->n_series; s++)
      fprintf(to, "<span class=\"entry\"><span class=\"key %s\"></span>%s</span> ",
              chart->series[s].class, chart->series[s].label);
    fputs("</p>\n", to);
  }
  fputs("</figure>\n", to);
}
