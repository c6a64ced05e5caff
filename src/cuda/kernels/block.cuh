// What follows a convolution in its block: batch normalisation (Ioffe and Szegedy 2015), ReLU and max-pool 2 x 2, and the
// gradients. As on the CPU: where maxima tie the first takes the gradient, a NaN counts as the greatest, ReLU's gradient
// at 0 is 0.
#pragma once

#include "common.cuh"

constexpr double EPSILON = 1e-5;
// No number of a window was above 0: no gradient passes.
constexpr uint8_t DEAD = 4;
// Rows of a block that sums over positions, and of one that sums over the parts that those leave.
constexpr unsigned ROWS = 8;
constexpr unsigned MERGE_ROWS = 32;

// Batch normalisation as it is applied, (y - mean) · scale + shift, of each channel.
struct Normalisation {
    const float *mean, *scale, *shift;
};

__device__ __forceinline__ float normalise(float y, const Normalisation& by, uint32_t channel) {
    return (y - by.mean[channel]) * by.scale[channel] + by.shift[channel];
}

// Merges the statistics of the tiles of 64 pixels. Writes how the batch is normalised, and mean and unbiased variance for
// the running estimates. Grid: groups of 32 channels; 1024 threads.
extern "C" __global__ void __launch_bounds__(LANES* MERGE_ROWS)
    merge_statistics(BlockShape shape, const float* means, const float* squares, const float* norm_weight, float* mean,
                     float* scale, double* inverse_deviation, float* batch_mean, float* batch_variance) {
    __shared__ float shared[LANES * MERGE_ROWS];
    const uint32_t channel = blockIdx.x * LANES + threadIdx.x % LANES, row = threadIdx.x / LANES;
    const uint32_t tiles = (shape.pixels + 63) / 64;
    const bool inside = channel < shape.outputs;
    float sum = 0.0f;
    if (inside) {
        for (uint32_t tile = row; tile < tiles; tile += MERGE_ROWS) {
            uint32_t left = shape.pixels - tile * 64;
            sum = __fmaf_rn(means[(size_t)tile * shape.outputs + channel], (float)(left < 64 ? left : 64), sum);
        }
    }
    sum = sum_rows(sum, shared, MERGE_ROWS);
    __shared__ float of_batch[LANES];
    if (row == 0) of_batch[threadIdx.x] = sum / (float)shape.pixels;
    __syncthreads();
    const float centre = of_batch[threadIdx.x % LANES];
    sum = 0.0f;
    if (inside) {
        for (uint32_t tile = row; tile < tiles; tile += MERGE_ROWS) {
            uint32_t left = shape.pixels - tile * 64;
            float away = means[(size_t)tile * shape.outputs + channel] - centre;
            sum += squares[(size_t)tile * shape.outputs + channel];
            sum = __fmaf_rn(away * away, (float)(left < 64 ? left : 64), sum);
        }
    }
    sum = sum_rows(sum, shared, MERGE_ROWS);
    if (row == 0 && inside) {
        const double count = (double)shape.pixels, variance = (double)sum / count;
        const double inverse = 1.0 / sqrt(variance + EPSILON);
        mean[channel] = centre;
        inverse_deviation[channel] = inverse;
        scale[channel] = (float)((double)norm_weight[channel] * inverse);
        batch_mean[channel] = centre;
        batch_variance[channel] = (float)(variance * (count / (count > 2.0 ? count - 1.0 : 1.0)));
    }
}

// The factors by running estimates, for evaluation. Grid: channels.
extern "C" __global__ void __launch_bounds__(THREADS)
    running_scale(uint32_t channels, const float* norm_weight, const float* running_variance, float* scale) {
    uint32_t channel = blockIdx.x * THREADS + threadIdx.x;
    if (channel < channels) {
        scale[channel] = (float)((double)norm_weight[channel] / sqrt((double)running_variance[channel] + EPSILON));
    }
}

// Normalises y, applies ReLU and pools; writes the position of each maximum in its window, row by row, or DEAD. Grid:
// elements of the output (N, H / 2, W / 2, O).
extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_and_pool(BlockShape shape, const float* y, Normalisation by, float* out, uint8_t* positions) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= shape.images * shape.pooled_area * shape.outputs) return;
    const QuotientRemainder pixel = divide_with_remainder(element, shape.by_outputs);
    const QuotientRemainder image = divide_with_remainder(pixel.quotient, shape.by_pooled_area);
    const QuotientRemainder row = divide_with_remainder(image.remainder, shape.by_pooled_width);
    const uint32_t channel = pixel.remainder;
    const float* window = y + ((size_t)image.quotient * shape.area + 2 * row.quotient * shape.width + 2 * row.remainder) * shape.outputs + channel;
    float maximum = 0.0f;
    uint32_t of_maximum = 0;
#pragma unroll
    for (uint32_t position = 0; position < 4; position++) {
        const float value = normalise(window[(size_t)(position / 2 * shape.width + position % 2) * shape.outputs], by, channel);
        const bool takes_over = position == 0 || value > maximum || value != value;
        maximum = takes_over ? value : maximum;
        of_maximum = takes_over ? position : of_maximum;
    }
    out[element] = activated(maximum);
    positions[element] = maximum <= 0.0f ? DEAD : (uint8_t)of_maximum;
}

// Marks the channels that are above 0 somewhere in the pooled output. Grid: images, groups of 32 channels.
extern "C" __global__ void __launch_bounds__(LANES* ROWS) mark_active(BlockShape shape, const float* out, uint32_t* active) {
    const uint32_t channel = blockIdx.y * LANES + threadIdx.x % LANES;
    if (channel >= shape.outputs) return;
    for (uint32_t position = threadIdx.x / LANES; position < shape.pooled_area; position += ROWS) {
        // All who write write the same.
        if (out[((size_t)blockIdx.x * shape.pooled_area + position) * shape.outputs + channel] > 0.0f) active[channel] = 1;
    }
}

