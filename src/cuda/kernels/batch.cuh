// A training batch from the images of the data set, which are bytes, (N, C, H, W): crop, flip, jitter and rotation as the
// host drew them, to the byte as on the CPU, and normalisation. Sources: those of src/data/augment.
#pragma once

#include "common.cuh"

// What is done to one image of an epoch. All is drawn on the host; this is 64 bytes.
struct Draw {
    // Of the image in the data set.
    uint32_t index;
    uint32_t label;
    // Where the crop begins.
    int32_t left, top;
    // Kinds of jitter in the order of application, a byte each.
    uint8_t jitter[4];
    // Factors; of a shift of the hue, what is added to it modulo 256.
    float amounts[4];
    uint32_t flip;
    // Whether there is a rotation; and the source of the first pixel and its steps, in 65536ths of a pixel.
    uint32_t rotates;
    int32_t first_x, first_y, step_x, step_y, row_step_x, row_step_y;
};

enum Jitter { NO_JITTER, BRIGHTNESS, CONTRAST, SATURATION, HUE };

// PIL's `blend`: away from `base` by `factor`, truncated and clamped. A NaN becomes 0.
__device__ __forceinline__ uint8_t blend(uint32_t base, uint32_t value, float factor) {
    const float blended = (float)base + factor * ((float)value - (float)base);
    const float not_negative = blended > 0.0f ? blended : 0.0f;
    return (uint8_t)(uint32_t)(not_negative < 255.0f ? not_negative : 255.0f);
}

// PIL's conversion to `L`, ITU-R 601-2 luma in fixed point.
__device__ __forceinline__ uint32_t luma(uint32_t r, uint32_t g, uint32_t b) {
    return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
}

// From it to its double the floats are the integers.
constexpr float INTEGERS = 8388608.0f;

// The integer below the exact product, for 0 to 1.
__device__ __forceinline__ uint32_t truncate_255_times(float x) {
    const float rounded = x * 255.0f + INTEGERS;
    // Neither the product with 256 nor the difference has to be rounded.
    const uint32_t too_great = x * 256.0f - (rounded - INTEGERS) < x ? 1 : 0;
    return (uint8_t)(__float_as_uint(rounded) - too_great);
}

struct Rgb {
    uint32_t r, g, b;
};

// `rgb2hsv_row` and `hsv2rgb` of Pillow's `Convert.c` with a shift of the hue between them.
__device__ __forceinline__ Rgb shift_hue(Rgb c, uint32_t shift) {
    const uint32_t greatest = max(c.r, max(c.g, c.b)), least = min(c.r, min(c.g, c.b));
    const uint32_t middle = c.r + c.g + c.b - greatest - least, chroma = greatest - least;
    uint32_t sextant;
    if (c.r == greatest) {
        sextant = c.b == least ? 0 : 5;
    } else if (c.g == greatest) {
        sextant = c.b == least ? 1 : 2;
    } else {
        sextant = c.r == least ? 3 : 4;
    }
    const float corner = sextant == 5 ? -1.0f : (float)(sextant | 1);
    const float distance = (float)(greatest - middle) / (float)max(chroma, 1u);
    const float turns = (corner + (sextant % 2 == 1 ? distance : -distance)) / 6.0f;
    uint32_t h = chroma == 0 ? 0 : truncate_255_times(turns < 0.0f ? turns + 1.0f : turns);
    const uint32_t s = truncate_255_times((float)chroma / (float)max(greatest, 1u)), v = greatest;

    h = (h + shift) & 255;
    const uint32_t sixth = h * 6 / 255, fraction = h * 6 - sixth * 255;
    // The end of the circle is its beginning.
    const uint32_t out = sixth == 6 ? 0 : sixth;
    const uint32_t product = v * (255 - s) + 128, low = (product + (product >> 8)) >> 8;
    const uint32_t away = out % 2 == 1 ? fraction : 255 - fraction;
    const float kept = (float)(int)(v * (255 * 255 - s * away)) / (255.0f * 255.0f);
    const uint32_t between = (uint8_t)__float_as_uint(kept + INTEGERS);
    switch (out) {
        case 0: return {v, between, low};
        case 1: return {between, v, low};
        case 2: return {low, v, between};
        case 3: return {low, between, v};
        case 4: return {between, low, v};
        default: return {v, low, between};
    }
}

struct ImageShape {
    uint32_t channels, height, width;
    Divisor by_width;
};

