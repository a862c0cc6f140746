/* Two convolutions of width 3 over a vector as a 1-D signal, max-pool 2 and ReLU after each: forward and
 * backward, clip by clip.
 *
 * Signals lie as [position, channel] with a zero position before and zeros behind, so that what a position sees, [3 x channel],
 * is a row of memory. Channels are multiples of BLOCK floats. Sums over clips are made in fixed groups, so that the numbers do not
 * depend on how many threads run.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define WIDE 16
#else
#define WIDE 8
#endif
#define BLOCK (2 * WIDE)
#define AT_ONCE 6      /* positions, or rows of a gradient, whose sums stay in registers beside two vectors of weights */
#define POSITIONS 128  /* of a signal and of its gradient that fit in the first cache together */

typedef float vec __attribute__((vector_size(WIDE * 4)));
typedef float loose __attribute__((vector_size(WIDE * 4), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(WIDE * 4)));
typedef int8_t bytes __attribute__((vector_size(WIDE)));
typedef int8_t loose_bytes __attribute__((vector_size(WIDE), aligned(1), may_alias));

static inline vec load(const float *from) { return *(const loose *)from; }
static inline void store(float *to, vec value) { *(loose *)to = value; }
static inline vec only(vec value, mask where) { return (vec)((mask)value & where); }
static inline vec larger_of(vec a, vec b, mask a_is_larger) { return (vec)(((mask)a & a_is_larger) | ((mask)b & ~a_is_larger)); }

/* out [position, n_out] = each position's [3 x n_in] times weight [3 x n_in, n_out]; out has room for a multiple of AT_ONCE */
static void convolve(const float *in, const float *weight, float *out, int64_t n_positions, int64_t n_in, int64_t n_out) {
    for (int64_t n = 0; n < n_out; n += BLOCK)
        for (int64_t p = 0; p < n_positions; p += AT_ONCE) {
            vec sum[AT_ONCE][2];
            for (int q = 0; q < AT_ONCE; q++) sum[q][0] = sum[q][1] = (vec){0};
            const float *x = in + p * n_in, *w = weight + n;
            for (int64_t i = 0; i < 3 * n_in; i++, w += n_out) {
                vec left = load(w), right = load(w + WIDE);
#pragma GCC unroll 6
                for (int q = 0; q < AT_ONCE; q++) {
                    float value = x[q * n_in + i];
                    sum[q][0] += value * left;
                    sum[q][1] += value * right;
                }
            }
            for (int q = 0; q < AT_ONCE; q++) {
                store(out + (p + q) * n_out + n, sum[q][0]);
                store(out + (p + q) * n_out + n + WIDE, sum[q][1]);
            }
        }
}

/* sums [3 x n_in, n_out] += what each position saw, transposed, times the gradient d [position, n_out] */
static void weight_gradient(const float *in, const float *d, float *sums, int64_t n_positions, int64_t n_in, int64_t n_out) {
    for (int64_t from = 0; from < n_positions; from += POSITIONS) {
        int64_t to = from + POSITIONS < n_positions ? from + POSITIONS : n_positions;
        for (int64_t n = 0; n < n_out; n += BLOCK)
            for (int64_t i = 0; i < 3 * n_in; i += AT_ONCE) {
                vec sum[AT_ONCE][2];
                for (int q = 0; q < AT_ONCE; q++) {
                    sum[q][0] = load(sums + (i + q) * n_out + n);
                    sum[q][1] = load(sums + (i + q) * n_out + n + WIDE);
                }
                for (int64_t p = from; p < to; p++) {
                    vec left = load(d + p * n_out + n), right = load(d + p * n_out + n + WIDE);
                    const float *x = in + p * n_in + i;
#pragma GCC unroll 6
                    for (int q = 0; q < AT_ONCE; q++) {
                        sum[q][0] += x[q] * left;
                        sum[q][1] += x[q] * right;
                    }
                }
                for (int q = 0; q < AT_ONCE; q++) {
                    store(sums + (i + q) * n_out + n, sum[q][0]);
                    store(sums + (i + q) * n_out + n + WIDE, sum[q][1]);
                }
            }
    }
}

/* n_tokens > 0: what comes out is pooled to so many positions by adaptive averages, as torch does it */
typedef struct { int64_t n_models, n_rows, width, n1, n2, n_tokens; } Sizes;

typedef struct { float *x, *y1, *conv, *dy1, *y2; } Scratch;

