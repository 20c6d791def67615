// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// Plain C++ for any processor.
#include "kernels_body.h"
#include "kernels_registers.h"

namespace {

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead, Tile& tile) {
    for (int n = 0; n < N; ++n)
        for (int row = 0; row < M; ++row) {
            int32_t sums[kBlock] = {};
            const uint8_t* codes = w + n * block_bytes;
            const int8_t* values = x + row * width;
            for (size_t i = 0; i < width; i += kGroup, codes += kBlock * kGroup)
                for (size_t output = 0; output < kBlock; ++output)
                    for (size_t k = 0; k < kGroup; ++k) sums[output] += codes[output * kGroup + k] * values[i + k];
            for (size_t output = 0; output < kBlock; ++output) tile.sums[row][n * kBlock + output] = sums[output];
        }
}

}  // namespace

namespace dims {

extern const Kernels kPortableKernels;
const Kernels kPortableKernels = make_kernels<InRegisters>("portable");

}  // namespace dims
