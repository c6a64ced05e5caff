// What all kernels share: the order of every sum is fixed, so a step repeats to the bit.
//
// The source is compiled twice: by NVRTC to the PTX that ships, with --fmad=false, and by g++ for the tests without a card.
// Products are added by __fmaf_rn where that is meant, and exp and log are our own, so both compute the same bits.
#pragma once

#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned uint32_t;
typedef unsigned long long uint64_t;
#endif

// Threads of a block, but where a kernel says otherwise.
constexpr unsigned THREADS = 256;
// Channels beside each other in a block that sums over positions: a warp reads them together.
constexpr unsigned LANES = 32;

// Division by a number known before the launch: exact for dividends below 2^31 (Granlund and Montgomery 1994, figure 4.1).
struct Divisor {
    uint32_t divisor, multiplier, shift;
};

__device__ __forceinline__ uint32_t divide(uint32_t dividend, const Divisor& by) {
    uint32_t high = (uint32_t)(((uint64_t)dividend * by.multiplier) >> 32);
    return (high + dividend) >> by.shift;
}

struct QuotientRemainder {
    uint32_t quotient, remainder;
};

__device__ __forceinline__ QuotientRemainder divide_with_remainder(uint32_t dividend, const Divisor& by) {
    uint32_t quotient = divide(dividend, by);
    return {quotient, dividend - quotient * by.divisor};
}

// One convolution with what follows it in its block, for a batch. Feature maps are (N, H, W, C).
struct BlockShape {
    uint32_t images, height, width, inputs, outputs;
    // N · H · W.
    uint32_t pixels;
    // H · W, and (H / 2) · (W / 2).
    uint32_t area, pooled_area;
    Divisor by_inputs, by_outputs, by_area, by_width, by_pooled_area, by_pooled_width;
};

// The two linear layers behind the blocks.
struct HeadShape {
    uint32_t images, features, hidden, classes;
};

// Where the steps of an epoch are; changed by the last kernel of a step.
struct Position {
    // The number of the next step in its run: the key of its dropout mask.
    uint64_t number;
    // Its batch among those of the plan.
    uint32_t batch;
    // A step was not finite: those after it change nothing.
    uint32_t stopped;
};

// What is counted as long as the engine lives.
struct Counters {
    // Steps computed, whatever came of them.
    uint64_t computed;
    // Steps of the optimizer.
    uint64_t optimizer_steps;
};

// What is known of a step once its gradient is.
struct Outcome {
    float loss, gradient_norm;
    uint32_t correct;
    uint32_t finite;
    float step_size, root_correction;
    // Nanoseconds of the card's clock: begun, loss known, gradient known.
    uint64_t began, forward_done, backward_done;
};

// A step's line in the ring that the host reads: 32 bytes.
struct Result {
    // Written last: the step's number among those computed, from 1.
    uint64_t computed;
    float loss, gradient_norm;
    uint32_t correct;
    uint32_t forward_nanos, backward_nanos, optimizer_nanos;
};

constexpr uint32_t RING = 64;

__device__ __forceinline__ uint64_t nanoseconds() {
#ifdef __CUDACC_RTC__
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
#else
    return twin_nanoseconds();
#endif
}

__device__ __forceinline__ bool is_finite(float x) {
    return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}

// ReLU that lets NaN through.
__device__ __forceinline__ float activated(float x) {
    return x <= 0.0f ? 0.0f : x;
}

// Sums `value` over the rows of a block of LANES columns; row 0 has the result. `shared` holds a number for each thread.
template <class T>
__device__ __forceinline__ T sum_rows(T value, T* shared, uint32_t rows) {
    uint32_t column = threadIdx.x % LANES, row = threadIdx.x / LANES;
    __syncthreads();
    shared[threadIdx.x] = value;
    __syncthreads();
    T sum = 0;
    if (row == 0) {
        for (uint32_t other = 0; other < rows; other++) sum += shared[other * LANES + column];
    }
    return sum;
}

// Sums `value` over the THREADS threads of a block; all have the result.
template <class T>
__device__ __forceinline__ T sum_block(T value, T* shared) {
    __syncthreads();
    shared[threadIdx.x] = value;
    __syncthreads();
    for (uint32_t half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}

// e^x for x of at most 0, within an ulp or two.
__device__ __forceinline__ double exponential(double x) {
    if (!(x >= -708.0)) return x != x ? x : 0.0;
    // Adding it rounds to an integer, which is then in the low bits.
    const double integers = 6755399441055744.0;
    double shifted = __fma_rn(x, 1.4426950408889634, integers);
    double power = shifted - integers;
    double rest = __fma_rn(-power, 6.93147180369123816490e-01, x);
    rest = __fma_rn(-power, 1.90821492927058770002e-10, rest);
    double sum = 1.0 / 6227020800.0;
    sum = __fma_rn(sum, rest, 1.0 / 479001600.0);
    sum = __fma_rn(sum, rest, 1.0 / 39916800.0);
    sum = __fma_rn(sum, rest, 1.0 / 3628800.0);
    sum = __fma_rn(sum, rest, 1.0 / 362880.0);
    sum = __fma_rn(sum, rest, 1.0 / 40320.0);
    sum = __fma_rn(sum, rest, 1.0 / 5040.0);
    sum = __fma_rn(sum, rest, 1.0 / 720.0);
    sum = __fma_rn(sum, rest, 1.0 / 120.0);
    sum = __fma_rn(sum, rest, 1.0 / 24.0);
    sum = __fma_rn(sum, rest, 1.0 / 6.0);
    sum = __fma_rn(sum, rest, 0.5);
    sum = __fma_rn(sum, rest, 1.0);
    sum = __fma_rn(sum, rest, 1.0);
    long long exponent = (long long)power + 1023;
    return sum * __longlong_as_double(exponent << 52);
}

// ln x for a normal x above 0; a NaN stays one.
__device__ __forceinline__ double logarithm(double x) {
    if (x != x) return x;
    long long bits = __double_as_longlong(x);
    long long exponent = (bits >> 52) - 1023;
    double mantissa = __longlong_as_double((bits & 0xfffffffffffffll) | 0x3ff0000000000000ll);
    if (mantissa > 1.4142135623730951) {
        mantissa *= 0.5;
        exponent += 1;
    }
    double ratio = (mantissa - 1.0) / (mantissa + 1.0), square = ratio * ratio;
    double sum = 1.0 / 23.0;
    sum = __fma_rn(sum, square, 1.0 / 21.0);
    sum = __fma_rn(sum, square, 1.0 / 19.0);
    sum = __fma_rn(sum, square, 1.0 / 17.0);
    sum = __fma_rn(sum, square, 1.0 / 15.0);
    sum = __fma_rn(sum, square, 1.0 / 13.0);
    sum = __fma_rn(sum, square, 1.0 / 11.0);
    sum = __fma_rn(sum, square, 1.0 / 9.0);
    sum = __fma_rn(sum, square, 1.0 / 7.0);
    sum = __fma_rn(sum, square, 1.0 / 5.0);
    sum = __fma_rn(sum, square, 1.0 / 3.0);
    sum = __fma_rn(sum, square, 1.0);
    double power = (double)exponent;
    return __fma_rn(power, 6.93147180369123816490e-01, __fma_rn(power, 1.90821492927058770002e-10, 2.0 * ratio * sum));
}
