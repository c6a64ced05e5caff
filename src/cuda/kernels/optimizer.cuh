// The norm of the gradient, and the step: Adam (Kingma and Ba 2015, algorithm 1) with PyTorch's order of operations, over all
// parameters at once. A step whose loss or gradient is not finite changes nothing, and stops those after it.
#pragma once

#include "common.cuh"

// Elements whose squares a block sums.
constexpr unsigned NORM_ELEMENTS = 4096;

// Grid: blocks of the elements.
extern "C" __global__ void __launch_bounds__(THREADS) sum_of_squares(uint32_t elements, const float* gradient, double* partial) {
    __shared__ double shared[THREADS];
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < NORM_ELEMENTS; i += THREADS) {
        const uint32_t element = blockIdx.x * NORM_ELEMENTS + i;
        if (element < elements) sum = __fmaf_rn(gradient[element], gradient[element], sum);
    }
    const double total = sum_block((double)sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

struct AdamRates {
    double beta1, beta2;
};

// base^exponent by squaring, so that it depends on nothing but its arguments.
__device__ __forceinline__ double power(double base, uint64_t exponent) {
    double result = 1.0;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) result *= base;
        base *= base;
    }
    return result;
}

// Loss, norm and correct images of the step, and the numbers of the optimizer's step. Grid: 1.
extern "C" __global__ void __launch_bounds__(THREADS)
    judge_step(uint32_t images, const double* losses, const uint32_t* correct, uint32_t parts, const double* squares,
               AdamRates rates, const double* learning_rates, const Position* position, const Counters* counters, Outcome* outcome) {
    __shared__ double sums[THREADS];
    __shared__ uint32_t counts[THREADS];
    double square = 0.0, loss = 0.0;
    uint32_t right = 0;
    for (uint32_t part = threadIdx.x; part < parts; part += THREADS) square += squares[part];
    for (uint32_t image = threadIdx.x; image < images; image += THREADS) {
        loss += losses[image];
        right += correct[image];
    }
    square = sum_block(square, sums);
    loss = sum_block(loss, sums);
    right = sum_block(right, counts);
    if (threadIdx.x != 0) return;
    outcome->backward_done = nanoseconds();
    outcome->loss = (float)(loss / (double)images);
    outcome->gradient_norm = (float)sqrt(square);
    outcome->correct = right;
    outcome->finite = !position->stopped && is_finite(outcome->loss) && is_finite(outcome->gradient_norm);
    const uint64_t step = counters->optimizer_steps + 1;
    outcome->step_size = (float)(learning_rates[position->batch] / (1.0 - power(rates.beta1, step)));
    outcome->root_correction = (float)sqrt(1.0 - power(rates.beta2, step));
}

struct AdamWeights {
    float first_weight, second_decay, second_weight, epsilon;
};

// Grid: elements.
extern "C" __global__ void __launch_bounds__(THREADS)
    adam(uint32_t elements, AdamWeights weights, const Outcome* outcome, const float* gradient, float* first, float* second, float* parameter) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= elements || !outcome->finite) return;
    const float g = gradient[element];
    const float m = first[element] + (g - first[element]) * weights.first_weight;
    const float v = second[element] * weights.second_decay + g * g * weights.second_weight;
    first[element] = m;
    second[element] = v;
    parameter[element] -= outcome->step_size * m / (sqrtf(v) / outcome->root_correction + weights.epsilon);
}

// Moves the running estimates, which take a tenth of a batch's; goes on to the next step, and tells the host. Grid: 1.
extern "C" __global__ void __launch_bounds__(THREADS)
    finish_step(uint32_t estimates, const float* of_batch, float* running, const Outcome* outcome, Position* position,
                Counters* counters, Result* ring) {
    if (outcome->finite) {
        for (uint32_t i = threadIdx.x; i < estimates; i += THREADS) running[i] = running[i] * 0.9f + of_batch[i] * 0.1f;
    }
    if (threadIdx.x != 0) return;
    if (outcome->finite) {
        position->number += 1;
        position->batch += 1;
        counters->optimizer_steps += 1;
    } else {
        position->stopped = 1;
    }
    counters->computed += 1;
    volatile Result* result = ring + counters->computed % RING;
    result->loss = outcome->loss;
    result->gradient_norm = outcome->gradient_norm;
    result->correct = outcome->correct;
    result->forward_nanos = (uint32_t)(outcome->forward_done - outcome->began);
    result->backward_nanos = (uint32_t)(outcome->backward_done - outcome->forward_done);
    result->optimizer_nanos = (uint32_t)(nanoseconds() - outcome->backward_done);
    __threadfence_system();
    result->computed = counters->computed;
}
