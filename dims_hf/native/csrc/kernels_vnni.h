// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX-512 VNNI: `vpdpbusd` multiplies 16 outputs by 4 inputs, unsigned weights by signed activations.
#pragma once

#include <immintrin.h>

#include "kernels_sums.h"

namespace {

struct Vnni512 {
    using Sum = __m512i;
    using Codes = __m512i;
    using Values = __m512i;
    static constexpr size_t kOutputs = 16;

    static DIMS_INLINE Sum load_sum(const int32_t* from) { return _mm512_load_si512(from); }
    static DIMS_INLINE Codes load_codes(const uint8_t* w) { return _mm512_loadu_si512(w); }
    static DIMS_INLINE Values spread(const int8_t* x) { return _mm512_set1_epi32(read_group(x)); }
    static DIMS_INLINE Sum add(Sum sum, Codes codes, Values values) { return _mm512_dpbusd_epi32(sum, codes, values); }
    static DIMS_INLINE void store(int32_t* to, Sum sum) { _mm512_store_si512(to, sum); }
};

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead, Tile& tile) {
    clear_tile<M, N>(tile);
    add_products<Vnni512, M, N>({x, width, kGroup, width / kGroup}, w, block_bytes, ahead, tile.sums[0]);
}

}  // namespace
