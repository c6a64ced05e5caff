// The head: average pool or none, linear, ReLU, dropout, linear, softmax and cross-entropy, and the gradients. A flattened
// feature map is in the order of its memory, (H, W, C).
#pragma once

#include "product.cuh"

// The mean of each channel over the positions, (N, C). Grid: elements.
extern "C" __global__ void __launch_bounds__(THREADS)
    average_positions(uint32_t images, uint32_t positions, uint32_t channels, const float* x, float* means) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= images * channels) return;
    const uint32_t image = element / channels, channel = element % channels;
    float sum = 0.0f;
    for (uint32_t position = 0; position < positions; position++) sum += x[((size_t)image * positions + position) * channels + channel];
    means[element] = sum / (float)positions;
}

// Its gradient. Grid: elements of x.
extern "C" __global__ void __launch_bounds__(THREADS)
    average_positions_gradient(uint32_t images, uint32_t positions, uint32_t channels, const float* gradient, float* dx) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= images * positions * channels) return;
    const uint32_t image = element / (positions * channels);
    dx[element] = gradient[image * channels + element % channels] / (float)positions;
}

// x · wᵀ in parts of the features, (parts, N, hidden). Grid: tiles of images, tiles of hidden units, parts.
extern "C" __global__ void __launch_bounds__(THREADS) hidden_partial(HeadShape shape, const float* x, const float* weight, float* partial) {
    __shared__ Strips strips;
    const uint32_t image = blockIdx.x * TILE, unit = blockIdx.y * TILE;
    const Share share = share_of(shape.features, blockIdx.z, gridDim.z);
    float sums[SIDE][SIDE] = {};
    add_product(RowMajor{x, shape.images, shape.features}, RowMajor{weight, shape.hidden, shape.features}, share.first, share.end,
                image, unit, strips, sums);
    store_tile(partial + (size_t)blockIdx.z * shape.images * shape.hidden, shape.images, shape.hidden, image, unit, sums);
}

// Block `counter` of the ChaCha stream of 8 rounds with that key (Bernstein 2008; RFC 8439 with a counter of 64 bits).
__device__ __forceinline__ void chacha8(const uint32_t (&key)[8], uint64_t counter, uint32_t (&words)[16]) {
    uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1], key[2], key[3],
                          key[4], key[5], key[6], key[7], (uint32_t)counter, (uint32_t)(counter >> 32), 0, 0};
#pragma unroll
    for (uint32_t i = 0; i < 16; i++) words[i] = state[i];
#define ROTATE(x, by) (((x) << (by)) | ((x) >> (32 - (by))))
#define QUARTER(a, b, c, d)                                                        \
    a += b; d ^= a; d = ROTATE(d, 16); c += d; b ^= c; b = ROTATE(b, 12);          \
    a += b; d ^= a; d = ROTATE(d, 8); c += d; b ^= c; b = ROTATE(b, 7)
#pragma unroll
    for (uint32_t round = 0; round < 4; round++) {
        QUARTER(words[0], words[4], words[8], words[12]);
        QUARTER(words[1], words[5], words[9], words[13]);
        QUARTER(words[2], words[6], words[10], words[14]);
        QUARTER(words[3], words[7], words[11], words[15]);
        QUARTER(words[0], words[5], words[10], words[15]);
        QUARTER(words[1], words[6], words[11], words[12]);
        QUARTER(words[2], words[7], words[8], words[13]);
        QUARTER(words[3], words[4], words[9], words[14]);
    }
#undef QUARTER
#undef ROTATE
#pragma unroll
    for (uint32_t i = 0; i < 16; i++) words[i] += state[i];
}

// The mask of a step: each number of the stream of (seed, purpose, 0, step) below the threshold drops its unit. A threshold
// of 0 drops none.
struct Dropout {
    uint64_t seed, purpose, threshold;
    float kept;
};

// Sums the parts, adds the bias, applies ReLU and drops units. `factors` is what the gradient of each unit is multiplied by.
// Grid: elements (N, hidden).
extern "C" __global__ void __launch_bounds__(THREADS)
    hidden_layer(HeadShape shape, uint32_t parts, const float* partial, const float* bias, Dropout dropout,
                 const Position* position, float* hidden, float* factors) {
    __shared__ uint32_t drawn[THREADS];
    const uint32_t elements = shape.images * shape.hidden, element = blockIdx.x * THREADS + threadIdx.x;
    if (dropout.threshold && threadIdx.x < THREADS / 16) {
        const uint64_t step = position->number;
        const uint32_t key[8] = {(uint32_t)dropout.seed, (uint32_t)(dropout.seed >> 32), (uint32_t)dropout.purpose,
                                 (uint32_t)(dropout.purpose >> 32), 0, 0, (uint32_t)step, (uint32_t)(step >> 32)};
        uint32_t words[16];
        chacha8(key, (uint64_t)blockIdx.x * (THREADS / 16) + threadIdx.x, words);
        for (uint32_t i = 0; i < 16; i++) drawn[threadIdx.x * 16 + i] = words[i];
    }
    __syncthreads();
    if (element >= elements) return;
    float sum = 0.0f;
    for (uint32_t part = 0; part < parts; part++) sum += partial[(size_t)part * elements + element];
    sum += bias[element % shape.hidden];
    const float factor = dropout.threshold ? (drawn[threadIdx.x] < dropout.threshold ? 0.0f : dropout.kept) : 1.0f;
    hidden[element] = activated(sum) * factor;
    factors[element] = sum > 0.0f ? factor : 0.0f;
}

