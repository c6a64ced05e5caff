// Convolutions 3 x 3 with padding 1 by implicit matrix products, on (N, H, W, C). Weights are (tap, C, O), taps row by row.
#pragma once

#include "product.cuh"

constexpr uint32_t TAPS = 9;

// The pixels around each pixel: element (k, pixel) is channel k % C of the pixel that tap k / C looks at, in the direction
// of the convolution (1) or against it (-1), where the image has one.
struct Patches {
    static constexpr Along ALONG = Along::TERMS;
    const float* data;
    uint32_t pixels, channels, area, height, width;
    int direction;
    Divisor by_channels, by_area, by_width;

    // Null where the image has no such pixel.
    __device__ __forceinline__ const float* find(uint32_t k, uint32_t pixel) const {
        const QuotientRemainder tap = divide_with_remainder(k, by_channels);
        const QuotientRemainder image = divide_with_remainder(pixel, by_area);
        const QuotientRemainder row = divide_with_remainder(image.remainder, by_width);
        const int y = (int)row.quotient + direction * ((int)(tap.quotient / 3) - 1);
        const int x = (int)row.remainder + direction * ((int)(tap.quotient % 3) - 1);
        if (y < 0 || y >= (int)height || x < 0 || x >= (int)width) return nullptr;
        return data + ((size_t)image.quotient * area + y * width + x) * channels + tap.remainder;
    }

    __device__ __forceinline__ bool has_fours(uint32_t pixel) const {
        return channels % SIDE == 0 && pixel < pixels;
    }

    __device__ __forceinline__ void four(uint32_t k, uint32_t pixel, float (&into)[SIDE]) const {
        const float* from = find(k, pixel);
        if (from) {
            load_four(from, into);
        } else {
            into[0] = into[1] = into[2] = into[3] = 0.0f;
        }
    }

    __device__ __forceinline__ float one(uint32_t k, uint32_t pixel) const {
        const float* from = pixel < pixels ? find(k, pixel) : nullptr;
        return from ? *from : 0.0f;
    }
};

// The same with pixels as terms and the channels of all taps as rows.
struct PatchRows {
    static constexpr Along ALONG = Along::ROWS;
    Patches patches;
    uint32_t rows;

    __device__ __forceinline__ bool has_fours(uint32_t row) const {
        return patches.channels % SIDE == 0 && row < rows;
    }

    __device__ __forceinline__ void four(uint32_t pixel, uint32_t row, float (&into)[SIDE]) const {
        patches.four(row, pixel, into);
    }

    __device__ __forceinline__ float one(uint32_t pixel, uint32_t row) const {
        return row < rows ? patches.one(row, pixel) : 0.0f;
    }
};

// The weights for the gradient of the input: element (k, input) is that of tap k / O and output k % O.
struct WeightByInput {
    static constexpr Along ALONG = Along::TERMS;
    const float* data;
    uint32_t inputs, outputs;
    Divisor by_outputs;

    __device__ __forceinline__ const float* find(uint32_t k, uint32_t input) const {
        const QuotientRemainder tap = divide_with_remainder(k, by_outputs);
        return data + ((size_t)tap.quotient * inputs + input) * outputs + tap.remainder;
    }

    __device__ __forceinline__ bool has_fours(uint32_t input) const {
        return outputs % SIDE == 0 && input < inputs;
    }

    __device__ __forceinline__ void four(uint32_t k, uint32_t input, float (&into)[SIDE]) const {
        load_four(find(k, input), into);
    }

    __device__ __forceinline__ float one(uint32_t k, uint32_t input) const {
        return input < inputs ? *find(k, input) : 0.0f;
    }
};

__device__ __forceinline__ Patches input_patches(const BlockShape& shape, const float* x) {
    return {x, shape.pixels, shape.inputs, shape.area, shape.height, shape.width, 1, shape.by_inputs, shape.by_area, shape.by_width};
}

__device__ __forceinline__ Patches output_patches(const BlockShape& shape, const float* dy) {
    return {dy, shape.pixels, shape.outputs, shape.area, shape.height, shape.width, -1, shape.by_outputs, shape.by_area, shape.by_width};
}