// Of each image and channel, over the maxima that are alive: the sum of the gradient, and of its product with y less its
// mean, (N, O). Grid: images, groups of 32 channels.
extern "C" __global__ void __launch_bounds__(LANES* ROWS)
    gradient_sums(BlockShape shape, const float* y, const float* mean, const uint8_t* positions, const float* gradient,
                  float* plain, float* with_centred) {
    __shared__ float shared[LANES * ROWS];
    const uint32_t channel = blockIdx.y * LANES + threadIdx.x % LANES, row = threadIdx.x / LANES, image = blockIdx.x;
    float of_gradient = 0.0f, of_product = 0.0f;
    if (channel < shape.outputs) {
        const float centre = mean[channel];
        for (uint32_t place = row; place < shape.pooled_area; place += ROWS) {
            const size_t element = ((size_t)image * shape.pooled_area + place) * shape.outputs + channel;
            const uint32_t position = positions[element];
            if (position == DEAD) continue;
            const QuotientRemainder window = divide_with_remainder(place, shape.by_pooled_width);
            const uint32_t pixel = (2 * window.quotient + position / 2) * shape.width + 2 * window.remainder + position % 2;
            const float value = y[((size_t)image * shape.area + pixel) * shape.outputs + channel];
            of_gradient += gradient[element];
            of_product = __fmaf_rn(gradient[element], value - centre, of_product);
        }
    }
    of_gradient = sum_rows(of_gradient, shared, ROWS);
    of_product = sum_rows(of_product, shared, ROWS);
    if (row == 0 && channel < shape.outputs) {
        plain[(size_t)image * shape.outputs + channel] = of_gradient;
        with_centred[(size_t)image * shape.outputs + channel] = of_product;
    }
}

// From the sums of the images: what makes the gradient of y, which is scale · dz + slope · (y - mean) + offset with dz that
// of the normalised output (section 3), and the gradients of the normalisation's weight and bias. Grid: groups of 32
// channels; 1024 threads.
extern "C" __global__ void __launch_bounds__(LANES* MERGE_ROWS)
    normalisation_gradient(BlockShape shape, const float* plain, const float* with_centred, const float* norm_weight,
                           const double* inverse_deviation, float* slope, float* offset, float* d_weight, float* d_bias) {
    __shared__ float shared[LANES * MERGE_ROWS];
    const uint32_t channel = blockIdx.x * LANES + threadIdx.x % LANES, row = threadIdx.x / LANES;
    float of_gradient = 0.0f, of_product = 0.0f;
    if (channel < shape.outputs) {
        for (uint32_t image = row; image < shape.images; image += MERGE_ROWS) {
            of_gradient += plain[(size_t)image * shape.outputs + channel];
            of_product += with_centred[(size_t)image * shape.outputs + channel];
        }
    }
    of_gradient = sum_rows(of_gradient, shared, MERGE_ROWS);
    of_product = sum_rows(of_product, shared, MERGE_ROWS);
    if (row == 0 && channel < shape.outputs) {
        const double inverse = inverse_deviation[channel], count = (double)shape.pixels;
        const double factor = (double)norm_weight[channel] * inverse, of_weight = (double)of_product * inverse;
        slope[channel] = (float)(-factor * inverse * of_weight / count);
        offset[channel] = (float)(-factor * (double)of_gradient / count);
        d_weight[channel] = (float)of_weight;
        d_bias[channel] = of_gradient;
    }
}

// What makes the gradient of y, of each channel.
struct GradientTerms {
    const float *slope, *offset;
};

// What the gates of each image do to it, (N, O); none without gates.
struct GateTerms {
    const float *gates, *shares;
};

// The gradient of the convolution's output, (N, H, W, O), from that of the pooled one. Grid: elements.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_output_gradient(BlockShape shape, const float* y, Normalisation by, GradientTerms terms, GateTerms gates,
                         const uint8_t* positions, const float* gradient, float* dy) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= shape.pixels * shape.outputs) return;
    const QuotientRemainder pixel = divide_with_remainder(element, shape.by_outputs);
    const QuotientRemainder image = divide_with_remainder(pixel.quotient, shape.by_area);
    const QuotientRemainder row = divide_with_remainder(image.remainder, shape.by_width);
    const uint32_t channel = pixel.remainder, of_image = image.quotient * shape.outputs + channel;
    const uint32_t window_row = row.quotient / 2, window_column = row.remainder / 2;
    const float value = y[element], centred = value - by.mean[channel];
    const float statistics = terms.slope[channel] * centred + terms.offset[channel];
    float of_pixel = 0.0f, of_maxima = by.scale[channel];
    if (gates.gates) {
        const float share = by.scale[channel] * gates.shares[of_image];
        of_pixel = centred * by.scale[channel] + by.shift[channel] > 0.0f ? share : 0.0f;
        of_maxima = by.scale[channel] * gates.gates[of_image];
    }
    // An odd last row or column is in no window.
    const bool pooled = window_row < shape.height / 2 && window_column < shape.width / 2;
    if (pooled) {
        const uint32_t window = window_row * shape.by_pooled_width.divisor + window_column;
        const size_t maximum = ((size_t)image.quotient * shape.pooled_area + window) * shape.outputs + channel;
        const uint32_t position = row.quotient % 2 * 2 + row.remainder % 2;
        const float passes = positions[maximum] == position ? gradient[maximum] : 0.0f;
        dy[element] = of_maxima * passes + of_pixel + statistics;
    } else {
        dy[element] = of_pixel + statistics;
    }
}
