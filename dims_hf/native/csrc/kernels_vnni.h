// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX-512 VNNI: `vpdpbusd` multiplies 16 outputs by 4 inputs, unsigned weights by signed activations.
#pragma once

#include <immintrin.h>

#include "kernels_registers.h"

namespace {

// Sums of a row and N blocks, one register each. Members and not arrays: loops over arrays are unrolled too late for
// compilers to keep the sums in registers.
template <int N>
struct Sums {
    __m512i first;
    Sums<N - 1> others;

    DIMS_INLINE void clear() {
        first = _mm512_setzero_si512();
        others.clear();
    }
    DIMS_INLINE void load(const uint8_t* w, size_t block_bytes) {
        first = _mm512_loadu_si512(w);
        others.load(w + block_bytes, block_bytes);
    }
    DIMS_INLINE void add(const Sums& codes, __m512i values) {
        first = _mm512_dpbusd_epi32(first, codes.first, values);
        others.add(codes.others, values);
    }
    DIMS_INLINE void store(int32_t* to) const {
        _mm512_store_si512(to, first);
        others.store(to + kBlock);
    }
};

template <>
struct Sums<0> {
    DIMS_INLINE void clear() {}
    DIMS_INLINE void load(const uint8_t*, size_t) {}
    DIMS_INLINE void add(const Sums&, __m512i) {}
    DIMS_INLINE void store(int32_t*) const {}
};

template <int M, int N>
struct RowSums {
    Sums<N> first;
    RowSums<M - 1, N> others;

    DIMS_INLINE void clear() {
        first.clear();
        others.clear();
    }
    DIMS_INLINE void add(const Sums<N>& codes, const int8_t* x, size_t width) {
        int32_t group;
        __builtin_memcpy(&group, x, sizeof group);
        first.add(codes, _mm512_set1_epi32(group));
        others.add(codes, x + width, width);
    }
    DIMS_INLINE void store(Tile& tile, int row) const {
        first.store(tile.sums[row]);
        others.store(tile, row + 1);
    }
};

template <int N>
struct RowSums<0, N> {
    DIMS_INLINE void clear() {}
    DIMS_INLINE void add(const Sums<N>&, const int8_t*, size_t) {}
    DIMS_INLINE void store(Tile&, int) const {}
};

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead, Tile& tile) {
    RowSums<M, N> sums;
    sums.clear();
    for (size_t i = 0; i < width; i += kGroup, w += kBlock * kGroup, ahead.at += kBlock * kGroup) {
        Sums<N> codes;
        codes.load(w, block_bytes);
        for (size_t line = 0; line < ahead.blocks; ++line)
            _mm_prefetch(reinterpret_cast<const char*>(ahead.at + line * block_bytes), _MM_HINT_T0);
        sums.add(codes, x + i, width);
    }
    sums.store(tile, 0);
}

}  // namespace