// y = x * w + b, and of each tile of 64 pixels the mean of each output and the sum of squared deviations from it, (tiles, O):
// the batch's are merged from them (Chan et al. 1979). Grid: tiles of pixels, tiles of outputs.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_forward(BlockShape shape, const float* x, const float* weight, const float* bias, float* y, float* means, float* squares) {
    __shared__ Strips strips;
    __shared__ float reduced[TILE / SIDE][TILE];
    const uint32_t pixel = blockIdx.x * TILE, output = blockIdx.y * TILE;
    float sums[SIDE][SIDE] = {};
    add_product(input_patches(shape, x), TermMajor{weight, shape.outputs}, 0, TAPS * shape.inputs, pixel, output, strips, sums);
    const uint32_t group = group_of_rows();
#pragma unroll
    for (uint32_t j = 0; j < SIDE; j++) {
        const uint32_t o = output + tile_column(j);
        float of_output = o < shape.outputs ? bias[o] : 0.0f;
#pragma unroll
        for (uint32_t i = 0; i < SIDE; i++) sums[i][j] += of_output;
    }
    store_tile(y, shape.pixels, shape.outputs, pixel, output, sums);

    const uint32_t left = shape.pixels - pixel, count = left < TILE ? left : TILE;
    float mean[SIDE];
#pragma unroll
    for (uint32_t pass = 0; pass < 2; pass++) {
#pragma unroll
        for (uint32_t j = 0; j < SIDE; j++) {
            float sum = 0.0f;
#pragma unroll
            for (uint32_t i = 0; i < SIDE; i++) {
                float centred = pass == 0 ? sums[i][j] : sums[i][j] - mean[j];
                float term = pass == 0 ? centred : centred * centred;
                sum += tile_row(i) < count ? term : 0.0f;
            }
            reduced[group][tile_column(j)] = sum;
        }
        __syncthreads();
        float total[SIDE];
#pragma unroll
        for (uint32_t j = 0; j < SIDE; j++) {
            total[j] = 0.0f;
            for (uint32_t other = 0; other < TILE / SIDE; other++) total[j] += reduced[other][tile_column(j)];
            if (pass == 0) mean[j] = total[j] / (float)count;
            const uint32_t o = output + tile_column(j);
            if (group == 0 && o < shape.outputs) {
                (pass == 0 ? means : squares)[(size_t)blockIdx.x * shape.outputs + o] = pass == 0 ? mean[j] : total[j];
            }
        }
        __syncthreads();
    }
}

// The gradient of the weights, in parts of the pixels, (parts, taps · C, O). Grid: tiles of rows, tiles of outputs, parts.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_weight_gradient(BlockShape shape, const float* x, const float* dy, float* partial) {
    __shared__ Strips strips;
    const uint32_t row = blockIdx.x * TILE, output = blockIdx.y * TILE, rows = TAPS * shape.inputs;
    const Share share = share_of(shape.pixels, blockIdx.z, gridDim.z);
    float sums[SIDE][SIDE] = {};
    add_product(PatchRows{input_patches(shape, x), rows}, TermMajor{dy, shape.outputs}, share.first, share.end, row, output,
                strips, sums);
    store_tile(partial + (size_t)blockIdx.z * rows * shape.outputs, rows, shape.outputs, row, output, sums);
}

// The gradient of the input. Grid: tiles of pixels, tiles of inputs.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_input_gradient(BlockShape shape, const float* dy, const float* weight, float* dx) {
    __shared__ Strips strips;
    const uint32_t pixel = blockIdx.x * TILE, input = blockIdx.y * TILE;
    float sums[SIDE][SIDE] = {};
    add_product(output_patches(shape, dy), WeightByInput{weight, shape.inputs, shape.outputs, shape.by_outputs}, 0,
                TAPS * shape.outputs, pixel, input, strips, sums);
    store_tile(dx, shape.pixels, shape.inputs, pixel, input, sums);
}
