// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX-VNNI: `vpdpbusd` on registers of 8 outputs, for processors without AVX-512.
#if defined(__AVXVNNI__)

#include <immintrin.h>

#include "kernels_body.h"
#include "kernels_sums.h"

namespace {

struct Vnni256 {
    using Sum = __m256i;
    using Codes = __m256i;
    using Values = __m256i;
    static constexpr size_t kOutputs = 8;

    static DIMS_INLINE Sum load_sum(const int32_t* from) {
        return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
    }
    static DIMS_INLINE Codes load_codes(const uint8_t* w) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    }
    static DIMS_INLINE Values spread(const int8_t* x) {
        int32_t group;
        __builtin_memcpy(&group, x, sizeof group);
        return _mm256_set1_epi32(group);
    }
    static DIMS_INLINE Sum add(Sum sum, Codes codes, Values values) {
        return _mm256_dpbusd_avx_epi32(sum, codes, values);
    }
    static DIMS_INLINE void store(int32_t* to, Sum sum) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), sum); }
};

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead, Tile& tile) {
    // sixteen registers hold the sums of six rows and a block
    constexpr int kUpper = M > 6 ? M / 2 : M;
    constexpr size_t kHalf = kBlock * kGroup / 2;
    clear_tile<M, N>(tile);
    Inputs upper = {x, width, kGroup, width / kGroup}, lower = upper;
    lower.x += kUpper * width;
    for (int n = 0; n < N; ++n) {
        const uint8_t* codes = w + n * block_bytes;
        add_products<Vnni256, kUpper, 2>(upper, codes, kHalf, ahead.part(n), tile.sums[0] + n * kBlock);
        if constexpr (M > kUpper)
            add_products<Vnni256, M - kUpper, 2>(lower, codes, kHalf, {}, tile.sums[kUpper] + n * kBlock);
    }
}

}  // namespace

namespace dims {

extern const Kernels kAvxVnniKernels;
const Kernels kAvxVnniKernels = make_kernels<InRegisters>("avx-vnni");

}  // namespace dims

#endif
