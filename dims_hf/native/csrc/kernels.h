// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// The operations that depend on the processor, as a table of functions: one table for each instruction set.
//
// All tables compute the same numbers, bit for bit: integer sums are exact, and floating-point sums run over sixteen
// lanes in a fixed order, without fused multiply-add.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DIMS_INLINE inline __attribute__((always_inline))

namespace dims {

// Outputs of a matrix that lie side by side in memory, and inputs that one instruction multiplies.
constexpr size_t kBlock = 16, kGroup = 4;

// The likeliest tokens that are kept for each position where neighbours matter.
constexpr int kMaxBest = 3;

// Rows of int8 activations, each with a scale of its own: value = scale * code.
struct Rows {
    const int8_t* codes;   // (count, width)
    const float* scales;   // (count)
    const int32_t* sums;   // (count), of the codes
    size_t count, width;
};

// A matrix (outputs, inputs): value = scale * (code - 128), codes in blocks of 16 outputs by 4 inputs, 64 bytes each.
struct Matrix {
    const uint8_t* codes = nullptr;
    const float* scales = nullptr;  // (blocks * 16), 0 where there is no output
    const float* bias = nullptr;    // (blocks * 16)
    size_t inputs = 0, blocks = 0;
    size_t block_bytes() const { return inputs * kBlock; }
};

enum class Activation { kNone, kRelu };

// What is known of the likeliest tokens of a position, best first, and the logarithm of the sum of all exp(logit).
struct Best {
    float logits[kMaxBest];
    int32_t columns[kMaxBest];
    float log_sum;
};

struct AttentionShape {
    size_t targets, sources, heads, head_size;
    bool causal;
};

struct Kernels {
    const char* name;

    // Sums (rows, blocks * 16) of code products, weights taken as code - 128.
    void (*accumulate)(const Rows& x, const Matrix& w, int32_t* sums);

    // y (rows, stride) = x w^T + bias, through an activation.
    void (*linear)(const Rows& x, const Matrix& w, Activation activation, float* y, size_t stride);

    // Likeliest columns of x w^T + bias, ties to the lower one; `log_sum` only where asked for.
    void (*find_best)(const Rows& x, const Matrix& w, int num_best, bool with_sum, Best* best);

    // Codes, scales and sums of x (count, width); width is a multiple of 16.
    void (*quantize)(const float* x, size_t count, size_t width, int8_t* codes, float* scales, int32_t* sums);

    // x = layer_norm(x + update), and its codes as `quantize` gives them.
    void (*add_norm)(float* x, const float* update, size_t count, size_t width, const float* gain, const float* bias,
                     int8_t* codes, float* scales, int32_t* sums);

    // Attention of targets to sources; strides in floats, scratch of `attention_scratch` floats.
    void (*attend)(const AttentionShape& shape, const float* q, size_t q_stride, const float* k, const float* v,
                   size_t kv_stride, float* out, size_t out_stride, float* scratch);
};

inline size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Queries that are attended for at once.
constexpr size_t kQueries = 8;

inline size_t attention_scratch(const AttentionShape& shape) {
    size_t keys = round_up(shape.sources, kBlock), width = round_up(shape.head_size, kBlock);
    return shape.head_size * keys + shape.sources * width + kQueries * keys;
}

// Tables of this machine's instruction sets, the fastest first; the last one is the portable table.
const Kernels* const* available_kernels(size_t* count);

// The table of that name, or the fastest for an empty one; null where the machine has none of that name.
const Kernels* find_kernels(const char* name);

}  // namespace dims
