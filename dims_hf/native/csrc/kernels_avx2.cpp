// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX2: bytes widened to 16 bits, whose products `vpmaddwd` adds in pairs without saturation. Activations are widened
// once for three blocks of outputs.
#if defined(__AVX2__)

#include <immintrin.h>

#include "kernels_body.h"
#include "kernels_registers.h"

namespace {

// Inputs that are widened at once, and rows of them: of every group the first and the third, and the other two.
constexpr size_t kWidened = 256;
struct Widened {
    int32_t even[kTileRows][kWidened / kGroup], odd[kTileRows][kWidened / kGroup];
};

DIMS_INLINE void widen(const int8_t* x, size_t width, size_t rows, size_t count, Widened& to) {
    for (size_t row = 0; row < rows; ++row)
        for (size_t i = 0; i < count; i += 16) {
            __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + row * width + i));
            __m128i even = _mm_srai_epi16(_mm_slli_epi16(values, 8), 8), odd = _mm_srai_epi16(values, 8);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to.even[row] + i / kGroup), even);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to.odd[row] + i / kGroup), odd);
        }
}

// Adds to the sums of M rows and half a block: 8 outputs.
template <int M>
DIMS_INLINE void multiply_half(const Widened& x, size_t groups, const uint8_t* w, Tile& tile, size_t column) {
    __m256i sums[M];
    for (int row = 0; row < M; ++row)
        sums[row] = _mm256_load_si256(reinterpret_cast<const __m256i*>(tile.sums[row] + column));
    const __m256i low = _mm256_set1_epi16(0x00ff);
    for (size_t group = 0; group < groups; ++group, w += kBlock * kGroup) {
        __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
        __m256i even = _mm256_and_si256(codes, low), odd = _mm256_srli_epi16(codes, 8);
        for (int row = 0; row < M; ++row) {
            __m256i first = _mm256_madd_epi16(even, _mm256_set1_epi32(x.even[row][group]));
            __m256i second = _mm256_madd_epi16(odd, _mm256_set1_epi32(x.odd[row][group]));
            sums[row] = _mm256_add_epi32(sums[row], _mm256_add_epi32(first, second));
        }
    }
    for (int row = 0; row < M; ++row)
        _mm256_store_si256(reinterpret_cast<__m256i*>(tile.sums[row] + column), sums[row]);
}

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead, Tile& tile) {
    for (int row = 0; row < M; ++row)
        for (size_t column = 0; column < N * kBlock; ++column) tile.sums[row][column] = 0;
    Widened widened;
    for (size_t i = 0; i < width; i += kWidened, x += kWidened, w += kWidened * kBlock) {
        size_t count = width - i < kWidened ? width - i : kWidened;
        widen(x, width, M, count, widened);
        for (int n = 0; n < N; ++n)
            for (int half = 0; half < 2; ++half)
                multiply_half<M>(widened, count / kGroup, w + n * block_bytes + half * 32, tile,
                                 n * kBlock + half * 8);
    }
}

}  // namespace

namespace dims {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = make_kernels<InRegisters>("avx2");

}  // namespace dims

#endif
