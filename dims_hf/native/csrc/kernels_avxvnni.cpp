// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX-VNNI: `vpdpbusd` on registers of 8 outputs, for processors without AVX-512.
#if defined(__AVXVNNI__)

#include "kernels_body.h"
#include "kernels_ymm.h"

namespace {

struct Vnni256 : Sums256 {
    using Codes = __m256i;
    using Values = __m256i;

    static DIMS_INLINE Codes load_codes(const uint8_t* w) { return load_bytes(w); }
    static DIMS_INLINE Values spread(const int8_t* x) { return _mm256_set1_epi32(read_group(x)); }
    static DIMS_INLINE Sum add(Sum sum, Codes codes, Values values) {
        return _mm256_dpbusd_avx_epi32(sum, codes, values);
    }
};

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead, Tile& tile) {
    // sixteen registers hold the sums of six rows and a block
    constexpr int kUpper = M > 6 ? M / 2 : M;
    clear_tile<M, N>(tile);
    Inputs upper = {x, width, kGroup, width / kGroup}, lower = upper;
    lower.x += kUpper * width;
    for (int n = 0; n < N; ++n) {
        const uint8_t* codes = w + n * block_bytes;
        add_products<Vnni256, kUpper, 2>(upper, codes, kHalfBlock, ahead.part(n), tile.sums[0] + n * kBlock);
        if constexpr (M > kUpper)
            add_products<Vnni256, M - kUpper, 2>(lower, codes, kHalfBlock, {}, tile.sums[kUpper] + n * kBlock);
    }
}

}  // namespace

namespace dims {

extern const Kernels kAvxVnniKernels;
const Kernels kAvxVnniKernels = make_kernels<InRegisters>("avx-vnni");

}  // namespace dims

#endif
