// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX-512 VNNI: `vpdpbusd` multiplies 16 outputs by 4 inputs, unsigned weights by signed activations.
#pragma once

#include <immintrin.h>

#include "kernels_registers.h"

namespace {

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Tile& tile) {
    __m512i sums[M][N];
    for (int row = 0; row < M; ++row)
        for (int n = 0; n < N; ++n) sums[row][n] = _mm512_setzero_si512();
    // The blocks after these, which come next: reading past the end is only a hint.
    const uint8_t* ahead = w + N * block_bytes;
    for (size_t i = 0; i < width; i += kGroup, w += kBlock * kGroup, ahead += N * kBlock * kGroup) {
        __m512i codes[N];
        for (int n = 0; n < N; ++n) {
            codes[n] = _mm512_loadu_si512(w + n * block_bytes);
            _mm_prefetch(reinterpret_cast<const char*>(ahead + n * kBlock * kGroup), _MM_HINT_T0);
        }
        for (int row = 0; row < M; ++row) {
            int32_t group;
            __builtin_memcpy(&group, x + row * width + i, sizeof group);
            __m512i values = _mm512_set1_epi32(group);
            for (int n = 0; n < N; ++n) sums[row][n] = _mm512_dpbusd_epi32(sums[row][n], codes[n], values);
        }
    }
    for (int row = 0; row < M; ++row)
        for (int n = 0; n < N; ++n) _mm512_store_si512(tile.sums[row] + n * kBlock, sums[row][n]);
}

}  // namespace
