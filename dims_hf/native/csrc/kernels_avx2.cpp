// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX2: bytes widened to 16 bits, whose products `vpmaddwd` adds in pairs without saturation.
#if defined(__AVX2__)

#include <immintrin.h>

#include "kernels_body.h"
#include "kernels_registers.h"

namespace {

// Sums of M rows and half a block: 8 outputs.
template <int M>
DIMS_INLINE void multiply_half(const int8_t* x, size_t width, const uint8_t* w, Tile& tile, size_t column) {
    __m256i sums[M] = {};
    const __m256i low = _mm256_set1_epi16(0x00ff);
    for (size_t i = 0; i < width; i += kGroup, w += kBlock * kGroup) {
        __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
        __m256i even = _mm256_and_si256(codes, low), odd = _mm256_srli_epi16(codes, 8);
        for (int row = 0; row < M; ++row) {
            int32_t group;
            __builtin_memcpy(&group, x + row * width + i, sizeof group);
            __m256i values = _mm256_set1_epi32(group);
            __m256i even_values = _mm256_srai_epi16(_mm256_slli_epi16(values, 8), 8);
            __m256i odd_values = _mm256_srai_epi16(values, 8);
            sums[row] = _mm256_add_epi32(sums[row], _mm256_madd_epi16(even, even_values));
            sums[row] = _mm256_add_epi32(sums[row], _mm256_madd_epi16(odd, odd_values));
        }
    }
    for (int row = 0; row < M; ++row)
        _mm256_store_si256(reinterpret_cast<__m256i*>(tile.sums[row] + column), sums[row]);
}

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Tile& tile) {
    for (int n = 0; n < N; ++n)
        for (int half = 0; half < 2; ++half)
            multiply_half<M>(x, width, w + n * block_bytes + half * 32, tile, n * kBlock + half * 8);
}

}  // namespace

namespace dims {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = make_kernels<InRegisters>("avx2");

}  // namespace dims

#endif
