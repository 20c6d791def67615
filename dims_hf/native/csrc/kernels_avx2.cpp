// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX2: bytes widened to 16 bits, whose products `vpmaddwd` adds in pairs without saturation. Activations are widened
// once for three blocks of outputs.
#if defined(__AVX2__)

#include "kernels_body.h"
#include "kernels_ymm.h"

namespace {

// Of every group of inputs the first and the third, and the other two.
struct Widened256 : Sums256 {
    struct Codes {
        __m256i even, odd;
    };
    using Values = Codes;

    static DIMS_INLINE Codes load_codes(const uint8_t* w) {
        __m256i codes = load_bytes(w);
        return {_mm256_and_si256(codes, _mm256_set1_epi16(0x00ff)), _mm256_srli_epi16(codes, 8)};
    }
    static DIMS_INLINE Values spread(const int8_t* x) {
        return {_mm256_set1_epi32(read_group(x)), _mm256_set1_epi32(read_group(x + kGroup))};
    }
    static DIMS_INLINE Sum add(Sum sum, Codes codes, Values values) {
        __m256i first = _mm256_madd_epi16(codes.even, values.even), second = _mm256_madd_epi16(codes.odd, values.odd);
        return _mm256_add_epi32(sum, _mm256_add_epi32(first, second));
    }
};

// Inputs that are widened at once.
constexpr size_t kWidened = 512;

DIMS_INLINE void widen(const int8_t* x, size_t count, int8_t* to) {
    for (size_t i = 0; i < count; i += 16, to += 32) {
        __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
        __m128i even = _mm_srai_epi16(_mm_slli_epi16(values, 8), 8), odd = _mm_srai_epi16(values, 8);
        _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi32(even, odd));
        _mm_store_si128(reinterpret_cast<__m128i*>(to + 16), _mm_unpackhi_epi32(even, odd));
    }
}

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead, Tile& tile) {
    clear_tile<M, N>(tile);
    alignas(64) int8_t widened[M][2 * kWidened];
    for (size_t i = 0; i < width; i += kWidened) {
        size_t count = width - i < kWidened ? width - i : kWidened;
        for (int row = 0; row < M; ++row) widen(x + row * width + i, count, widened[row]);
        Inputs inputs = {widened[0], sizeof widened[0], 2 * kGroup, count / kGroup};
        for (int n = 0; n < N; ++n) {
            const uint8_t* codes = w + n * block_bytes + i * kBlock;
            int32_t* to = tile.sums[0] + n * kBlock;
            add_products<Widened256, M, 1>(inputs, codes, 0, ahead.part(n), to);
            add_products<Widened256, M, 1>(inputs, codes + kHalfBlock, 0, {}, to + Widened256::kOutputs);
        }
        ahead.at += count * kBlock;
    }
}

}  // namespace

namespace dims {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = make_kernels<InRegisters>("avx2");

}  // namespace dims

#endif