// `normalised` has for each channel what its bytes become, (C, 256); `scratch` room for the bytes of each image of the
// batch. Writes x (N, H, W, C) and the labels. Grid: images.
extern "C" __global__ void __launch_bounds__(THREADS)
    load_batch(ImageShape shape, const uint8_t* images, const Draw* draws, uint32_t batch_size, const Position* position,
               const float* normalised, uint8_t* scratch, float* x, uint32_t* labels, Outcome* outcome) {
    __shared__ uint32_t sums[THREADS];
    const Draw& draw = draws[(size_t)position->batch * batch_size + blockIdx.x];
    const uint32_t plane = shape.height * shape.width, bytes = shape.channels * plane;
    const uint8_t* source = images + (size_t)draw.index * bytes;
    uint8_t* pixels = scratch + (size_t)blockIdx.x * bytes;
    if (threadIdx.x == 0) {
        labels[blockIdx.x] = draw.label;
        if (blockIdx.x == 0) outcome->began = nanoseconds();
    }
    for (uint32_t pixel = threadIdx.x; pixel < plane; pixel += THREADS) {
        const QuotientRemainder at = divide_with_remainder(pixel, shape.by_width);
        const int64_t y = (int64_t)at.quotient + draw.top;
        const int64_t x_of_crop = draw.flip ? shape.width - 1 - at.remainder : at.remainder;
        const int64_t column = x_of_crop + draw.left;
        const bool inside = y >= 0 && y < shape.height && column >= 0 && column < shape.width;
        for (uint32_t channel = 0; channel < shape.channels; channel++) {
            pixels[channel * plane + pixel] = inside ? source[channel * plane + y * shape.width + column] : 0;
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t kind = draw.jitter[i];
        const float amount = draw.amounts[i];
        const bool coloured = shape.channels == 3;
        uint32_t mean = 0;
        if (kind == CONTRAST) {
            uint32_t sum = 0;
            // Every thread's own pixels: no barrier is due before.
            for (uint32_t pixel = threadIdx.x; pixel < plane; pixel += THREADS) {
                if (coloured) {
                    sum += luma(pixels[pixel], pixels[plane + pixel], pixels[2 * plane + pixel]);
                } else {
                    for (uint32_t channel = 0; channel < shape.channels; channel++) sum += pixels[channel * plane + pixel];
                }
            }
            mean = (uint8_t)((sum_block(sum, sums) + plane / 2) / plane);
        }
        for (uint32_t pixel = threadIdx.x; pixel < plane; pixel += THREADS) {
            if (kind == BRIGHTNESS || kind == CONTRAST) {
                for (uint32_t channel = 0; channel < shape.channels; channel++) {
                    pixels[channel * plane + pixel] = blend(mean, pixels[channel * plane + pixel], amount);
                }
            } else if (coloured && (kind == SATURATION || kind == HUE)) {
                const Rgb old = {pixels[pixel], pixels[plane + pixel], pixels[2 * plane + pixel]};
                Rgb colour;
                if (kind == SATURATION) {
                    const uint32_t grey = luma(old.r, old.g, old.b);
                    colour = {blend(grey, old.r, amount), blend(grey, old.g, amount), blend(grey, old.b, amount)};
                } else {
                    colour = shift_hue(old, (uint32_t)amount);
                }
                pixels[pixel] = (uint8_t)colour.r;
                pixels[plane + pixel] = (uint8_t)colour.g;
                pixels[2 * plane + pixel] = (uint8_t)colour.b;
            }
        }
    }
    __syncthreads();
    for (uint32_t pixel = threadIdx.x; pixel < plane; pixel += THREADS) {
        const QuotientRemainder at = divide_with_remainder(pixel, shape.by_width);
        int32_t row = (int32_t)at.quotient, column = (int32_t)at.remainder;
        if (draw.rotates) {
            // Pillow's fixed-point `affine_fixed`.
            const int32_t source_x = (draw.first_x + row * draw.row_step_x + column * draw.step_x) >> 16;
            const int32_t source_y = (draw.first_y + row * draw.row_step_y + column * draw.step_y) >> 16;
            row = source_y;
            column = source_x;
        }
        const bool inside = row >= 0 && row < (int32_t)shape.height && column >= 0 && column < (int32_t)shape.width;
        for (uint32_t channel = 0; channel < shape.channels; channel++) {
            const uint32_t byte = inside ? pixels[channel * plane + (uint32_t)row * shape.width + (uint32_t)column] : 0;
            x[((size_t)blockIdx.x * plane + pixel) * shape.channels + channel] = normalised[channel * 256 + byte];
        }
    }
}

// A training batch that the host has made, from one of `slots` places for as many batches of `capacity` numbers. Grid:
// elements of x.
extern "C" __global__ void __launch_bounds__(THREADS)
    take_batch(uint32_t elements, uint32_t capacity, uint32_t images, uint32_t batch_size, uint32_t slots,
               const float* slot_images, const uint32_t* slot_labels, const Position* position, float* x, uint32_t* labels,
               Outcome* outcome) {
    const uint32_t element = blockIdx.x * THREADS + threadIdx.x, slot = position->batch % slots;
    if (element == 0) outcome->began = nanoseconds();
    if (element < elements) x[element] = slot_images[(size_t)slot * capacity + element];
    if (element < images) labels[element] = slot_labels[slot * batch_size + element];
}