// The logits of an image. Grid: images.
extern "C" __global__ void __launch_bounds__(THREADS)
    output_layer(HeadShape shape, const float* hidden, const float* weight, const float* bias, float* logits) {
    const uint32_t warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const float* x = hidden + (size_t)blockIdx.x * shape.hidden;
    for (uint32_t output = warp; output < shape.classes; output += THREADS / LANES) {
        float sum = 0.0f;
        for (uint32_t unit = lane; unit < shape.hidden; unit += LANES) {
            sum = __fmaf_rn(x[unit], weight[(size_t)output * shape.hidden + unit], sum);
        }
        for (uint32_t distance = LANES / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (lane == 0) logits[(size_t)blockIdx.x * shape.classes + output] = sum + bias[output];
    }
}

// Softmax cross-entropy of an image, whether its class is the first of the greatest logits, and the gradient of the batch's
// mean loss by its logits. Grid: images.
extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy(HeadShape shape, const float* logits, const uint32_t* labels, double* losses, uint32_t* correct, float* gradient) {
    __shared__ double shared[THREADS];
    const float* of_image = logits + (size_t)blockIdx.x * shape.classes;
    const uint32_t label = labels[blockIdx.x];
    float greatest = -__uint_as_float(0x7f800000u);
    uint32_t predicted = 0;
    for (uint32_t output = 0; output < shape.classes; output++) {
        greatest = of_image[output] > greatest ? of_image[output] : greatest;
        predicted = of_image[output] > of_image[predicted] ? output : predicted;
    }
    double total = 0.0;
    for (uint32_t output = threadIdx.x; output < shape.classes; output += THREADS) {
        total += exponential((double)(of_image[output] - greatest));
    }
    total = sum_block(total, shared);
    for (uint32_t output = threadIdx.x; output < shape.classes; output += THREADS) {
        const double share = exponential((double)(of_image[output] - greatest)) / total;
        gradient[(size_t)blockIdx.x * shape.classes + output] = (float)((share - (output == label ? 1.0 : 0.0)) / (double)shape.images);
    }
    if (threadIdx.x == 0) {
        losses[blockIdx.x] = logarithm(total) - (double)(of_image[label] - greatest);
        correct[blockIdx.x] = predicted == label ? 1 : 0;
    }
}

// Notes when the loss is known; and the gradients of the second layer's weight (classes, hidden) and bias, over the images in
// order. Grid: elements of both.
extern "C" __global__ void __launch_bounds__(THREADS)
    output_layer_gradient(HeadShape shape, const float* gradient, const float* hidden, float* d_weight, float* d_bias, Outcome* outcome) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x, weights = shape.classes * shape.hidden;
    if (element == 0) outcome->forward_done = nanoseconds();
    if (element >= weights + shape.classes) return;
    const uint32_t output = element < weights ? element / shape.hidden : element - weights, unit = element % shape.hidden;
    float sum = 0.0f;
    for (size_t image = 0; image < shape.images; image++) {
        const float of_output = gradient[image * shape.classes + output];
        sum = element < weights ? __fmaf_rn(of_output, hidden[image * shape.hidden + unit], sum) : sum + of_output;
    }
    if (element < weights) {
        d_weight[element] = sum;
    } else {
        d_bias[output] = sum;
    }
}

// The gradient before the ReLU of the hidden layer, (N, hidden). Grid: elements.
extern "C" __global__ void __launch_bounds__(THREADS)
    hidden_gradient(HeadShape shape, const float* gradient, const float* weight, const float* factors, float* d_hidden) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= shape.images * shape.hidden) return;
    const uint32_t image = element / shape.hidden, unit = element % shape.hidden;
    float sum = 0.0f;
    for (uint32_t output = 0; output < shape.classes; output++) {
        sum = __fmaf_rn(gradient[(size_t)image * shape.classes + output], weight[(size_t)output * shape.hidden + unit], sum);
    }
    d_hidden[element] = sum * factors[element];
}

// The gradients of the first layer's weight (hidden, features), and of its bias. Grid: tiles of hidden units, tiles of
// features.
extern "C" __global__ void __launch_bounds__(THREADS)
    hidden_weight_gradient(HeadShape shape, const float* d_hidden, const float* x, float* d_weight, float* d_bias) {
    __shared__ Strips strips;
    const uint32_t unit = blockIdx.x * TILE, feature = blockIdx.y * TILE;
    float sums[SIDE][SIDE] = {};
    add_product(TermMajor{d_hidden, shape.hidden}, TermMajor{x, shape.features}, 0, shape.images, unit, feature, strips, sums);
    store_tile(d_weight, shape.hidden, shape.features, unit, feature, sums);
    if (blockIdx.y == 0 && threadIdx.x < TILE && unit + threadIdx.x < shape.hidden) {
        float sum = 0.0f;
        for (size_t image = 0; image < shape.images; image++) sum += d_hidden[image * shape.hidden + unit + threadIdx.x];
        d_bias[unit + threadIdx.x] = sum;
    }
}

// The gradient of the features, (N, features). Grid: tiles of images, tiles of features.
extern "C" __global__ void __launch_bounds__(THREADS)
    feature_gradient(HeadShape shape, const float* d_hidden, const float* weight, float* dx) {
    __shared__ Strips strips;
    const uint32_t image = blockIdx.x * TILE, feature = blockIdx.y * TILE;
    float sums[SIDE][SIDE] = {};
    add_product(RowMajor{d_hidden, shape.images, shape.hidden}, TermMajor{weight, shape.features}, 0, shape.hidden, image, feature,
                strips, sums);
    store_tile(dx, shape.images, shape.features, image, feature, sums);
}