static Scratch scratch(const Sizes *s) {
    int64_t half = s->width / 2, room = half + AT_ONCE + 3;
    int64_t n[4] = {2 * half + 4, room * s->n1, room * s->n2, room * s->n1};
    float *all = calloc(n[0] + n[1] + n[2] + n[3] + s->width / 4 * s->n2, sizeof(float));
    float *y1 = all + n[0], *conv = y1 + n[1], *dy1 = conv + n[2];
    return (Scratch){all, y1, conv, dy1, dy1 + n[3]};
}

/* y1, from its position 1 on: the first convolution of one clip, pooled, rectified */
static void first_layer(const Sizes *s, const float *x, const float *w, const float *bias, Scratch *t) {
    int64_t n1 = s->n1, half = s->width / 2;
    memcpy(t->x + 1, x, s->width * sizeof(float));
    for (int64_t n = 0; n < n1; n += WIDE) {
        vec a = load(w + n), b = load(w + n1 + n), c = load(w + 2 * n1 + n), shift = load(bias + n);
        for (int64_t j = 0; j < half; j++) {
            const float *at = t->x + 2 * j;
            vec even = at[0] * a + at[1] * b + at[2] * c, odd = at[1] * a + at[2] * b + at[3] * c;
            vec y = larger_of(even, odd, even >= odd) + shift;
            store(t->y1 + (j + 1) * n1 + n, only(y, y > 0));
        }
    }
}

static int64_t first_of(const Sizes *s, int64_t token) { return token * (s->width / 4) / s->n_tokens; }
static int64_t end_of(const Sizes *s, int64_t token) { return ((token + 1) * (s->width / 4) + s->n_tokens - 1) / s->n_tokens; }

/* out [token, n2] = means over each token's positions of y */
static void to_tokens(const Sizes *s, const float *y, float *out) {
    for (int64_t token = 0; token < s->n_tokens; token++) {
        int64_t from = first_of(s, token), to = end_of(s, token);
        for (int64_t n = 0; n < s->n2; n += WIDE) {
            vec sum = {0};
            for (int64_t j = from; j < to; j++) sum += load(y + j * s->n2 + n);
            store(out + token * s->n2 + n, sum / (float)(to - from));
        }
    }
}

static void from_tokens(const Sizes *s, const float *dout, float *dy) {
    memset(dy, 0, s->width / 4 * s->n2 * sizeof(float));
    for (int64_t token = 0; token < s->n_tokens; token++) {
        int64_t from = first_of(s, token), to = end_of(s, token);
        for (int64_t n = 0; n < s->n2; n += WIDE) {
            vec share = load(dout + token * s->n2 + n) / (float)(to - from);
            for (int64_t j = from; j < to; j++) store(dy + j * s->n2 + n, load(dy + j * s->n2 + n) + share);
        }
    }
}

/* which [clip, position, n2], where given: -1 the first of two positions was let through, 1 the second, 0 neither */
void two_convolutions(const float *x, const float *w1, const float *b1, const float *w2, const float *b2, float *out, int8_t *which,
                      int64_t n_models, int64_t n_rows, int64_t width, int64_t n1, int64_t n2, int64_t n_tokens, int threads) {
    Sizes s = {n_models, n_rows, width, n1, n2, n_tokens};
    int64_t quarter = width / 4, n_out = n_tokens ? n_tokens : quarter;
#pragma omp parallel num_threads(threads)
    {
        Scratch t = scratch(&s);
#pragma omp for schedule(static)
        for (int64_t clip = 0; clip < n_models * n_rows; clip++) {
            int64_t model = clip / n_rows;
            float *to = out + clip * n_out * n2, *y2 = n_tokens ? t.y2 : to;
            first_layer(&s, x + clip * width, w1 + model * 3 * n1, b1 + model * n1, &t);
            convolve(t.y1, w2 + model * 3 * n1 * n2, t.conv, 2 * quarter, n1, n2);
            for (int64_t j = 0; j < quarter; j++)
                for (int64_t n = 0; n < n2; n += WIDE) {
                    vec even = load(t.conv + 2 * j * n2 + n), odd = load(t.conv + (2 * j + 1) * n2 + n);
                    mask first = even >= odd;
                    vec y = larger_of(even, odd, first) + load(b2 + model * n2 + n);
                    mask passed = y > 0;
                    store(y2 + j * n2 + n, only(y, passed));
                    if (which)
                        *(loose_bytes *)(which + (clip * quarter + j) * n2 + n) =
                            __builtin_convertvector((first | (~first & 1)) & passed, bytes);
                }
            if (n_tokens) to_tokens(&s, y2, to);
        }
        free(t.x);
    }
}

