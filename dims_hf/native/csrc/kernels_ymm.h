// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// Sums of 8 outputs in a register of 256 bits.
#pragma once

#include <immintrin.h>

#include "kernels_sums.h"

namespace {

struct Sums256 {
    using Sum = __m256i;
    static constexpr size_t kOutputs = 8;

    static DIMS_INLINE Sum load_sum(const int32_t* from) {
        return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
    }
    static DIMS_INLINE void store(int32_t* to, Sum sum) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), sum); }
};

// Codes of 8 outputs by a group of inputs.
DIMS_INLINE __m256i load_bytes(const uint8_t* w) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)); }

// From one half of a block's outputs to the other.
constexpr size_t kHalfBlock = kBlock * kGroup / 2;

}  // namespace
