// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// ARM with the dot-product instructions: `sdot` multiplies 4 outputs by 4 inputs, both signed.
#if defined(__ARM_FEATURE_DOTPROD)

#include <arm_neon.h>

#include "kernels_body.h"
#include "kernels_registers.h"

namespace {

// Sums of M rows and one block; the weights' offset of 128 is put back, which what follows takes off again.
template <int M>
DIMS_INLINE void multiply_block(const int8_t* x, size_t width, const uint8_t* w, Tile& tile, size_t column) {
    int32x4_t sums[M][4], totals[M];
    for (int row = 0; row < M; ++row) {
        totals[row] = vdupq_n_s32(0);
        for (int part = 0; part < 4; ++part) sums[row][part] = vdupq_n_s32(0);
    }
    const uint8x16_t offset = vdupq_n_u8(128);
    const int8x16_t ones = vdupq_n_s8(1);
    for (size_t i = 0; i < width; i += kGroup, w += kBlock * kGroup) {
        int8x16_t codes[4];
        for (int part = 0; part < 4; ++part)
            codes[part] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 16 * part), offset));
        for (int row = 0; row < M; ++row) {
            int8x16_t values = vreinterpretq_s8_s32(vdupq_n_s32(read_group(x + row * width + i)));
            totals[row] = vdotq_s32(totals[row], ones, values);
            for (int part = 0; part < 4; ++part) sums[row][part] = vdotq_s32(sums[row][part], codes[part], values);
        }
    }
    for (int row = 0; row < M; ++row)
        for (int part = 0; part < 4; ++part)
            vst1q_s32(tile.sums[row] + column + 4 * part, vmlaq_n_s32(sums[row][part], totals[row], 128));
}

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead, Tile& tile) {
    for (int n = 0; n < N; ++n) {
        // five accumulators a row: four rows at a time fit the registers
        if constexpr (M > 4) {
            multiply_block<4>(x, width, w + n * block_bytes, tile, n * kBlock);
            Tile rest;
            multiply_block<M - 4>(x + 4 * width, width, w + n * block_bytes, rest, n * kBlock);
            for (int row = 4; row < M; ++row)
                __builtin_memcpy(tile.sums[row] + n * kBlock, rest.sums[row - 4] + n * kBlock, kBlock * 4);
        } else {
            multiply_block<M>(x, width, w + n * block_bytes, tile, n * kBlock);
        }
    }
}

}  // namespace

namespace dims {

extern const Kernels kNeonKernels;
const Kernels kNeonKernels = make_kernels<InRegisters>("neon-dotprod");

}  // namespace dims

#endif