/* d, from its position 1 on: the gradient of the second convolution's positions, of which at most one in two was let through */
static void unpool(const Sizes *s, const float *dy, const int8_t *which, float *d, float *bias_sums) {
    int64_t n2 = s->n2, quarter = s->width / 4;
    memset(d + (1 + 2 * quarter) * n2, 0, AT_ONCE * n2 * sizeof(float));
    memset(d, 0, n2 * sizeof(float));
    for (int64_t n = 0; n < n2; n += WIDE) {
        vec total = load(bias_sums + n);
        for (int64_t j = 0; j < quarter; j++) {
            mask passed = __builtin_convertvector(*(const loose_bytes *)(which + j * n2 + n), mask);
            vec g = load(dy + j * n2 + n), first = only(g, passed < 0), second = only(g, passed > 0);
            total += first + second;
            store(d + (1 + 2 * j) * n2 + n, first);
            store(d + (2 + 2 * j) * n2 + n, second);
        }
        store(bias_sums + n, total);
    }
}

static void first_gradient(const Sizes *s, const float *w, const Scratch *t, float *sums, float *bias_sums) {
    int64_t n1 = s->n1, half = s->width / 2;
    for (int64_t n = 0; n < n1; n += WIDE) {
        vec a = load(w + n), b = load(w + n1 + n), c = load(w + 2 * n1 + n);
        vec da = load(sums + n), db = load(sums + n1 + n), dc = load(sums + 2 * n1 + n), total = load(bias_sums + n);
        for (int64_t j = 0; j < half; j++) {
            const float *at = t->x + 2 * j;
            vec even = at[0] * a + at[1] * b + at[2] * c, odd = at[1] * a + at[2] * b + at[3] * c;
            vec g = only(load(t->dy1 + j * n1 + n), load(t->y1 + (j + 1) * n1 + n) > 0);
            mask first = even >= odd;
            vec here = only(g, first), next = only(g, ~first);
            total += g;
            da += at[0] * here + at[1] * next;
            db += at[1] * here + at[2] * next;
            dc += at[2] * here + at[3] * next;
        }
        store(sums + n, da);
        store(sums + n1 + n, db);
        store(sums + 2 * n1 + n, dc);
        store(bias_sums + n, total);
    }
}

/* back2 [model, 3 x n2, n1] is w2 with its positions reversed and its channels transposed; sums are [model, group, ...], zero */
void two_convolutions_backward(const float *x, const float *w1, const float *b1, const float *back2, const float *dout,
                               const int8_t *which, float *dw1, float *db1, float *dw2, float *db2, int64_t n_models, int64_t n_rows,
                               int64_t width, int64_t n1, int64_t n2, int64_t n_tokens, int64_t n_groups, int threads) {
    Sizes s = {n_models, n_rows, width, n1, n2, n_tokens};
    int64_t quarter = width / 4, n_out = n_tokens ? n_tokens : quarter, each = (n_rows + n_groups - 1) / n_groups;
#pragma omp parallel num_threads(threads)
    {
        Scratch t = scratch(&s);
#pragma omp for schedule(static)
        for (int64_t group = 0; group < n_models * n_groups; group++) {
            int64_t model = group / n_groups, from = group % n_groups * each, to = from + each < n_rows ? from + each : n_rows;
            for (int64_t row = from; row < to; row++) {
                int64_t clip = model * n_rows + row;
                const float *dy = dout + clip * n_out * n2;
                if (n_tokens) from_tokens(&s, dy, t.y2);
                first_layer(&s, x + clip * width, w1 + model * 3 * n1, b1 + model * n1, &t);
                unpool(&s, n_tokens ? t.y2 : dy, which + clip * quarter * n2, t.conv, db2 + group * n2);
                weight_gradient(t.y1, t.conv + n2, dw2 + group * 3 * n1 * n2, 2 * quarter, n1, n2);
                convolve(t.conv, back2 + model * 3 * n2 * n1, t.dy1, width / 2, n2, n1);
                first_gradient(&s, w1 + model * 3 * n1, &t, dw1 + group * 3 * n1, db1 + group * n1);
            }
        }
        free(t.x);
    }
}

int64_t two_convolutions_block(void) { return BLOCK; }
