// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AMX: `tdpbsud` multiplies 16 rows of 64 signed activations by 64 unsigned weights of 16 outputs. 16 groups of a block
// of weights are such a tile as they lie.
#if defined(__AMX_INT8__) && defined(__AVX512VNNI__)

#include "kernels_body.h"
#include "kernels_vnni.h"

namespace {

constexpr size_t kDepth = 64, kMostRows = 16;
// 1,024 bytes of weights
constexpr size_t kCodes = kDepth * kBlock;
constexpr size_t kStride = 4 * kBlock;

// Tiles 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights.
struct TileShapes {
    // A square has two tiles of sums above two others; a flat piece has all side by side, `lower` being `upper`.
    TileShapes(size_t upper, size_t lower) {
        const size_t all[8] = {upper, upper, lower, lower, upper, lower, kDepth / kGroup, kDepth / kGroup};
        for (int tile = 0; tile < 8; ++tile) rows[tile] = static_cast<uint8_t>(all[tile]);
    }

    uint8_t palette = 1, start_row = 0, unused[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {};
};

// Sums (16, 4 blocks) or (32, 2 blocks), four tiles.
struct Square {
    int32_t values[2 * kMostRows][kStride] __attribute__((aligned(64)));
};

// A tile of weights, which is far away: its place four blocks on goes to the second cache meanwhile. Past the end of the
// matrix it is only a hint.
DIMS_INLINE const uint8_t* with_next(const uint8_t* tile, size_t block_bytes) {
    for (size_t line = 0; line < kCodes; line += 64)
        _mm_prefetch(reinterpret_cast<const char*>(tile + 4 * block_bytes + line), _MM_HINT_T1);
    return tile;
}

// Up to 16 rows and four blocks.
DIMS_INLINE void multiply_flat(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, size_t blocks,
                               Square& sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t i = 0; i < width; i += kDepth, w += kCodes) {
        _tile_loadd(4, x + i, width);
        _tile_loadd(6, with_next(w, block_bytes), 64);
        _tile_dpbsud(0, 4, 6);
        if (blocks > 1) {
            _tile_loadd(7, with_next(w + block_bytes, block_bytes), 64);
            _tile_dpbsud(1, 4, 7);
        }
        if (blocks > 2) {
            _tile_loadd(6, with_next(w + 2 * block_bytes, block_bytes), 64);
            _tile_dpbsud(2, 4, 6);
        }
        if (blocks > 3) {
            _tile_loadd(7, with_next(w + 3 * block_bytes, block_bytes), 64);
            _tile_dpbsud(3, 4, 7);
        }
    }
    _tile_stored(0, sums.values[0], sizeof sums.values[0]);
    _tile_stored(1, sums.values[0] + kBlock, sizeof sums.values[0]);
    _tile_stored(2, sums.values[0] + 2 * kBlock, sizeof sums.values[0]);
    _tile_stored(3, sums.values[0] + 3 * kBlock, sizeof sums.values[0]);
}

// `upper` rows and as many or fewer below them, and two blocks.
DIMS_INLINE void multiply_square(const int8_t* x, size_t width, size_t upper, const uint8_t* w, size_t block_bytes,
                                 size_t blocks, Square& sums) {
    const int8_t* below = x + upper * width;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t i = 0; i < width; i += kDepth, w += kCodes) {
        _tile_loadd(6, with_next(w, block_bytes), 64);
        _tile_loadd(4, x + i, width);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(5, below + i, width);
        _tile_dpbsud(2, 5, 6);
        if (blocks > 1) {
            _tile_loadd(7, with_next(w + block_bytes, block_bytes), 64);
            _tile_dpbsud(1, 4, 7);
            _tile_dpbsud(3, 5, 7);
        }
    }
    _tile_stored(0, sums.values[0], sizeof sums.values[0]);
    _tile_stored(1, sums.values[0] + kBlock, sizeof sums.values[0]);
    _tile_stored(2, sums.values[upper], sizeof sums.values[0]);
    _tile_stored(3, sums.values[upper] + kBlock, sizeof sums.values[0]);
}

struct InTiles {
    static constexpr size_t kSearched = 256;

    template <class Finish>
    static DIMS_INLINE void run(const Rows& x, const Matrix& w, Finish& finish) {
        if (x.width % kDepth != 0) {
            InRegisters::run(x, w, finish);
            return;
        }
        if (x.count == 0) return;
        // Parts of one shape. The first ones have a row less than the shape, and read the next part's first row too.
        size_t parts = (x.count + 2 * kMostRows - 1) / (2 * kMostRows), most = (x.count + parts - 1) / parts;
        size_t fewer = parts * most - x.count;
        bool is_flat = most <= kMostRows;
        size_t upper = is_flat ? most : (most + 1) / 2, lower = is_flat ? most : most - upper;
        TileShapes shapes(upper, lower);
        // compilers take the instruction to read the first bytes alone, and would leave out the rest
        __asm__ volatile("" : : "r"(&shapes) : "memory");
        _tile_loadconfig(&shapes);
        Square sums;
        size_t step = is_flat ? 4 : 2;
        for (size_t block = 0; block < w.blocks; block += step) {
            size_t blocks = w.blocks - block < step ? w.blocks - block : step;
            const uint8_t* codes = w.codes + block * w.block_bytes();
            for (size_t part = 0, first = 0; part < parts; ++part) {
                size_t rows = part < fewer ? most - 1 : most;
                const int8_t* from = x.codes + first * x.width;
                if (is_flat)
                    multiply_flat(from, x.width, codes, w.block_bytes(), blocks, sums);
                else
                    multiply_square(from, x.width, upper, codes, w.block_bytes(), blocks, sums);
                finish(sums.values[0], kStride, first, rows, block, blocks);
                first += rows;
            }
        }
        _tile_release();
    }
};

}  // namespace

namespace dims {

extern const Kernels kAmxKernels;
const Kernels kAmxKernels = make_kernels<InTiles>("amx-int8");

}  // namespace dims

#endif
