/* The selective scan of Mamba (Gu & Dao 2023, equation 2) with skip and gate, forward only, float32.
 *
 *   h[t] = exp(s[t] a) h[t-1] + s[t] b[t] u[t]      y[t] = (c[t] . h[t] + d u[t]) silu(z[t])      s = softplus(dt)
 *
 * BLOCK channels of one window are scanned at a time, so that their states stay in the first-level cache, and the inner
 * loops have a constant length that compilers turn into vector instructions. `exp` and `log` are written out for the
 * same reason.
 */
#include <stdint.h>

enum { BLOCK = 96, MAX_STATE = 64 };

/* Relative error 2e-7 on [-87, 87], clamped outside: 2^k times a polynomial (Cephes) on [-ln 2 / 2, ln 2 / 2]. */
static inline float exponential(float x) {
    union { float f; int32_t i; } shifted, power;
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    shifted.f = x * 1.44269504f + 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer, in the low bits */
    const float k = shifted.f - 12582912.0f;
    const float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    power.i = (shifted.i + 127) << 23;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * power.f;
}

/* log(1 + exp(x)), relative error 3e-7: log(1 + y) = 2 atanh(y / (2 + y)), by its series, for y = exp(-|x|). */
static inline float softplus(float x) {
    const float y = exponential(x < 0.0f ? x : -x);
    const float r = y / (2.0f + y), r2 = r * r;
    float p = 1.0f / 15;
    p = p * r2 + 1.0f / 13;
    p = p * r2 + 1.0f / 11;
    p = p * r2 + 1.0f / 9;
    p = p * r2 + 1.0f / 7;
    p = p * r2 + 1.0f / 5;
    p = p * r2 + 1.0f / 3;
    p = p * r2 + 1.0f;
    return 2.0f * r * p + (x > 0.0f ? x : 0.0f);
}

/* u, dt, y: [window, time, channel] contiguous. z: the same with `z_stride` floats a row. a: [state, channel].
 * b, c: [window, time, state] with `bc_stride` floats a row. d: [channel].
 */
void selective_scan(const float *restrict u, const float *restrict dt, const float *restrict a, const float *restrict b,
                    const float *restrict c, const float *restrict d, const float *restrict z, float *restrict y,
                    int64_t n_window, int64_t n_time, int64_t n_channel, int64_t n_state, int64_t bc_stride,
                    int64_t z_stride, int n_thread) {
#pragma omp parallel for schedule(dynamic) num_threads(n_thread)
    for (int64_t job = 0; job < n_window * (n_channel / BLOCK); job++) {
        const int64_t window = job / (n_channel / BLOCK), channel = job % (n_channel / BLOCK) * BLOCK;
        float h[MAX_STATE][BLOCK] = {0};
        for (int64_t row = window * n_time; row < (window + 1) * n_time; row++) {
            const float *ut = u + row * n_channel + channel, *dtt = dt + row * n_channel + channel;
            const float *bt = b + row * bc_stride, *ct = c + row * bc_stride;
            const float *zt = z + row * z_stride + channel;
            float step[BLOCK], dose[BLOCK], sum[BLOCK];
            for (int k = 0; k < BLOCK; k++) {
                step[k] = softplus(dtt[k]);
                dose[k] = step[k] * ut[k];
                sum[k] = d[channel + k] * ut[k];
            }
            for (int64_t n = 0; n < n_state; n++) {
                const float *an = a + n * n_channel + channel;
                const float bn = bt[n], cn = ct[n];
                for (int k = 0; k < BLOCK; k++) {
                    h[n][k] = exponential(step[k] * an[k]) * h[n][k] + bn * dose[k];
                    sum[k] += cn * h[n][k];
                }
            }
            float *yt = y + row * n_channel + channel;
            for (int k = 0; k < BLOCK; k++) yt[k] = sum[k] * zt[k] / (1.0f + exponential(-zt[k]));
        }
    }
}
