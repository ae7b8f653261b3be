#include "ref/ref_linear.h"

#include <math.h>

void ref_linear(double *out, double *magnitude, const double *x, const double *w, int first, int n,
                int k, const ref_lora *lora, const double *residual, int rows)
{
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < n; j++) {
            const size_t at = (size_t)r * (size_t)n + (size_t)j;
            const size_t w_row = (size_t)(first + j);
            double sum = 0, size = 0;
            for (int i = 0; i < k; i++) {
                const double term =
                    x[(size_t)r * (size_t)k + (size_t)i] * w[w_row * (size_t)k + (size_t)i];
                sum += term;
                size += fabs(term);
            }
            for (int q = 0; lora && q < lora->rank; q++) {
                for (int i = 0; i < k; i++) {
                    const double term = x[(size_t)r * (size_t)k + (size_t)i] *
                                        lora->a[(size_t)q * (size_t)k + (size_t)i] *
                                        lora->b[w_row * (size_t)lora->rank + (size_t)q];
                    sum += term;
                    size += fabs(term);
                }
            }
            if (lora && lora->column_scale) {
                sum *= lora->column_scale[w_row];
                size *= fabs(lora->column_scale[w_row]);
            }
            if (residual) {
                sum += residual[at];
                size += fabs(residual[at]);
            }
            out[at] = sum;
            magnitude[at] = size;
        }
    }
}

void ref_add_lora_roundings(double *slack, double u, const double *x, const double *w, int first,
                            int n, int k, const ref_lora *lora, const double *residual, int rows)
{
    for (int r = 0; r < rows; r++) {
        const double *const row = x + (size_t)r * (size_t)k;
        for (int j = 0; j < n; j++) {
            const size_t at = (size_t)r * (size_t)n + (size_t)j, w_row = (size_t)(first + j);
            double y = 0, update = 0, squares = 0;
            for (int i = 0; i < k; i++)
                y += row[i] * w[w_row * (size_t)k + (size_t)i];
            for (int q = 0; q < lora->rank; q++) {
                const double b = lora->b[w_row * (size_t)lora->rank + (size_t)q];
                double t = 0;
                for (int i = 0; i < k; i++) {
                    const double term = row[i] * lora->a[(size_t)q * (size_t)k + (size_t)i];
                    t += term;
                    squares += term * term * b * b;
                }
                update += t * b;
                squares += 2 * t * t * b * b;
            }
            const double sums = 4 * u * sqrt(squares);
            if (lora->column_scale)
                slack[at] += fabs(lora->column_scale[w_row]) *
                             (sums + u * (fabs(update) + fabs(y + update)));
            else
                slack[at] += sums + u * fabs(update + (residual ? residual[at] : 0));
        }
    }
}

double ref_log_sum(const double *logits, int n)
{
    double max = -INFINITY, sum = 0;

    for (int i = 0; i < n; i++)
        max = fmax(max, logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return max + log(sum);
}
