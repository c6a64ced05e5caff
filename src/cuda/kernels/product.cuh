// The product of two matrices whose elements are fetched by functions: a block of 256 threads computes a tile of 64 x 64,
// each thread 4 x 4 of it. The terms of an element are added in order.
#pragma once

#include "common.cuh"

constexpr unsigned TILE = 64;
constexpr unsigned DEPTH = 16;
constexpr unsigned SIDE = 4;

// The two strips of the present terms; a strip of the left one has room to keep columns out of each other's banks.
struct Strips {
    alignas(16) float left[DEPTH][TILE + 4];
    alignas(16) float right[DEPTH][TILE];
};

struct Quad {
    alignas(16) float values[SIDE];
};

// In which direction the threads of a warp fetch: the one in which the elements are beside each other in memory.
enum class Along { TERMS, ROWS };

// Where this thread's element number `i` of a strip is.
template <Along ALONG>
__device__ __forceinline__ uint32_t term_of(uint32_t i) {
    return ALONG == Along::TERMS ? threadIdx.x % DEPTH : threadIdx.x / TILE + i * (THREADS / TILE);
}

template <Along ALONG>
__device__ __forceinline__ uint32_t row_of(uint32_t i) {
    return ALONG == Along::TERMS ? threadIdx.x / DEPTH + i * (THREADS / DEPTH) : threadIdx.x % TILE;
}

template <class Operand>
__device__ __forceinline__ void fetch(const Operand& operand, uint32_t term, uint32_t end, uint32_t row, float (&into)[SIDE]) {
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) {
        uint32_t k = term + term_of<Operand::ALONG>(i);
        into[i] = k < end ? operand(k, row + row_of<Operand::ALONG>(i)) : 0.0f;
    }
}

// Adds the terms `term` to `end` of the tile at (`row`, `column`) to `sums`, which are the elements of the rows
// `row` + 4 · (thread / 16) and on, and the columns `column` + 4 · (thread % 16) and on.
template <class Left, class Right>
__device__ __forceinline__ void add_product(const Left& left, const Right& right, uint32_t term, uint32_t end, uint32_t row,
                                            uint32_t column, Strips& strips, float (&sums)[SIDE][SIDE]) {
    const uint32_t first_row = threadIdx.x / (TILE / SIDE) * SIDE, first_column = threadIdx.x % (TILE / SIDE) * SIDE;
    float next_left[SIDE], next_right[SIDE];
    fetch(left, term, end, row, next_left);
    fetch(right, term, end, column, next_right);
    for (; term < end; term += DEPTH) {
#pragma unroll
        for (uint32_t i = 0; i < SIDE; i++) {
            strips.left[term_of<Left::ALONG>(i)][row_of<Left::ALONG>(i)] = next_left[i];
            strips.right[term_of<Right::ALONG>(i)][row_of<Right::ALONG>(i)] = next_right[i];
        }
        __syncthreads();
        // Under way while the present strips are multiplied.
        if (term + DEPTH < end) {
            fetch(left, term + DEPTH, end, row, next_left);
            fetch(right, term + DEPTH, end, column, next_right);
        }
#pragma unroll
        for (uint32_t k = 0; k < DEPTH; k++) {
            const Quad l = *reinterpret_cast<const Quad*>(&strips.left[k][first_row]);
            const Quad r = *reinterpret_cast<const Quad*>(&strips.right[k][first_column]);
#pragma unroll
            for (uint32_t i = 0; i < SIDE; i++) {
#pragma unroll
                for (uint32_t j = 0; j < SIDE; j++) sums[i][j] = __fmaf_rn(l.values[i], r.values[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
}

// A matrix whose terms are beside each other: element (k, row) is `data[row * terms + k]`.
struct RowMajor {
    static constexpr Along ALONG = Along::TERMS;
    const float* data;
    uint32_t rows, terms;

    __device__ __forceinline__ float operator()(uint32_t k, uint32_t row) const {
        return row < rows ? data[(size_t)row * terms + k] : 0.0f;
    }
};

// A matrix whose rows are beside each other: element (k, row) is `data[k * rows + row]`.
struct TermMajor {
    static constexpr Along ALONG = Along::ROWS;
    const float* data;
    uint32_t rows;

    __device__ __forceinline__ float operator()(uint32_t k, uint32_t row) const {
        return row < rows ? data[(size_t)k * rows + row] : 0.0f;
    }
};

// Writes a tile to a matrix of `rows` x `columns`.
__device__ __forceinline__ void store_tile(float* matrix, uint32_t rows, uint32_t columns, uint32_t row, uint32_t column,
                                           const float (&sums)[SIDE][SIDE]) {
    const uint32_t first_row = row + threadIdx.x / (TILE / SIDE) * SIDE;
    const uint32_t first_column = column + threadIdx.x % (TILE / SIDE) * SIDE;
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) {
#pragma unroll
        for (uint32_t j = 0; j < SIDE; j++) {
            if (first_row + i < rows && first_column + j < columns) {
                matrix[(size_t)(first_row + i) * columns + first_column + j] = sums[i][j];
            }
        }
    }
}

// The share of `terms` that part `number` of `parts` adds: whole strips.
struct Share {
    uint32_t first, end;
};

__device__ __forceinline__ Share share_of(uint32_t terms, uint32_t number, uint32_t parts) {
    uint32_t strips = (terms + DEPTH - 1) / DEPTH;
    uint32_t of_part = (strips + parts - 1) / parts * DEPTH;
    uint32_t first = number * of_part;
    return {first < terms ? first : terms, first + of_part < terms ? first + of_part : terms};
}

// Sums parts of a matrix, one after another in memory, in order.
extern "C" __global__ void __launch_bounds__(THREADS) sum_parts(uint32_t elements, uint32_t parts, const float* partial, float* out) {
    uint32_t element = blockIdx.x * THREADS + threadIdx.x;
    if (element >= elements) return;
    float sum = 0.0f;
    for (uint32_t part = 0; part < parts; part++) sum += partial[(size_t)part * elements + element];
    out[element] = sum;
}
