// Channel attention: a gate for each channel of an image from the means of all of them, s = σ(f(z)). f(z) = E relu(R z) is
// squeeze-and-excitation (Hu et al. 2018, section 3), f(z) = w ∗ z efficient channel attention (Wang et al. 2020, section
// 3.3).
#pragma once

#include "block.cuh"

// R (S, C) and E (C, S), or w (taps).
struct GateWeights {
    const float *reduce, *expand, *kernel;
    uint32_t squeezed, taps;
};

// Of each image: the means of the activated channels, how many of their pixels are above 0, and the sum of y less its mean
// over these; the squeezed means (N, S); gates and their derivatives. All else is (N, C).
struct GateValues {
    float *means, *counts, *centred, *squeezed, *gates, *slopes;
};

// Grid: images, groups of 32 channels.
extern "C" __global__ void __launch_bounds__(LANES* ROWS)
    activated_sums(BlockShape shape, const float* y, Normalisation by, GateValues values) {
    __shared__ float shared[LANES * ROWS];
    const uint32_t channel = blockIdx.y * LANES + threadIdx.x % LANES, row = threadIdx.x / LANES, image = blockIdx.x;
    float sum = 0.0f, count = 0.0f, centred = 0.0f;
    if (channel < shape.outputs) {
        for (uint32_t pixel = row; pixel < shape.area; pixel += ROWS) {
            const float away = y[((size_t)image * shape.area + pixel) * shape.outputs + channel] - by.mean[channel];
            const float normalised = away * by.scale[channel] + by.shift[channel];
            sum += activated(normalised);
            count += normalised > 0.0f ? 1.0f : 0.0f;
            centred += normalised > 0.0f ? away : 0.0f;
        }
    }
    sum = sum_rows(sum, shared, ROWS);
    count = sum_rows(count, shared, ROWS);
    centred = sum_rows(centred, shared, ROWS);
    if (row == 0 && channel < shape.outputs) {
        const size_t of_image = (size_t)image * shape.outputs + channel;
        values.means[of_image] = sum / (float)shape.area;
        values.counts[of_image] = count;
        values.centred[of_image] = centred;
    }
}

// Computes the gates of an image, and multiplies its pooled output by them. Grid: images.
extern "C" __global__ void __launch_bounds__(THREADS)
    apply_gates(BlockShape shape, GateWeights weights, GateValues values, float* out) {
    const uint32_t channels = shape.outputs, image = blockIdx.x;
    const float* means = values.means + (size_t)image * channels;
    float* squeezed = values.squeezed + (size_t)image * weights.squeezed;
    for (uint32_t row = threadIdx.x; row < weights.squeezed; row += THREADS) {
        float sum = 0.0f;
        for (uint32_t c = 0; c < channels; c++) sum = __fmaf_rn(weights.reduce[(size_t)row * channels + c], means[c], sum);
        squeezed[row] = activated(sum);
    }
    __syncthreads();
    const int half = (int)weights.taps / 2;
    for (uint32_t channel = threadIdx.x; channel < channels; channel += THREADS) {
        float sum = 0.0f;
        for (uint32_t row = 0; row < weights.squeezed; row++) {
            sum = __fmaf_rn(weights.expand[(size_t)channel * weights.squeezed + row], squeezed[row], sum);
        }
        for (int tap = 0; tap < (int)weights.taps; tap++) {
            const int other = (int)channel + tap - half;
            if (other >= 0 && other < (int)channels) sum = __fmaf_rn(weights.kernel[tap], means[other], sum);
        }
        // Without the difference of two numbers that are almost 1.
        const float smaller = (float)exponential(-(double)(sum < 0.0f ? -sum : sum));
        const float smaller_half = smaller / (1.0f + smaller), greater_half = 1.0f / (1.0f + smaller);
        values.gates[(size_t)image * channels + channel] = sum < 0.0f ? smaller_half : greater_half;
        values.slopes[(size_t)image * channels + channel] = greater_half * smaller_half;
    }
    __syncthreads();
    float* pixels = out + (size_t)image * shape.pooled_area * channels;
    for (uint32_t element = threadIdx.x; element < shape.pooled_area * channels; element += THREADS) {
        const uint32_t channel = divide_with_remainder(element, shape.by_outputs).remainder;
        pixels[element] *= values.gates[(size_t)image * channels + channel];
    }
}

