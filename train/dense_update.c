/* One training step of a dense layer's weight while it comes out of memory once: the gradient of its input, its own gradient,
 * Adam. A few rows of the weight at a time; each row's numbers depend on no other, and so on no number of threads.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__AVX512F__)
#define WIDE 16
#define CLIPS 4 /* whose products with ROWS rows of the weight are summed in registers at once */
#else
#define WIDE 8
#define CLIPS 2
#endif
#define BLOCK (2 * WIDE)
#define ROWS 6

typedef float vec __attribute__((vector_size(WIDE * 4)));
typedef float loose __attribute__((vector_size(WIDE * 4), aligned(4), may_alias));
typedef float half __attribute__((vector_size(WIDE * 2)));
typedef float four __attribute__((vector_size(16)));

static inline vec load(const float *from) { return *(const loose *)from; }
static inline void store(float *to, vec value) { *(loose *)to = value; }

static inline float total(vec sum) {
    union { vec whole; half parts[2]; } two = {sum};
    union { half whole; four parts[WIDE / 8]; } rest = {two.parts[0] + two.parts[1]};
    four last = WIDE == 16 ? rest.parts[0] + rest.parts[WIDE / 8 - 1] : rest.parts[0];
    return (last[0] + last[1]) + (last[2] + last[3]);
}

typedef struct { int64_t n_clips, n_in, n_out; } Sizes;
typedef struct { float step, eps, decay, one_less_beta1, beta2, one_less_beta2, scale; } Adam;

/* a few rows of the weight and of Adam's moments, and the weight's next rows */
typedef struct { float *w, *m, *v; const float *next; } Rows;

/* dx [clip, row] = dy [clip, n_out] times w [row, n_out], transposed */
static inline __attribute__((always_inline)) void input_gradient(Sizes s, int rows, int clips, const float *w, const float *dy, float *dx) {
    vec sum[CLIPS][ROWS];
    for (int c = 0; c < clips; c++)
        for (int r = 0; r < rows; r++) sum[c][r] = (vec){0};
    for (int64_t n = 0; n < s.n_out; n += WIDE) {
        vec d[CLIPS];
        for (int c = 0; c < clips; c++) d[c] = load(dy + c * s.n_out + n);
        for (int r = 0; r < rows; r++) {
            vec weight = load(w + r * s.n_out + n);
            for (int c = 0; c < clips; c++) sum[c][r] += d[c] * weight;
        }
    }
    for (int c = 0; c < clips; c++)
        for (int r = 0; r < rows; r++) dx[c * s.n_in + r] = total(sum[c][r]);
}

/* g [row, n_out] = x [clip, row], transposed, times dy [clip, n_out]; meanwhile what is needed next comes out of memory */
static inline __attribute__((always_inline)) void weight_gradient(Sizes s, int rows, Rows at, const float *x, const float *dy, float *g) {
    for (int64_t n = 0; n < s.n_out; n += BLOCK) {
        for (int r = 0; r < rows; r++)
            for (int64_t i = r * s.n_out + n; i < r * s.n_out + n + BLOCK; i += 16) {
                __builtin_prefetch(at.m + i, 1, 2);
                __builtin_prefetch(at.v + i, 1, 2);
                __builtin_prefetch(at.next + i, 1, 2);
            }
        vec sum[ROWS][2];
        for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = (vec){0};
        for (int64_t c = 0; c < s.n_clips; c++) {
            vec left = load(dy + c * s.n_out + n), right = load(dy + c * s.n_out + n + WIDE);
            for (int r = 0; r < rows; r++) {
                float value = x[c * s.n_in + r];
                sum[r][0] += value * left;
                sum[r][1] += value * right;
            }
        }
        for (int r = 0; r < rows; r++) {
            store(g + r * s.n_out + n, sum[r][0]);
            store(g + r * s.n_out + n + WIDE, sum[r][1]);
        }
    }
}

static inline void adam(Adam a, int64_t n, const float *g, float *restrict w, float *restrict m, float *restrict v) {
    for (int64_t i = 0; i < n; i++) {
        float grad = g[i] + a.decay * w[i];
        m[i] += a.one_less_beta1 * (grad - m[i]);
        v[i] = a.beta2 * v[i] + a.one_less_beta2 * grad * grad;
        w[i] -= a.step * m[i] / (sqrtf(v[i]) * a.scale + a.eps);
    }
}

static inline __attribute__((always_inline)) void some_rows(Sizes s, Adam a, int rows, Rows at, const float *x, const float *dy, float *dx, float *g) {
    int64_t c = 0;
    if (dx) {
        for (; c + CLIPS <= s.n_clips; c += CLIPS) input_gradient(s, rows, CLIPS, at.w, dy + c * s.n_out, dx + c * s.n_in);
        for (; c < s.n_clips; c++) input_gradient(s, rows, 1, at.w, dy + c * s.n_out, dx + c * s.n_in);
    }
    weight_gradient(s, rows, at, x, dy, g);
    adam(a, rows * s.n_out, g, at.w, at.m, at.v);
}

/* w, m, v [n_in, n_out]; x, dx [n_clips, n_in], dx may be null; dy [n_clips, n_out]; n_out a multiple of BLOCK */
void dense_update(float *w, float *m, float *v, const float *x, const float *dy, float *dx, int64_t n_clips, int64_t n_in, int64_t n_out,
                  float step, float eps, float decay, float one_less_beta1, float beta2, float one_less_beta2, float scale,
                  int threads) {
    Sizes s = {n_clips, n_in, n_out};
    Adam a = {step, eps, decay, one_less_beta1, beta2, one_less_beta2, scale};
#pragma omp parallel num_threads(threads)
    {
        float *g = malloc(ROWS * n_out * sizeof(float));
#pragma omp for schedule(static)
        for (int64_t group = 0; group < (n_in + ROWS - 1) / ROWS; group++) {
            int64_t first = group * ROWS, end = first + ROWS < n_in ? first + ROWS : n_in;
            int rows = end - first == ROWS ? ROWS : 1;
            for (int64_t k = first; k < end; k += rows) {
                int64_t at = k * n_out, next = k + rows < n_in ? at + rows * n_out : at;
                Rows these = {w + at, m + at, v + at, w + next};
                if (rows == ROWS) some_rows(s, a, ROWS, these, x + k, dy, dx ? dx + k : 0, g);
                else some_rows(s, a, 1, these, x + k, dy, dx ? dx + k : 0, g);
            }
        }
        free(g);
    }
}

int64_t dense_update_block(void) { return BLOCK; }
