// The product of two matrices whose elements are fetched by functions: a block of 256 threads computes a tile of 64 x 64,
// each thread 4 rows by 4 columns of it.
//
// In f32 the terms of an element are added in order, each rounded once. With TAPER_BF16 the elements are rounded to bfloat16
// and multiplied by tensor cores, sixteen terms at a time, which add in f32, in an order of their own.
#pragma once

#include "common.cuh"

constexpr unsigned TILE = 64;
constexpr unsigned DEPTH = 16;
constexpr unsigned SIDE = 4;

// Along which side of an operand four elements are beside each other in memory: a thread fetches four such, together where
// their number is a multiple of four.
enum class Along { TERMS, ROWS };

// Where this thread's element number `i` of a strip of terms is.
template <Along ALONG>
__device__ __forceinline__ uint32_t term_of(uint32_t i) {
    return ALONG == Along::TERMS ? threadIdx.x % (DEPTH / SIDE) * SIDE + i : threadIdx.x / (TILE / SIDE);
}

template <Along ALONG>
__device__ __forceinline__ uint32_t row_of(uint32_t i) {
    return ALONG == Along::TERMS ? threadIdx.x / (DEPTH / SIDE) : threadIdx.x % (TILE / SIDE) * SIDE + i;
}

__device__ __forceinline__ void load_four(const float* from, float (&into)[SIDE]) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    into[0] = four.x;
    into[1] = four.y;
    into[2] = four.z;
    into[3] = four.w;
}

// This thread's elements of the terms from `term` on, of which those from `end` on are 0, and of the rows from `row` on.
template <class Operand>
__device__ __forceinline__ void fetch(const Operand& operand, uint32_t term, uint32_t end, uint32_t row, float (&into)[SIDE]) {
    const uint32_t k = term + term_of<Operand::ALONG>(0), r = row + row_of<Operand::ALONG>(0);
    if (k + (Operand::ALONG == Along::TERMS ? SIDE : 1) <= end && operand.has_fours(r)) {
        operand.four(k, r, into);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) {
        const uint32_t of_element = term + term_of<Operand::ALONG>(i);
        into[i] = of_element < end ? operand.one(of_element, row + row_of<Operand::ALONG>(i)) : 0.0f;
    }
}

#ifndef TAPER_BF16

// The two strips of the present terms; a strip of the left one has room to keep columns out of each other's banks.
struct Strips {
    alignas(16) float left[DEPTH][TILE + 4];
    alignas(16) float right[DEPTH][TILE];
};

struct Quad {
    alignas(16) float values[SIDE];
};

// Threads of a group have the same rows, of which there are 16 groups.
__device__ __forceinline__ uint32_t group_of_rows() {
    return threadIdx.x / (TILE / SIDE);
}

__device__ __forceinline__ uint32_t tile_row(uint32_t i) {
    return group_of_rows() * SIDE + i;
}

__device__ __forceinline__ uint32_t tile_column(uint32_t j) {
    return threadIdx.x % (TILE / SIDE) * SIDE + j;
}

template <Along ALONG>
__device__ __forceinline__ void store_left(Strips& strips, const float (&values)[SIDE]) {
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) strips.left[term_of<ALONG>(i)][row_of<ALONG>(i)] = values[i];
}

template <Along ALONG>
__device__ __forceinline__ void store_right(Strips& strips, const float (&values)[SIDE]) {
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) strips.right[term_of<ALONG>(i)][row_of<ALONG>(i)] = values[i];
}

__device__ __forceinline__ void multiply(const Strips& strips, float (&sums)[SIDE][SIDE]) {
#pragma unroll
    for (uint32_t k = 0; k < DEPTH; k++) {
        const Quad l = *reinterpret_cast<const Quad*>(&strips.left[k][tile_row(0)]);
        const Quad r = *reinterpret_cast<const Quad*>(&strips.right[k][tile_column(0)]);
#pragma unroll
        for (uint32_t i = 0; i < SIDE; i++) {
#pragma unroll
            for (uint32_t j = 0; j < SIDE; j++) sums[i][j] = __fmaf_rn(l.values[i], r.values[j], sums[i][j]);
        }
    }
}

#else

// Two numbers beside each other are two terms; a row has room to keep rows out of each other's banks.
struct Strips {
    alignas(16) uint16_t left[TILE][DEPTH + 8];
    alignas(16) uint16_t right[TILE][DEPTH + 8];
};

// To the nearest, of two the even one; a NaN stays one.
__device__ __forceinline__ uint16_t to_bf16(float x) {
    const uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// The warps are 2 rows of 4; each has 32 x 16 elements, in 2 x 2 products of 16 x 8. Within one, a thread has two
// neighbouring columns of the rows `lane / 4` and 8 below.
__device__ __forceinline__ uint32_t group_of_rows() {
    return threadIdx.x / 128 * 8 + threadIdx.x % 32 / 4;
}

__device__ __forceinline__ uint32_t tile_row(uint32_t i) {
    return threadIdx.x / 128 * 32 + i / 2 * 16 + i % 2 * 8 + threadIdx.x % 32 / 4;
}

__device__ __forceinline__ uint32_t tile_column(uint32_t j) {
    return threadIdx.x / 32 % 4 * 16 + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2;
}

template <Along ALONG>
__device__ __forceinline__ void store_left(Strips& strips, const float (&values)[SIDE]) {
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) strips.left[row_of<ALONG>(i)][term_of<ALONG>(i)] = to_bf16(values[i]);
}