// The gradients before the gates of each image: before the sigmoid (N, C), before the ReLU of the squeeze (N, S), and what
// each pixel above 0 gets back (N, C).
struct GateGradients {
    float *excited, *squeezed, *shares;
};

// From the sums over the maxima of an image, in which it leaves what the gates make of them. Grid: images.
extern "C" __global__ void __launch_bounds__(THREADS)
    gate_gradients(BlockShape shape, Normalisation by, GateWeights weights, GateValues values, float* plain,
                   float* with_centred, GateGradients gradients) {
    const uint32_t channels = shape.outputs;
    const size_t first = (size_t)blockIdx.x * channels;
    float *excited = gradients.excited + first, *squeezed = gradients.squeezed + (size_t)blockIdx.x * weights.squeezed;
    for (uint32_t c = threadIdx.x; c < channels; c += THREADS) {
        // A maximum is scale · centred + shift where the gradient passes, and 0 where it does not.
        const float of_gate = with_centred[first + c] * by.scale[c] + plain[first + c] * by.shift[c];
        excited[c] = of_gate * values.slopes[first + c];
    }
    __syncthreads();
    for (uint32_t row = threadIdx.x; row < weights.squeezed; row += THREADS) {
        float sum = 0.0f;
        for (uint32_t c = 0; c < channels; c++) {
            sum = __fmaf_rn(excited[c], weights.expand[(size_t)c * weights.squeezed + row], sum);
        }
        squeezed[row] = values.squeezed[(size_t)blockIdx.x * weights.squeezed + row] > 0.0f ? sum : 0.0f;
    }
    __syncthreads();
    const int half = (int)weights.taps / 2;
    for (uint32_t c = threadIdx.x; c < channels; c += THREADS) {
        float sum = 0.0f;
        for (uint32_t row = 0; row < weights.squeezed; row++) {
            sum = __fmaf_rn(squeezed[row], weights.reduce[(size_t)row * channels + c], sum);
        }
        for (int tap = 0; tap < (int)weights.taps; tap++) {
            const int other = (int)c - tap + half;
            if (other >= 0 && other < (int)channels) sum = __fmaf_rn(excited[other], weights.kernel[tap], sum);
        }
        const float share = sum / (float)shape.area, gate = values.gates[first + c];
        gradients.shares[first + c] = share;
        plain[first + c] = plain[first + c] * gate + share * values.counts[first + c];
        with_centred[first + c] = with_centred[first + c] * gate + share * values.centred[first + c];
    }
}

// The gradients of R and E, over the images in order. Grid: elements of both.
extern "C" __global__ void __launch_bounds__(THREADS)
    squeeze_excite_gradient(BlockShape shape, uint32_t squeezed, GateValues values, GateGradients gradients, float* d_reduce,
                            float* d_expand) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x, weights = squeezed * shape.outputs;
    if (element >= 2 * weights) return;
    float sum = 0.0f;
    if (element < weights) {
        const uint32_t row = element / shape.outputs, channel = element % shape.outputs;
        for (size_t image = 0; image < shape.images; image++) {
            sum = __fmaf_rn(gradients.squeezed[image * squeezed + row], values.means[image * shape.outputs + channel], sum);
        }
        d_reduce[element] = sum;
    } else {
        const uint32_t channel = (element - weights) / squeezed, row = (element - weights) % squeezed;
        for (size_t image = 0; image < shape.images; image++) {
            sum = __fmaf_rn(gradients.excited[image * shape.outputs + channel], values.squeezed[image * squeezed + row], sum);
        }
        d_expand[element - weights] = sum;
    }
}

// The gradient of w. Grid: taps.
extern "C" __global__ void __launch_bounds__(THREADS)
    efficient_gradient(BlockShape shape, uint32_t taps, GateValues values, GateGradients gradients, float* d_kernel) {
    __shared__ float shared[THREADS];
    const int away = (int)blockIdx.x - (int)taps / 2;
    float sum = 0.0f;
    for (uint32_t element = threadIdx.x; element < shape.images * shape.outputs; element += THREADS) {
        const int other = (int)divide_with_remainder(element, shape.by_outputs).remainder + away;
        if (other >= 0 && other < (int)shape.outputs) sum = __fmaf_rn(gradients.excited[element], values.means[element + away], sum);
    }
    sum = sum_block(sum, shared);
    if (threadIdx.x == 0) d_kernel[blockIdx.x] = sum;
}