template <Along ALONG>
__device__ __forceinline__ void store_right(Strips& strips, const float (&values)[SIDE]) {
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) strips.right[row_of<ALONG>(i)][term_of<ALONG>(i)] = to_bf16(values[i]);
}

__device__ __forceinline__ void multiply_16x8(float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
#ifdef __CUDACC_RTC__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#else
    twin_mma_bf16(sums, left, right);
#endif
}

// The terms 2 · (lane % 4) and the next, or those 8 further.
__device__ __forceinline__ uint32_t pair(const uint16_t (&row)[DEPTH + 8], uint32_t half) {
    return *reinterpret_cast<const uint32_t*>(&row[threadIdx.x % 4 * 2 + half * 8]);
}

__device__ __forceinline__ void multiply(const Strips& strips, float (&sums)[SIDE][SIDE]) {
    const uint32_t line = threadIdx.x % 32 / 4;
    uint32_t right[2][2];
#pragma unroll
    for (uint32_t n = 0; n < 2; n++) {
        const uint16_t(&column)[DEPTH + 8] = strips.right[threadIdx.x / 32 % 4 * 16 + n * 8 + line];
        right[n][0] = pair(column, 0);
        right[n][1] = pair(column, 1);
    }
#pragma unroll
    for (uint32_t m = 0; m < 2; m++) {
        const uint32_t row = threadIdx.x / 128 * 32 + m * 16 + line;
        const uint32_t left[4] = {pair(strips.left[row], 0), pair(strips.left[row + 8], 0), pair(strips.left[row], 1),
                                  pair(strips.left[row + 8], 1)};
#pragma unroll
        for (uint32_t n = 0; n < 2; n++) {
            float product[4] = {sums[2 * m][2 * n], sums[2 * m][2 * n + 1], sums[2 * m + 1][2 * n], sums[2 * m + 1][2 * n + 1]};
            multiply_16x8(product, left, right[n]);
            sums[2 * m][2 * n] = product[0];
            sums[2 * m][2 * n + 1] = product[1];
            sums[2 * m + 1][2 * n] = product[2];
            sums[2 * m + 1][2 * n + 1] = product[3];
        }
    }
}

#endif

// Adds the terms `term` to `end` of the tile at (`row`, `column`) to `sums`, whose element (i, j) is that of the tile's
// `tile_row(i)` and `tile_column(j)`.
template <class Left, class Right>
__device__ __forceinline__ void add_product(const Left& left, const Right& right, uint32_t term, uint32_t end, uint32_t row,
                                            uint32_t column, Strips& strips, float (&sums)[SIDE][SIDE]) {
    float next_left[SIDE], next_right[SIDE];
    fetch(left, term, end, row, next_left);
    fetch(right, term, end, column, next_right);
    for (; term < end; term += DEPTH) {
        store_left<Left::ALONG>(strips, next_left);
        store_right<Right::ALONG>(strips, next_right);
        __syncthreads();
        // Under way while the present strips are multiplied.
        if (term + DEPTH < end) {
            fetch(left, term + DEPTH, end, row, next_left);
            fetch(right, term + DEPTH, end, column, next_right);
        }
        multiply(strips, sums);
        __syncthreads();
    }
}

// An operand has `one` element of a term and a row, 0 beyond its rows; `four`, where it `has_fours` at a row, are those of
// four terms or rows (see Along) from there on, the first a multiple of four.

// A matrix whose terms are beside each other: element (k, row) is `data[row * terms + k]`.
struct RowMajor {
    static constexpr Along ALONG = Along::TERMS;
    const float* data;
    uint32_t rows, terms;

    __device__ __forceinline__ bool has_fours(uint32_t row) const {
        return terms % SIDE == 0 && row < rows;
    }

    __device__ __forceinline__ void four(uint32_t k, uint32_t row, float (&into)[SIDE]) const {
        load_four(data + (size_t)row * terms + k, into);
    }

    __device__ __forceinline__ float one(uint32_t k, uint32_t row) const {
        return row < rows ? data[(size_t)row * terms + k] : 0.0f;
    }
};

// A matrix whose rows are beside each other: element (k, row) is `data[k * rows + row]`.
struct TermMajor {
    static constexpr Along ALONG = Along::ROWS;
    const float* data;
    uint32_t rows;

    __device__ __forceinline__ bool has_fours(uint32_t row) const {
        return rows % SIDE == 0 && row < rows;
    }

    __device__ __forceinline__ void four(uint32_t k, uint32_t row, float (&into)[SIDE]) const {
        load_four(data + (size_t)k * rows + row, into);
    }

    __device__ __forceinline__ float one(uint32_t k, uint32_t row) const {
        return row < rows ? data[(size_t)k * rows + row] : 0.0f;
    }
};

// Writes a tile to a matrix of `rows` x `columns`.
__device__ __forceinline__ void store_tile(float* matrix, uint32_t rows, uint32_t columns, uint32_t row, uint32_t column,
                                           const float (&sums)[SIDE][SIDE]) {
#pragma unroll
    for (uint32_t i = 0; i < SIDE; i++) {
#pragma unroll
        for (uint32_t j = 0; j < SIDE; j++) {
            const uint32_t r = row + tile_row(i), c = column + tile_column(j);
            if (r < rows && c < columns) matrix[(size_t)r * columns + c] = sums[i][j];
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
